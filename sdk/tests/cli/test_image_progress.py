"""What people see of builds of images."""

from __future__ import annotations

import sys

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from flyte.cli._image_progress import ImageProgress
from flyte.cli._settings import Settings
from hangar.image.v1.image_build_pb2 import (
    IMAGE_BUILD_STATE_BUILDING,
    IMAGE_BUILD_STATE_FAILED,
    IMAGE_BUILD_STATE_SUCCEEDED,
    ImageBuild,
)

NAME = "3f2a9c4e5d6b" + "0" * 20
FIRST, SECOND = "layer 0: install [heavy] pandas", "layer 1: run make"


def building(number: int, step: str) -> ImageBuild:
    """A build in one of its two steps."""
    return ImageBuild(name=NAME, state=IMAGE_BUILD_STATE_BUILDING, steps=2, step_number=number, step=step)


def follow(progress: ImageProgress) -> None:
    """Shows a build to its end."""
    progress.see("env", building(1, FIRST), [f"[1/2] {FIRST}"])
    progress.see("env", building(1, FIRST), ["Resolved 7 packages", "done in 3.2s"])
    progress.see("env", building(2, SECOND), [f"[2/2] {SECOND}", "cached"])
    times = {"started_at": Timestamp(seconds=10), "finished_at": Timestamp(seconds=14)}
    done = ImageBuild(name=NAME, state=IMAGE_BUILD_STATE_SUCCEEDED, size_bytes=362_000_000, **times)
    progress.see("env", done, [])
    progress.close()


def settings(verbosity: int = 0, output_format: str = "table") -> Settings:
    """Options of the command line."""
    return Settings(None, None, None, verbosity, output_format)  # type: ignore[arg-type]


def test_a_pipe_gets_a_line_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal each step is one line, written when it begins, and the outcome another."""
    follow(ImageProgress(settings()))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"image of env: [1/2] {FIRST}",
        f"image of env: [2/2] {SECOND}",
        "image of env: built in 4.0 s, 362 MB",
    ]


def test_a_terminal_keeps_what_was_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal finished steps stay, with how long they took or that they were there already."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    follow(ImageProgress(settings()))
    said = capsys.readouterr().err
    for line in (
        f"  [1/2] {FIRST}  3.2s",
        f"  [2/2] {SECOND}  cached",
        "image of env: built in 4.0 s, 362 MB",
    ):
        assert line in said
    assert "Resolved" not in said


def test_the_log_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """With -v the log is written as it comes; with JSON nothing is."""
    follow(ImageProgress(settings(verbosity=1)))
    assert "  Resolved 7 packages\n" in capsys.readouterr().err
    follow(ImageProgress(settings(verbosity=1, output_format="json")))
    assert capsys.readouterr().err == ""


def test_who_leaves_hears_what_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """After Ctrl-C the names of the builds that go on are said, with how to end them; ended ones are not."""
    progress = ImageProgress(settings())
    progress.see("other", ImageBuild(name="f" * 32, state=IMAGE_BUILD_STATE_BUILDING), [])
    progress.see("other", ImageBuild(name="f" * 32, state=IMAGE_BUILD_STATE_FAILED), [])
    progress.see("env", building(1, FIRST), [])
    capsys.readouterr()
    progress.leave()
    said = capsys.readouterr().err
    assert "image 3f2a9c4e5d6b goes on" in said
    assert "flyte abort image 3f2a9c4e5d6b" in said
    assert "ffff" not in said

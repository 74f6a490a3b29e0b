"""`flyte.progress`: what it takes, and local mode."""

from __future__ import annotations

import threading

import pytest

import flyte
from flyte._local import run_local, start_local_run
from flyte.models import Progress

env = flyte.TaskEnvironment("progress_tests")
go = threading.Event()


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    """Records of runs go to a directory of the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    go.clear()


@env.task(retries=1)
def counts() -> int:
    """Goes on when it is let."""
    if flyte.ctx().attempt_number == 0:
        flyte.progress(7, 9)
        raise ValueError("once")
    flyte.progress(1, 4, "first")
    flyte.progress(2, 4, "second" + "x" * 300)
    assert go.wait(30)
    return 1


@env.task
def silent() -> None:
    """Says nothing."""


async def test_a_watcher_of_a_local_run_is_told():
    """Those who watch see the latest of what came in a moment, and the attempt's own only."""
    run = await start_local_run(counts, (), {}, wait=False)
    async for update in run.updates.aio():
        if any(action.progress and action.progress.message.startswith("second") for action in update.actions):
            break
    go.set()
    assert await run.result.aio() == 1
    assert (run.action.progress.done, len(run.action.progress.message)) == (2, 200)
    assert [attempt.progress.done for attempt in run.action.attempt_list] == [7, 2]
    assert run_local(silent).action.progress is None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("1",), TypeError, "done must be a number"),
        ((True,), TypeError, "done must be a number"),
        ((-1,), ValueError, "done must be 0 or more"),
        ((float("nan"),), ValueError, "done must be 0 or more and finite"),
        ((1, 0), ValueError, "total must be more than 0"),
        ((1, float("inf")), ValueError, "total must be 0 or more and finite"),
        ((1, 2, None), TypeError, "message must be text"),
    ],
)
def test_what_is_no_progress_is_refused(arguments, error, message):
    """A wrong argument is an error that names it, wherever it is called."""
    with pytest.raises(error, match=message):
        flyte.progress(*arguments)


def test_progress_in_words():
    """Progress is shown with its total, if that is known, and never as more than all of it."""
    assert str(Progress(30, 100, "reading")) == "30 of 100: reading"
    assert str(Progress(1234567)) == "1,234,567"
    assert Progress(5, 4).fraction == 1
    assert Progress(5).fraction is None
    flyte.progress(1)  # outside a task nothing happens

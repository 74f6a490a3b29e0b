"""Shows builds of images as they go."""

from __future__ import annotations

import re
import sys
import threading
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from flyte.cli._settings import Settings
    from hangar.image.v1 import image_build_pb2

_STEP = re.compile(r"\[\d+/\d+\] .*")
_DONE = re.compile(r"done in (\S+)|(cached)")


class ImageProgress:
    """Shows builds: on a terminal what each is doing and for how long, below what it has done; else a line per step.

    Args:
        settings: Options of the command line.
    """

    def __init__(self, settings: Settings) -> None:
        self._is_quiet = settings.as_json
        self._is_verbose = settings.verbosity > 0
        self._doing: dict[str, str] = {}
        self._steps: dict[str, str] = {}
        self._tasks: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._live = _live() if sys.stderr.isatty() and not self._is_quiet else None

    def see(self, names: str, build: image_build_pb2.ImageBuild, lines: list[str]) -> None:
        """Takes a build as it is now, and new lines of its log.

        Args:
            names: The environments that it is for.
            build: The build.
            lines: New lines.
        """
        from hangar.image.v1 import image_build_pb2

        if self._is_quiet:
            return
        with self._lock:
            for line in lines:
                self._see_line(build.name, line)
            if build.state in (
                image_build_pb2.IMAGE_BUILD_STATE_QUEUED,
                image_build_pb2.IMAGE_BUILD_STATE_BUILDING,
            ):
                self._show(names, build)
            else:
                self._end(build.name)
            if build.state == image_build_pb2.IMAGE_BUILD_STATE_SUCCEEDED:
                self._say(f"image of {names}: {_outcome(build)}")

    def _see_line(self, name: str, line: str) -> None:
        done = _DONE.fullmatch(line)
        if self._is_verbose:
            self._say(f"  {line}")
        elif _STEP.fullmatch(line):
            self._steps[name] = line
        elif done and self._live is not None and name in self._steps:
            self._say(f"  {self._steps.pop(name)}  {done[1] or done[2]}")

    def _show(self, names: str, build: image_build_pb2.ImageBuild) -> None:
        number = f"[{build.step_number}/{build.steps}] " if build.step_number else ""
        text = f"image of {names}: {number}{build.step or 'waits for its turn'}"
        if self._doing.get(build.name) == text:
            return
        self._end(build.name)
        self._doing[build.name] = text
        if self._live is not None:
            self._live.start()
            self._tasks[build.name] = self._live.add_task(text, total=None)
        else:
            self._say(text)

    def _end(self, name: str) -> None:
        self._doing.pop(name, None)
        task = self._tasks.pop(name, None)
        if task is not None and self._live is not None:
            self._live.remove_task(task)

    def _say(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, markup=False, soft_wrap=True)
        else:
            click.echo(text, err=True)

    def leave(self) -> None:
        """Says what goes on when nobody waits for it any more."""
        with self._lock:
            for name in self._doing if not self._is_quiet else ():
                short = name[:12]
                self._say(
                    f"The build of image {short} goes on: flyte get image {short} --log follows it, "
                    f"flyte abort image {short} ends it."
                )

    def close(self) -> None:
        """Shows nothing more."""
        if self._live is not None:
            self._live.stop()


def _live() -> Any:
    """Lines at the end of the terminal that tell what goes on, and how long it has taken."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    whole_line = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=whole_line),
        TimeElapsedColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
        expand=True,
    )


def _outcome(build: image_build_pb2.ImageBuild) -> str:
    if build.cached:
        return "cached"
    seconds = (build.finished_at.ToMilliseconds() - build.started_at.ToMilliseconds()) / 1000
    size = f", {build.size_bytes / 1e6:.0f} MB" if build.size_bytes else ""
    return f"built in {seconds:.1f} s{size}"

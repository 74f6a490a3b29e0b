"""What tasks of recorded local runs print: a file for each attempt, beside the usual output.

A line of a file is `<RFC 3339 time> <text>`, as in the logs of a backend. `sys.stdout` and `sys.stderr` look at
the context, so that concurrent actions do not mix. What C code and subprocesses write goes to the usual output only.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from flyte import errors
from flyte._details import LogLine

if TYPE_CHECKING:
    from flyte._local._action import LocalAction

_writer: ContextVar[LogFile | None] = ContextVar("flyte_local_log", default=None)
_lock = threading.Lock()
_users = 0


class LogFile:
    """The log of one attempt.

    Args:
        path: The file; made when something is printed.
        echo: True to print to the usual output as well.
    """

    def __init__(self, path: Path, *, echo: bool) -> None:
        self.echo = echo
        self._path = path
        self._rest = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Takes printed text; whole lines are in the file at once."""
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            self._append(lines)

    def close(self) -> None:
        """Writes the last line, if it has no end."""
        with self._lock:
            self._append([self._rest] if self._rest else [])
            self._rest = ""

    def _append(self, lines: list[str]) -> None:
        if not lines:
            return
        now = datetime.now(timezone.utc).isoformat()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.writelines(f"{now} {line}\n" for line in lines)


class _Tee:
    """Stands in for a standard stream while recorded runs go on."""

    def __init__(self, original: TextIO) -> None:
        self.original = original

    def write(self, text: str) -> int:
        writer = _writer.get()
        if writer is not None:
            writer.write(text)
            if not writer.echo:
                return len(text)
        return self.original.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


def install() -> None:
    """A recorded run begins: from now on the standard streams know who prints."""
    global _users  # noqa: PLW0603 - the streams are the process's, too
    with _lock:
        _users += 1
    renew()


def renew() -> None:
    """Takes the standard streams again, after somebody else had them for a while."""
    with _lock:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if _users and not isinstance(stream, _Tee):
                setattr(sys, name, cast(TextIO, _Tee(stream)))


def uninstall() -> None:
    """A recorded run has ended. The last one gives the streams back."""
    global _users  # noqa: PLW0603
    with _lock:
        _users -= 1
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if not _users and isinstance(stream, _Tee):
                setattr(sys, name, stream.original)


@contextmanager
def captured(action: LocalAction) -> Iterator[None]:
    """What is printed inside goes to the log of the action's newest attempt, if its run is recorded."""
    directory = action.state.log_directory
    if directory is None:
        yield
        return
    number = action.attempt_list[-1].number
    file = LogFile(directory / action.name / f"{number}.log", echo=action.state.echo)
    token = _writer.set(file)
    try:
        yield
    finally:
        _writer.reset(token)
        file.close()


def stored_lines(directory: Path, attempt: int | None, max_lines: int | None) -> list[LogLine]:
    """The lines of an action.

    Args:
        directory: Directory of its logs.
        attempt: Attempt, the newest one that printed something unless given.
        max_lines: Only so many of the last lines.

    Raises:
        LogsNotYetAvailableError: The attempt printed nothing.
    """
    if attempt is None:
        numbers = [int(path.stem) for path in directory.glob("*.log") if path.stem.isdecimal()]
        attempt = max(numbers, default=0)
        if not numbers:
            return []
    path = directory / f"{attempt}.log"
    if not path.is_file():
        raise errors.LogsNotYetAvailableError(
            f"attempt {attempt} printed nothing, or there is no such attempt"
        )
    with path.open(encoding="utf-8") as file:
        return [_parsed(line) for line in deque(file, maxlen=max_lines)]


def _parsed(line: str) -> LogLine:
    time, _, text = line.rstrip("\n").partition(" ")
    return LogLine(text, datetime.fromisoformat(time))

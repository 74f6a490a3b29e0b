"""What user code prints, into the log file of the lease that prints it.

`sys.stdout` and `sys.stderr` look at the context: each lease writes to its own file. While exactly one
lease runs (parked ones aside), the file descriptors 1 and 2 are that lease's file as well, so that
subprocesses and C code are captured to the last byte. Otherwise they are the worker's own log.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast

from flyte._runtime.lease import Lease, current_lease


class LogFile:
    """The log file of one lease, appended to line by line."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._text: io.TextIOWrapper | None = None

    @property
    def text(self) -> io.TextIOWrapper:
        """The file for text, made when something is printed."""
        if self._text is None:
            raw = io.FileIO(self.descriptor, "w", closefd=False)
            buffer = io.BufferedWriter(raw)
            self._text = io.TextIOWrapper(
                buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True
            )
        return self._text

    def close(self) -> None:
        """Flushes and closes. A file that nothing was written to is removed."""
        if self._text is not None:
            self._text.close()
        empty = os.fstat(self.descriptor).st_size == 0
        os.close(self.descriptor)
        if empty:
            os.unlink(self.path)


class Capture:
    """Sends the output of leases where it belongs. `install` once, then `begin` and `end` for each lease."""

    def __init__(self) -> None:
        self._files: dict[int, LogFile] = {}
        self._attached: int | None = None
        self._own = -1

    def install(self) -> None:
        """Takes over the standard streams. What no lease prints goes to where descriptor 2 leads now."""
        self._own = os.dup(2)
        os.set_inheritable(self._own, False)
        fallback = io.TextIOWrapper(
            io.FileIO(self._own, "w", closefd=False),
            encoding="utf-8",
            errors="backslashreplace",
            write_through=True,
        )
        sys.stdout = cast(TextIO, LeaseStream(self, 1, fallback))
        sys.stderr = cast(TextIO, LeaseStream(self, 2, fallback))

    def begin(self, lease: Lease) -> None:
        """Opens the lease's file."""
        path = lease.header.get("log_path")
        if path:
            self._files[lease.id] = LogFile(path)

    def end(self, lease: Lease) -> None:
        """Closes the lease's file; everything that was printed is in it."""
        if self._attached == lease.id:
            self._attach(None)
        file = self._files.pop(lease.id, None)
        if file is not None:
            file.close()

    def focus(self, running: Iterable[Lease]) -> None:
        """Gives the file descriptors to the lease that runs, if it is the only one."""
        leases = list(running)
        only = leases[0].id if len(leases) == 1 and leases[0].id in self._files else None
        if only != self._attached:
            self._attach(only)

    def text_of(self, lease: Lease | None) -> io.TextIOWrapper | None:
        """Where a lease prints. Code without a lease, such as a thread, prints for the only one that runs."""
        number = self._attached if lease is None else lease.id
        file = self._files.get(number) if number is not None else None
        return file.text if file is not None else None

    def _attach(self, lease: int | None) -> None:
        target = self._own if lease is None else self._files[lease].descriptor
        os.dup2(target, 1)
        os.dup2(target, 2)
        self._attached = lease


class LeaseStream(io.TextIOBase):
    """Stands in for `sys.stdout` or `sys.stderr`."""

    def __init__(self, capture: Capture, descriptor: int, fallback: io.TextIOWrapper) -> None:
        self._capture = capture
        self._descriptor = descriptor
        self._fallback = fallback

    @property
    def _stream(self) -> io.TextIOWrapper:
        return self._capture.text_of(current_lease.get()) or self._fallback

    @property
    def buffer(self) -> Any:
        """The stream for bytes, as `sys.stdout.buffer`."""
        stream = self._stream
        stream.flush()
        return stream.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """How characters that cannot be encoded are written."""
        return "backslashreplace"

    def write(self, text: str) -> int:
        """Prints text; whole lines are in the file at once."""
        return self._stream.write(text)

    def flush(self) -> None:
        """Writes what is buffered."""
        self._stream.flush()

    def fileno(self) -> int:
        """Descriptor 1 or 2, for subprocesses."""
        return self._descriptor

    def isatty(self) -> bool:
        """Never a terminal."""
        return False

    def writable(self) -> bool:
        """Always."""
        return True

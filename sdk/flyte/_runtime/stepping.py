"""Leaves a note outside the process of which lease's code the event loop runs at this moment.

Several actions may share a worker. When user code ends the process (``os._exit``, a segmentation fault), the note is
what tells the one at fault from its neighbours.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

FILE_NAME = "current"
_NUMBER = struct.Struct("<q")


class Note:
    """The number of a lease in a file of eight bytes, little-endian; 0 while no user code runs."""

    def __init__(self, directory: Path) -> None:
        descriptor = os.open(directory / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _NUMBER.size)
            self._memory = mmap.mmap(descriptor, _NUMBER.size)
        finally:
            os.close(descriptor)

    def write(self, lease: int) -> None:
        """Names the lease whose code runs now."""
        _NUMBER.pack_into(self._memory, 0, lease)

    def around(self, lease: int, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """The coroutine, with the note written while one of its steps runs."""
        return _Noted(self, lease, coroutine)


class _Noted(Coroutine[Any, Any, Any]):
    __slots__ = ("_coroutine", "_lease", "_note", "_send")

    def __init__(self, note: Note, lease: int, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._note = note
        self._lease = lease
        self._coroutine = coroutine
        self._send = coroutine.send

    def send(self, value: Any) -> Any:
        self._note.write(self._lease)
        try:
            return self._send(value)
        finally:
            self._note.write(0)

    def throw(self, *error: Any) -> Any:
        self._note.write(self._lease)
        try:
            return self._coroutine.throw(*error)
        finally:
            self._note.write(0)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)  # what debuggers and tracebacks look at: cr_frame, __qualname__

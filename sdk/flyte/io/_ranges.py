"""Objects that are read in ranges."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

BLOCK_BYTES = 8 * 1024 * 1024
"""Most bytes of one request."""


class Ranges(io.RawIOBase):
    """An object elsewhere as a file that can be read at any position.

    Args:
        size: Its bytes.
        fetch: Returns the bytes from one position up to but without another one.
    """

    def __init__(self, size: int, fetch: Callable[[int, int], Any]) -> None:
        self._size = size
        self._fetch = fetch
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves; nothing is fetched."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"position {base + offset} is before the beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fetches up to a block."""
        end = min(self._position + min(len(buffer), BLOCK_BYTES), self._size)
        if end <= self._position:
            return 0
        data = memoryview(self._fetch(self._position, end))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

"""Files that are written on this machine and sent elsewhere when they are complete."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType


class Spool(io.BufferedRandom):
    """A file that is sent when it is closed; a `with` block that fails sends nothing.

    Args:
        send: Gets the path of the complete file.
    """

    def __init__(self, send: Callable[[Path], object]) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="flyte-")
        self._path = Path(self._directory.name) / "data"
        self._send = send
        super().__init__(io.FileIO(self._path, "x+"))

    def close(self) -> None:
        """Sends it."""
        if not self.closed:
            super().close()
            try:
                self._send(self._path)
            finally:
                self._directory.cleanup()

    def discard(self) -> None:
        """Forgets it."""
        if not self.closed:
            self.raw.close()
            self._directory.cleanup()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        self.discard()  # whoever forgot to close it has not finished it

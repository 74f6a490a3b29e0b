"""Files that count once they are complete: put in their place, or sent elsewhere."""

from __future__ import annotations

import io
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType


class Draft(io.BufferedRandom):
    """A new file. It counts when it is closed; a `with` block that fails, and one that nobody closes, leaves nothing.

    Args:
        path: Where it is until then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(io.FileIO(path, "x+"))
        self._is_open = True

    def close(self) -> None:
        """Makes it count."""
        if not self.closed:
            super().close()
            self.finish()

    def discard(self) -> None:
        """Forgets it."""
        if not self.closed:
            self.raw.close()
            self.forget()

    def finish(self) -> None:
        """Does what makes it count."""
        raise NotImplementedError

    def forget(self) -> None:
        """Removes it."""
        self.path.unlink(missing_ok=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        if getattr(self, "_is_open", False):  # it could be made
            self.discard()  # whoever forgot to close it has not finished it


class FileDraft(Draft):
    """A file that is put in its place.

    Args:
        target: Where it will be; its directory is made.
    """

    def __init__(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self._target = target
        super().__init__(target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex}"))

    def finish(self) -> None:
        """Moves it."""
        self.path.replace(self._target)


class Spool(Draft):
    """A file that is sent elsewhere.

    Args:
        send: Gets the path of the complete file.
    """

    def __init__(self, send: Callable[[Path], object]) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="flyte-")
        self._send = send
        super().__init__(Path(self._directory.name) / "data")

    def finish(self) -> None:
        """Sends it."""
        try:
            self._send(self.path)
        finally:
            self._directory.cleanup()

    def forget(self) -> None:
        """Removes it."""
        self._directory.cleanup()

"""Secrets of a host: a directory of the operator with a file for each, named by its key."""

from __future__ import annotations

from pathlib import Path

from services.common.errors import FailedPrecondition


class SecretDirectory:
    """Secrets of a host, read each time that they are needed.

    Args:
        path: The directory, None when there is none.
        setting: Name of the setting that names it, for messages.
    """

    def __init__(self, path: Path | None, setting: str) -> None:
        self._path = path
        self.setting = setting

    def get(self, key: str) -> bytes | None:
        """Returns a secret without the line end behind it, None when there is none of that key.

        Args:
            key: Its key, which names a file: without a slash.

        Raises:
            FailedPrecondition: Its file cannot be read (reason ``SECRET_UNREADABLE``).
        """
        if self._path is None:
            return None
        try:
            return (self._path / key).read_bytes().rstrip(b"\r\n")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            message = (
                f"the secret {key!r} cannot be read: {self._path / key}: {error.strerror}. Let the user of this "
                f"service read it ({self.setting})"
            )
            raise FailedPrecondition(message, reason="SECRET_UNREADABLE") from error

    def place(self, key: str) -> str:
        """Returns where a secret is looked for, for messages."""
        if self._path is None:
            return f"{self.setting} names no directory"
        return f"{self._path / key} ({self.setting})"

"""One scheduler per SQLite file: a second one is refused with the reason."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from services.common.errors import FailedPrecondition


class FileLock:
    """A lock beside a file. It ends with the process that holds it, however that ends.

    Args:
        path: The file that is guarded; the lock is ``<path>.lock``.
    """

    def __init__(self, path: Path) -> None:
        self._guarded = path
        self._path = path.with_name(f"{path.name}.lock")
        self._descriptor = -1

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
            FailedPrecondition: Another process has it (reason ``LEDGER_IN_USE``), or it cannot be made.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            message = f"ledger {self._guarded} cannot be used: {self._path} cannot be made ({error.strerror})"
            raise FailedPrecondition(message, reason="DATABASE_UNUSABLE") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise FailedPrecondition(
                f"another scheduler{f' (process {holder})' if holder else ''} uses the ledger {self._guarded}: "
                "stop it, or use PostgreSQL, where further schedulers wait as standby",
                reason="LEDGER_IN_USE",
            ) from error
        self._descriptor = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Gives the lock back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

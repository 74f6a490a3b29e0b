"""One process per data directory."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from services.common.errors import FailedPrecondition


class DirectoryLock:
    """The lock of a data directory. It ends with the process that holds it, however that ends.

    Args:
        data_dir: The directory, which exists.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._descriptor = -1

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
            FailedPrecondition: Another process has it, which is named (reason ``DATA_DIRECTORY_IN_USE``).
        """
        descriptor = os.open(self._data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise FailedPrecondition(
                f"{holder(self._data_dir)} uses the data directory {self._data_dir}: stop it (flyte stop), "
                "or choose another one with --data-dir or HANGAR_DATA_DIR",
                reason="DATA_DIRECTORY_IN_USE",
            ) from error
        self._descriptor = descriptor
        self.note("")

    def note(self, address: str) -> None:
        """Writes down who holds the lock, for the message to others.

        Args:
            address: Address of its gRPC port, empty while there is none.
        """
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps({"pid": os.getpid(), "grpc": address}).encode(), 0)

    def release(self) -> None:
        """Gives the lock back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_held(data_dir: Path) -> bool:
    """Says whether a process holds the lock of a data directory."""
    try:
        descriptor = os.open(data_dir / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(data_dir: Path) -> str:
    """Returns who holds a lock, in words."""
    try:
        content = json.loads((data_dir / "lock").read_text(encoding="utf-8"))
        pid, address = int(content["pid"]), str(content["grpc"])
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
    return f"process {pid}" + (f", serving at {address}," if address else ", which is starting or stopping,")

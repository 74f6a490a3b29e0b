"""Files that tasks write before they become objects: they belong to the executor, tasks have descriptors only."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_ID = re.compile(r"[0-9a-f]{32}")


class Drafts:
    """One directory per lease, one file per object that it writes.

    Args:
        directory: Where they are; made when the first one is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, lease_id: int, draft_id: str) -> Path:
        """Returns where a file is, or would be.

        Raises:
            ValueError: The identity is none.
        """
        if not _ID.fullmatch(draft_id):
            raise ValueError(
                f"the identity of a file to write is 32 hexadecimal digits, not {draft_id[:40]!r}"
            )
        return self._directory / str(lease_id) / draft_id

    def open(self, lease_id: int, draft_id: str) -> int:
        """Returns a descriptor for reading and writing; the file is made if it does not exist.

        Raises:
            ValueError: The identity is none.
            OSError: The file cannot be made.
        """
        path = self.path(lease_id, draft_id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def discard(self, lease_id: int, draft_id: str) -> None:
        """Removes a file that shall not become an object. None there is no error.

        Raises:
            ValueError: The identity is none.
        """
        self.path(lease_id, draft_id).unlink(missing_ok=True)

    def remove(self, lease_id: int) -> None:
        """Removes the files of a lease that has ended."""
        shutil.rmtree(self._directory / str(lease_id), ignore_errors=True)

    def keep(self, lease_ids: set[int]) -> None:
        """Removes the files of all other leases."""
        for lease_id in self.leases() - lease_ids:
            self.remove(lease_id)

    def leases(self) -> set[int]:
        """Returns the leases that have files."""
        try:
            names = [path.name for path in self._directory.iterdir()]
        except FileNotFoundError:
            return set()
        return {int(name) for name in names if name.isdecimal()}

    def sizes(self, lease_ids: set[int]) -> dict[Path, int]:
        """Returns the files of some leases with what they take on the disk, in bytes."""
        found: dict[Path, int] = {}
        for lease_id in lease_ids:
            for path in (self._directory / str(lease_id)).glob("*"):
                try:
                    found[path] = path.stat().st_blocks * 512
                except FileNotFoundError:
                    continue
        return found

    def empty_largest(self, sizes: Mapping[Path, int], limit: int) -> list[Path]:
        """Empties the largest files until all of them together keep a limit, and returns those that were emptied."""
        emptied: list[Path] = []
        total = sum(sizes.values())
        for path, size in sorted(sizes.items(), key=lambda entry: -entry[1]):
            if total <= limit:
                break
            with contextlib.suppress(FileNotFoundError):
                os.truncate(path, 0)
            total -= size
            emptied.append(path)
        return emptied

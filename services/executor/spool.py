"""Outputs that are on their way to the blob store: files on the host, so that they outlive this process."""

import contextlib
import os
from pathlib import Path

_DRAFT = ".draft"


class Spool:
    """One file per lease below one directory, whole or not there at all.

    Args:
        directory: Where they are; made when the first one is written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._leases: set[int] = set()

    def __contains__(self, lease_id: int) -> bool:
        return lease_id in self._leases

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._directory

    def path(self, lease_id: int) -> Path:
        """Returns where the outputs of a lease are, or would be."""
        return self._directory / f"{lease_id}.json"

    def write(self, lease_id: int, document: bytes) -> None:
        """Writes the outputs of a lease to the disk. What fails leaves nothing.

        Raises:
            OSError: They cannot be written, for instance because the disk is full.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        place = self.path(lease_id)
        draft = place.with_suffix(_DRAFT)
        try:
            with draft.open("wb") as file:
                file.write(document)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(place)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        self._leases.add(lease_id)

    def remove(self, lease_id: int) -> None:
        """Removes the outputs of a lease, which are stored."""
        self._leases.discard(lease_id)
        with contextlib.suppress(OSError):
            self.path(lease_id).unlink(missing_ok=True)

    def open(self) -> None:
        """Finds what an earlier process left here, and removes what it did not finish writing."""
        for path in self._directory.glob("*"):
            if path.suffix == _DRAFT:
                path.unlink(missing_ok=True)
            elif path.suffix == ".json" and path.stem.isdecimal():
                self._leases.add(int(path.stem))

    def keep(self, lease_ids: set[int]) -> None:
        """Removes the outputs of all other leases: nobody waits for them."""
        for lease_id in self._leases - lease_ids:
            self.remove(lease_id)

"""The reach of each lease of this host, kept so that it outlives this process."""

from __future__ import annotations

import contextlib
from pathlib import Path

import structlog

from hangar.core.v1.failure_pb2 import Failure
from services.common.blobs import check_key
from services.common.errors import InvalidArgument
from services.executor import failures
from services.executor.leases import Lease
from services.executor.reach import CODE, NotInReachError, Reach, references

log = structlog.get_logger(__name__)


class Reaches:
    """What leases may read and write.

    What short inputs refer to is in the assignment, which the outbox has. Everything else that a lease was granted is
    noted in a file per lease before the document reaches its worker: a later process could not ask for it again.

    Args:
        directory: Where the notes are; made when the first one is written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._reaches: dict[int, Reach] = {}

    def of(self, lease: Lease) -> Reach:
        """Returns the reach of a lease."""
        reach = self._reaches.get(lease.lease_id)
        if reach is None:
            reach = Reach(lease.prefix, _keys(lease.assignment.inputs.inline))
            with contextlib.suppress(FileNotFoundError):
                reach.granted.update(self._path(lease.lease_id).read_text("utf-8").split("\n"))
            self._reaches[lease.lease_id] = reach
        return reach

    def learn(self, lease: Lease, document: bytes) -> None:
        """Grants what a document refers to that is about to be given to a lease.

        When that cannot be noted it is granted for the time of this process.
        """
        found = _keys(document)
        if not found:
            return
        reach = self.of(lease)
        new = found - reach.granted
        if not new:
            return
        reach.granted.update(new)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._path(lease.lease_id).open("a", encoding="utf-8") as file:
                file.write("".join(f"{key}\n" for key in sorted(new)))
        except OSError as error:
            log.error("reach.not_noted", lease=lease.lease_id, error=str(error))

    def refusal(self, lease: Lease, document: bytes, what: str) -> Failure | None:
        """Returns why a lease may not hand on a document, None when it may.

        Args:
            lease: The lease.
            document: Canonical JSON.
            what: What it is, such as "the outputs".
        """
        if not references(document):
            return None
        try:
            self.of(lease).check_document(document, what)
        except NotInReachError as error:
            header = {"kind": "USER", "code": CODE, "message": error.message, "non_recoverable": True}
            return failures.from_header(header, lease.worker_id)
        return None

    def known(self) -> list[int]:
        """Returns the leases that anything is kept of."""
        return list(self._reaches)

    def forget(self, lease_id: int) -> None:
        """Forgets a lease that has ended."""
        self._reaches.pop(lease_id, None)
        try:
            self._path(lease_id).unlink(missing_ok=True)
        except OSError as error:
            log.warning("reach.not_removed", lease=lease_id, error=str(error))

    def keep(self, lease_ids: set[int]) -> None:
        """Forgets all other leases that an earlier process noted."""
        for path in self._directory.glob("*"):
            if path.name.isdecimal() and int(path.name) not in lease_ids:
                self.forget(int(path.name))

    def _path(self, lease_id: int) -> Path:
        return self._directory / str(lease_id)


def _keys(document: bytes) -> set[str]:
    """Returns what a document refers to, as far as it can be a key or a prefix; that is one line of text."""
    keys: set[str] = set()
    for key in references(document):
        with contextlib.suppress(InvalidArgument):
            check_key(key.removesuffix("/"))
            keys.add(key)
    return keys

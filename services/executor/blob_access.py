"""Gives tasks the objects in their reach, as open files: no credential and no path of the store leaves the executor."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import structlog

from services.common import disk
from services.common.blobs import check_key
from services.common.errors import HangarError, InvalidArgument, NotFound
from services.executor.descriptors import opened
from services.executor.drafts import Drafts
from services.executor.frames import Frame, FrameError
from services.executor.holdings import Holdings
from services.executor.leases import Lease
from services.executor.objects import Objects
from services.executor.outgoing import Outgoing
from services.executor.reach import CODE, NotInReachError
from services.executor.reaches import Reaches
from services.executor.worker_server import WorkerConnection

log = structlog.get_logger(__name__)

QUOTA_SECONDS = 1.0
"""How often the size of what is being written is looked at."""
_LONGEST_FIELD = 1024
LARGEST_REPORT = 65 * 1024 * 1024
"""Most bytes of a report: what `flyte.report` allows, and the document around it."""
METHODS = frozenset({"get", "put", "store", "discard"})


class _Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class BlobAccess:
    """Answers the `blob` frames of workers.

    Args:
        holdings: The leases.
        reaches: What each of them may read and write.
        objects: The blob store.
        drafts: Files that are being written.
        outgoing: Shows on an action why it waits.
    """

    def __init__(
        self, holdings: Holdings, reaches: Reaches, objects: Objects, drafts: Drafts, outgoing: Outgoing
    ) -> None:
        self._holdings = holdings
        self._reaches = reaches
        self._objects = objects
        self._drafts = drafts
        self._outgoing = outgoing
        self._answering: dict[WorkerConnection, asyncio.Task[None]] = {}
        self._opening: set[Path] = set()
        self._storing: dict[Path, asyncio.Task[None]] = {}
        self._over_quota: set[Path] = set()
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Removes what leases left behind that are not held any more.

        Raises:
            OSError: The directory of fetched objects cannot be used.
        """
        held = {lease.lease_id for lease in self._holdings.leases.values() if not lease.is_ended}
        self._drafts.keep(held)
        self._reaches.keep(held)
        self._objects.start()
        if self._drafts.leases():
            self._look_at_sizes()

    async def close(self) -> None:
        """Stops answering. Workers ask the next executor again."""
        tasks = [*self._answering.values(), *self._storing.values()]
        if self._watch is not None:
            tasks.append(self._watch)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._objects.close()

    def forget_ended(self) -> None:
        """Removes what leases that have ended had not stored."""
        for lease_id in self._reaches.known():
            lease = self._holdings.leases.get(lease_id)
            if lease is None or lease.is_ended:
                self._forget(lease_id)

    def _forget(self, lease_id: int) -> None:
        self._reaches.forget(lease_id)
        for path in [path for path in self._storing if path.parent.name == str(lease_id)]:
            self._storing[path].cancel()
        if self._watch is not None:  # otherwise nothing is being written
            self._drafts.remove(lease_id)

    def request(self, worker_id: int, connection: WorkerConnection, frame: Frame) -> None:
        """A worker asks for a file.

        Raises:
            FrameError: It asks for a second one over the same connection, or the frame is wrong.
        """
        header = frame.header
        fields = [header.get("id"), header.get("method"), header.get("key")]
        if header["type"] != "blob" or not all(map(_is_text, fields)):
            raise FrameError("a connection of role blob sends one frame of type blob with id, method and key")
        if connection in self._answering:
            raise FrameError("a connection of role blob sends one request only")
        answering = self._answer(worker_id, connection, int(header["lease"]), *map(str, fields))
        task = self._answering[connection] = asyncio.create_task(answering, name="blob")
        task.add_done_callback(lambda _: self._answering.pop(connection, None))

    def disconnected(self, connection: WorkerConnection) -> None:
        """A worker does not wait for an answer any more. What is being stored goes on."""
        if connection in self._answering:
            self._answering[connection].cancel()

    async def _answer(
        self,
        worker_id: int,
        connection: WorkerConnection,
        lease_id: int,
        draft_id: str,
        method: str,
        key: str,
    ) -> None:
        answer: dict[str, object] = {"type": "blob", "id": draft_id}
        descriptor = -1
        try:
            try:
                lease = self._lease(worker_id, lease_id)
                descriptor = await self._do(lease, draft_id, method, key)
            except _Refused as error:
                answer["error"] = {"code": error.code, "message": error.message}
            except NotInReachError as error:
                log.warning("blob.not_in_reach", lease=lease_id, worker=worker_id, method=method, key=key)
                answer["error"] = {"code": CODE, "message": error.message}
            except (HangarError, OSError, ValueError) as error:
                answer["error"] = _as_answer(error)
            connection.send_descriptor(answer, descriptor)
        finally:
            if descriptor >= 0:
                os.close(descriptor)
            connection.close()

    def _lease(self, worker_id: int, lease_id: int) -> Lease:
        lease = self._holdings.leases.get(lease_id)
        if lease is None or lease.is_ended or lease.worker is None or lease.worker.worker_id != worker_id:
            raise _Refused(CODE, f"lease {lease_id} is not one that this worker has")
        return lease

    async def _do(self, lease: Lease, draft_id: str, method: str, key: str) -> int:
        """Does what is asked and returns a descriptor to hand over, -1 for none."""
        reach = self._reaches.of(lease)
        if method == "get":
            reach.check_get(key)
            waiting = self._outgoing.explains(lease.lease_id, "a file cannot be fetched yet")
            return await self._objects.open(key, waiting)
        if method not in METHODS:
            raise _Refused("InvalidArgument", f"there is no method {method!r} of blob frames: use {METHODS}")
        reach.check_put(key)
        check_key(key)
        path = self._drafts.path(lease.lease_id, draft_id)
        # A file that is on its way into the store must not be opened for writing at the same time.
        if path in self._opening or (path in self._storing and method != "store"):
            raise _Refused("InvalidArgument", f"file {draft_id} is busy: make one request for it at a time")
        if method == "put":
            return await self._open(path, lease.lease_id, draft_id)
        if method == "discard":
            self._over_quota.discard(path)
            await asyncio.to_thread(self._drafts.discard, lease.lease_id, draft_id)
            return -1
        if path not in self._storing:
            most = LARGEST_REPORT if key == reach.report_key else 0
            storing = self._storing[path] = asyncio.create_task(
                self._store(lease, path, key, most), name="store"
            )
            storing.add_done_callback(lambda stored: self._stored(path, stored))
        await asyncio.shield(self._storing[path])
        return -1

    async def _open(self, path: Path, lease_id: int, draft_id: str) -> int:
        self._opening.add(path)
        try:
            descriptor = await opened(self._drafts.open, lease_id, draft_id)
        finally:
            self._opening.discard(path)
        self._look_at_sizes()
        return descriptor

    def _stored(self, path: Path, stored: asyncio.Task[None]) -> None:
        self._storing.pop(path, None)
        if not stored.cancelled():
            stored.exception()  # whoever asked for it was told, or has gone

    async def _store(self, lease: Lease, path: Path, key: str, most: int) -> None:
        limit = _disk_limit(lease)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            size = 0  # stored before
        if path in self._over_quota or 0 < limit < size:
            self._over_quota.discard(path)
            path.unlink(missing_ok=True)
            message = (
                f"object {key} is refused: the task wrote more than its disk limit of {limit} bytes at once"
            )
            raise _Refused("DiskLimitExceeded", message)
        if 0 < most < size:
            path.unlink(missing_ok=True)
            raise _Refused("ReportTooLarge", f"a report has up to {most} bytes, not {size}: write less")
        waiting = self._outgoing.explains(lease.lease_id, "a file cannot be stored yet")
        await self._objects.store(key, path, waiting)

    # -- the disk limit

    def _look_at_sizes(self) -> None:
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_limits(), name="drafts")

    async def _keep_limits(self) -> None:
        """Empties files that grow over the disk limit of their worker, for as long as anything is written."""
        while True:
            await asyncio.sleep(QUOTA_SECONDS)
            leases = [self._holdings.leases.get(lease_id) for lease_id in self._drafts.leases()]
            by_worker: dict[int, list[Lease]] = {}
            for lease in leases:
                if lease is not None and _disk_limit(lease):
                    by_worker.setdefault(lease.worker_id, []).append(lease)
            for of_worker in by_worker.values():
                sizes = await asyncio.to_thread(self._drafts.sizes, {each.lease_id for each in of_worker})
                limit = _disk_limit(of_worker[0])
                if sum(sizes.values()) > limit:
                    emptied = await asyncio.to_thread(self._drafts.empty_largest, sizes, limit)
                    log.warning(
                        "blob.over_quota", worker=of_worker[0].worker_id, limit=limit, files=len(emptied)
                    )
                    self._over_quota.update(emptied)


def _is_text(field: object) -> bool:
    return isinstance(field, str) and len(field) <= _LONGEST_FIELD and field.isprintable()


def _disk_limit(lease: Lease) -> int:
    return int(lease.worker.spec.resources.disk_bytes) if lease.worker is not None else 0


def _as_answer(error: Exception) -> dict[str, str]:
    if isinstance(error, NotFound):
        return {"code": "ObjectNotFound", "message": error.message}
    if isinstance(error, InvalidArgument | ValueError):
        return {"code": "InvalidArgument", "message": str(error)}
    if isinstance(error, OSError) and disk.is_full(error):
        return {"code": "HostDiskFull", "message": f"the disk of the host is full: {error.strerror}"}
    log.error("blob.failed", error=str(error))
    return {"code": "ObjectUnavailable", "message": str(error)}

"""Gives tasks the objects in their reach, as open files: no credential and no path of the store leaves the executor."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import structlog

from services.common import disk
from services.common.blobs import check_key
from services.common.errors import HangarError, InvalidArgument, NotFound
from services.executor.descriptors import all_opened, opened
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
METHODS = frozenset({"get", "head", "list", "put", "store", "discard"})
MOST_OBJECTS = 64
"""Of one request."""


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
        objects = [(header.get("id"), header.get("key")), *_more(header)]
        fields = [header.get("method"), *(field for each in objects for field in each)]
        if header["type"] != "blob" or not all(map(_is_text, fields)) or len(objects) > MOST_OBJECTS:
            raise FrameError(
                "a connection of role blob sends one frame of type blob with id, method and key, and up to "
                f"{MOST_OBJECTS - 1} pairs of id and key more"
            )
        if connection in self._answering:
            raise FrameError("a connection of role blob sends one request only")
        named = {str(draft_id): str(key) for draft_id, key in objects}
        answering = self._answer(worker_id, connection, int(header["lease"]), str(header["method"]), named)
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
        method: str,
        objects: dict[str, str],
    ) -> None:
        answer: dict[str, object] = {"type": "blob", "id": next(iter(objects))}
        descriptors: list[int] = []
        try:
            try:
                lease = self._lease(worker_id, lease_id)
                await self._do(lease, method, objects, answer, descriptors)
            except _Refused as error:
                answer["error"] = {"code": error.code, "message": error.message}
            except NotInReachError as error:
                log.warning(
                    "blob.not_in_reach", lease=lease_id, worker=worker_id, method=method, error=error.message
                )
                answer["error"] = {"code": CODE, "message": error.message}
            except (HangarError, OSError, ValueError) as error:
                answer["error"] = _as_answer(error)
            connection.send_descriptors(answer, [] if "error" in answer else descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
            connection.close()

    def _lease(self, worker_id: int, lease_id: int) -> Lease:
        lease = self._holdings.leases.get(lease_id)
        if lease is None or lease.is_ended or lease.worker is None or lease.worker.worker_id != worker_id:
            raise _Refused(CODE, f"lease {lease_id} is not one that this worker has")
        return lease

    async def _do(
        self,
        lease: Lease,
        method: str,
        objects: dict[str, str],
        answer: dict[str, object],
        descriptors: list[int],
    ) -> None:
        """Does what is asked: adds to the answer, and to the descriptors that go with it."""
        if method not in METHODS:
            raise _Refused(
                "InvalidArgument", f"there is no method {method!r} of blob frames: use {sorted(METHODS)}"
            )
        reach = self._reaches.of(lease)
        if method in {"get", "head", "list"}:
            waiting = self._outgoing.explains(lease.lease_id, "a file cannot be fetched yet")
            for key in objects.values():
                reach.check_get(key)
            first = next(iter(objects.values()))
            if method == "head":
                answer["size"] = await self._objects.size(first, waiting)
            elif method == "list":
                descriptors.append(await self._objects.listing(first, waiting))
            else:
                opening = [self._objects.open(key, waiting) for key in objects.values()]
                descriptors += await all_opened(opening)
            return
        drafts: dict[str, Path] = {}
        for draft_id, key in objects.items():
            reach.check_put(key)
            check_key(key)
            path = drafts[key] = self._drafts.path(lease.lease_id, draft_id)
            # A file that is on its way into the store must not be opened for writing at the same time.
            if path in self._opening or (path in self._storing and method != "store"):
                raise _Refused(
                    "InvalidArgument", f"file {draft_id} is busy: make one request for it at a time"
                )
        if method == "put":
            for draft_id, path in zip(objects, drafts.values(), strict=True):
                descriptors.append(await self._open(path, lease.lease_id, draft_id))
        elif method == "discard":
            for draft_id, path in zip(objects, drafts.values(), strict=True):
                self._over_quota.discard(path)
                await asyncio.to_thread(self._drafts.discard, lease.lease_id, draft_id)
        else:
            await self._store_all(lease, drafts, LARGEST_REPORT if reach.report_key in drafts else 0)

    async def _store_all(self, lease: Lease, drafts: dict[str, Path], most: int) -> None:
        """Stores files together. A request that is repeated meanwhile waits for the first one."""
        storing = {self._storing[path] for path in drafts.values() if path in self._storing}
        left = {key: path for key, path in drafts.items() if path not in self._storing}
        if left:
            task = asyncio.create_task(self._store(lease, left, most), name="store")
            storing.add(task)
            for path in left.values():
                self._storing[path] = task
            task.add_done_callback(lambda stored: self._stored(left, stored))
        for task in storing:
            await asyncio.shield(task)

    async def _open(self, path: Path, lease_id: int, draft_id: str) -> int:
        self._opening.add(path)
        try:
            descriptor = await opened(self._drafts.open, lease_id, draft_id)
        finally:
            self._opening.discard(path)
        self._look_at_sizes()
        return descriptor

    def _stored(self, drafts: dict[str, Path], stored: asyncio.Task[None]) -> None:
        for path in drafts.values():
            self._storing.pop(path, None)
        if not stored.cancelled():
            stored.exception()  # whoever asked for it was told, or has gone

    async def _store(self, lease: Lease, drafts: dict[str, Path], most: int) -> None:
        limit = _disk_limit(lease)
        size = 0
        for path in drafts.values():
            with contextlib.suppress(FileNotFoundError):  # stored before
                size += path.stat().st_size
        if 0 < limit < size or not self._over_quota.isdisjoint(drafts.values()):
            for path in drafts.values():
                self._over_quota.discard(path)
                path.unlink(missing_ok=True)
            message = (
                f"object {next(iter(drafts))} is refused: the task wrote more than its disk limit of {limit} bytes "
                "at once"
            )
            raise _Refused("DiskLimitExceeded", message)
        if 0 < most < size:
            path.unlink(missing_ok=True)
            raise _Refused("ReportTooLarge", f"a report has up to {most} bytes, not {size}: write less")
        if 0 < most < size:
            for path in drafts.values():
                path.unlink(missing_ok=True)
            raise _Refused("ReportTooLarge", f"a report has up to {most} bytes, not {size}: write less")
        waiting = self._outgoing.explains(lease.lease_id, "a file cannot be stored yet")
        await self._objects.store(drafts, waiting)

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


def _more(header: Mapping[str, object]) -> list[list[object]]:
    """Returns the objects of a request besides the first one.

    Raises:
        FrameError: They are no pairs.
    """
    more = header.get("more", [])
    if not isinstance(more, list) or not all(isinstance(each, list) and len(each) == 2 for each in more):
        raise FrameError("more, in a frame of type blob, is an array of pairs of id and key")
    return more


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

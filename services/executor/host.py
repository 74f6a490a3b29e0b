"""The host: puts the parts of an executor together and hands on what workers say."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog

from hangar.core.v1.resources_pb2 import Inventory
from hangar.scheduler.v1.node_service_pb2 import WorkerStart
from services.common.blobs import BlobStore
from services.executor.adoption import Adoption
from services.executor.blob_access import BlobAccess
from services.executor.children import Children
from services.executor.code import CodeStore
from services.executor.dispatch import Dispatch
from services.executor.drafts import Drafts
from services.executor.engines.base import Engine, UnknownWorkerError
from services.executor.exits import Exits
from services.executor.frames import Frame, FrameError
from services.executor.gpu.plugin import GpuPlugin
from services.executor.holdings import Holdings
from services.executor.journal import Journal
from services.executor.kills import Kills
from services.executor.launches import Launches
from services.executor.leases import Lease, LeaseState
from services.executor.logs import LogShipper
from services.executor.objects import Objects
from services.executor.orders import Orders
from services.executor.outbox import Restored
from services.executor.outgoing import Outgoing
from services.executor.payloads import Payloads
from services.executor.program_files import ProgramFiles
from services.executor.programs import Programs
from services.executor.reaches import Reaches
from services.executor.reception import Reception
from services.executor.results import Results
from services.executor.settings import Settings
from services.executor.spool import Spool
from services.executor.task_lookups import TaskLookups
from services.executor.traces import Traces
from services.executor.worker_server import WorkerConnection, WorkerServer
from services.executor.workers import Worker

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 30.0
"""How long a worker whose connection ended may take to connect again. One whose task closed it never will."""
END_SECONDS = 15.0
"""How long the stop of an executor waits for the end of a worker."""


class Host:
    """All that works on one host. Listens to its workers; `orders` listens to the session.

    Args:
        settings: Settings of the executor.
        engine: What runs workers.
        gpus: Devices.
        blobs: The blob store.
        journal: The outbox.
        outgoing: What is to be sent to the scheduler.
        inventory: Says what the host offers now.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        gpus: GpuPlugin,
        blobs: BlobStore,
        journal: Journal,
        outgoing: Outgoing,
        inventory: Callable[[], Awaitable[Inventory]],
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._journal = journal
        self._outgoing = outgoing
        self.holdings = holdings = Holdings()
        payloads = Payloads(blobs, settings.inline_bytes)
        self._code = CodeStore(settings.state_dir.absolute() / "code", payloads.get_file)
        self._server = WorkerServer(self)
        self._logs = LogShipper(
            holdings,
            journal,
            outgoing,
            payloads,
            self._log_path,
            settings.log_flush_interval,
            settings.log_flush_bytes,
        )
        self._spool = Spool(settings.state_dir.absolute() / "outputs")
        self._results = Results(holdings, journal, outgoing, self._logs, payloads, self._spool, self._freed)
        reaches = Reaches(settings.state_dir.absolute() / "objects" / "reach")
        objects, drafts = _object_files(settings, payloads, blobs.directory)
        files = ProgramFiles(objects, reaches, outgoing)
        programs = Programs(payloads, files, outgoing, self._results, reaches)
        self._exits = Exits(holdings, journal, self._results, outgoing, engine, self._server, programs)
        self._launches = Launches(
            engine,
            self._code,
            gpus,
            self._server,
            self._progress,
            self._prepared,
            self._exits.never_started,
            programs,
        )
        self._kills = Kills(holdings, self._results, outgoing, engine, settings.kill_grace, self._exits.gone)
        self._blobs = BlobAccess(holdings, reaches, objects, drafts, outgoing)
        self.lookups = TaskLookups(holdings, outgoing)
        self._traces = Traces(holdings, journal, outgoing, payloads, reaches)
        self._children = Children(holdings, outgoing, payloads, self._logs, reaches, self._traces)
        self._dispatch = Dispatch(
            holdings,
            journal,
            payloads,
            self._results,
            outgoing,
            reaches,
            settings.blobs_url,
            self._new_worker,
            self._launches.start,
        )
        self.orders = Orders(
            settings,
            engine.name,
            inventory,
            holdings,
            journal,
            outgoing,
            self._dispatch,
            self._children,
            self._traces,
            self._kills,
            self._results,
            self._logs,
            self._start_worker,
            self._launches.prepare,
        )
        """What listens to the session with the scheduler."""
        self._reception = Reception(
            holdings, journal, outgoing, self._results, self._dispatch, self._kills, reaches
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._adoption: Adoption | None = None

    # -- beginning and end

    async def start(self, restored: Restored) -> None:
        """Takes over what an earlier executor left, and begins to listen to the engine."""
        await self._code.clear_leftovers()
        self._spool.open()
        adoption = Adoption(
            self.holdings, self._results, self._traces, self._launches, self._server, self._new_worker
        )
        strangers = await adoption.run(restored, await self._engine.adopt())
        self._results.clear_leftovers()
        self._blobs.start()
        self._tasks = [
            asyncio.create_task(self._exits.run(), name="exits"),
            asyncio.create_task(self._logs.run(), name="logs"),
        ]
        for task in self._tasks:
            task.add_done_callback(_complain)
        for worker_id in strangers:
            with contextlib.suppress(UnknownWorkerError):  # It ended by itself just now.
                await self._engine.kill(worker_id, "no lease or pool is known for it")
        self._adoption = adoption

    async def settle(self) -> None:
        """Waits for adopted workers to say what they have, so that Hello is right about it."""
        if self._adoption is not None:
            await self._adoption.wait(self._settings.adoption_timeout)

    async def end_idle_workers(self) -> None:
        """Ends the workers of pools that have no lease: without an executor nothing would give them one."""
        workers = self.holdings.workers.values()
        await asyncio.gather(
            *(
                self._end(w)
                for w in workers
                if w.pool_key and w.is_launched and not w.leases and self._results.is_safe(w)
            )
        )
        await self._exits.settle()

    async def _end(self, worker: Worker) -> None:
        try:
            async with asyncio.timeout(END_SECONDS):
                ended = await self._engine.kill(worker.worker_id, "the executor stops")
        except UnknownWorkerError:
            return  # it ended by itself just now
        except TimeoutError:
            log.warning(
                "worker.left", worker=worker.worker_id, hint="the engine is away; it ends as an orphan"
            )
            return
        self._exits.gone(worker, ended)

    async def close(self) -> None:
        """Lets go of everything. Workers go on, and wait for the next executor."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._launches.close()
        await self._kills.close()
        await self._dispatch.close()
        await self._children.close()
        await self._traces.close()
        await self.lookups.close()
        await self._exits.close()
        await self._blobs.close()
        await self._results.close()
        await self._server.close()

    def drop_unused_specs(self) -> set[str]:
        """Forgets the definitions that nothing held names, and returns their digests.

        One that is needed again is journaled again when it comes.
        """
        used = {lease.assignment.spec_digest for lease in self.holdings.leases.values()}
        used |= {worker.spec_digest for worker in self.holdings.workers.values()}
        unused = self.holdings.specs.keys() - used
        for digest in unused:
            del self.holdings.specs[digest]
        return unused

    # -- workers

    def _directory(self, worker_id: int) -> Path:
        return self._settings.state_dir.absolute() / "workers" / str(worker_id)

    def _log_path(self, lease: Lease) -> str:
        if lease.worker is not None:
            return lease.worker.log_path(lease.lease_id)
        return f"{self._directory(lease.worker_id)}/{lease.lease_id}.log"

    def _new_worker(self, origin: Lease | WorkerStart) -> Worker:
        """Makes and adds the worker of a lease or of a pool; it is not started."""
        if isinstance(origin, Lease):
            assignment = origin.assignment
            worker = Worker(
                assignment.worker_id,
                origin.spec,
                assignment.spec_digest,
                self._directory(assignment.worker_id),
                assignment.action.run.project,
                assignment.action.run.domain,
                gpu_uuids=tuple(assignment.gpu_uuids),
            )
        else:
            worker = Worker(
                origin.worker_id,
                self.holdings.specs[origin.spec_digest],
                origin.spec_digest,
                self._directory(origin.worker_id),
                origin.project,
                origin.domain,
                pool_key=origin.pool_key,
                concurrency=max(origin.concurrency, 1),
                gpu_uuids=tuple(origin.gpu_uuids),
            )
        self.holdings.add_worker(worker)
        return worker

    def _start_worker(self, start: WorkerStart) -> None:
        if start.worker_id in self.holdings.workers or start.worker_id in self.holdings.exits:
            return
        worker = self._new_worker(start)
        self._journal.pending.workers.append((start.worker_id, start.SerializeToString()))
        self._journal.commit_soon(lambda: self._launches.start(worker))

    def _freed(self, worker: Worker) -> None:
        """A lease of the worker has ended."""
        self._blobs.forget_ended()
        self._children.resume(worker)
        if worker.pool_key:
            pool = self.holdings.pools.get(worker.pool_key)
            if pool is not None:
                self._dispatch.place(pool)
            self._kills.expect_end(worker)
        elif not worker.leases:
            self._kills.retire(worker, "its lease has ended")

    def _progress(self, worker: Worker, line: str) -> None:
        leases = list(worker.leases.values())
        if worker.pool_key:
            leases = self.holdings.pool(worker.pool_key).waiting
        for lease in leases:
            self._outgoing.progress(lease.lease_id, line)

    def _prepared(self, worker: Worker) -> None:
        if worker.is_program:
            self._reception.runs(worker)
        else:
            self._dispatch.deliver_all(worker)

    def worker_connected(self, worker_id: int, connection: WorkerConnection, hello: dict[str, Any]) -> None:
        """A worker connected, for the first time or again."""
        worker = self.holdings.workers.get(worker_id)
        if worker is None:
            connection.close()
        else:
            self._reception.connected(worker, connection, hello)

    def supervisor_connected(self, worker_id: int, hello: dict[str, Any]) -> None:
        """The supervisor of a worker connected."""
        worker = self.holdings.workers.get(worker_id)
        if worker is not None:
            worker.supervisor_pid = int(hello.get("pid") or 0)

    def worker_disconnected(self, worker_id: int, connection: WorkerConnection) -> None:
        """A connection of a worker ended; it comes again, or its exit is reported."""
        self.lookups.disconnected(connection)
        worker = self.holdings.workers.get(worker_id)
        if worker is not None and worker.connection is connection:
            worker.connection = None
            loop = asyncio.get_running_loop()
            worker.silent_since = loop.time()
            loop.call_later(RECONNECT_SECONDS, self._end_silent, worker)

    def _end_silent(self, worker: Worker) -> None:
        """Ends a worker that lives and has not connected again: nobody would ever hear of its leases."""
        silence = asyncio.get_running_loop().time() - worker.silent_since
        if worker.connection is None and silence >= RECONNECT_SECONDS and worker.leases:
            self._kills.end(worker, "it closed its connection to the executor and did not connect again")

    def blob_requested(self, worker_id: int, connection: WorkerConnection, frame: Frame) -> None:
        """A worker asks for an object.

        Raises:
            FrameError: The frame is wrong.
        """
        self._blobs.request(worker_id, connection, frame)

    def blob_disconnected(self, connection: WorkerConnection) -> None:
        """A worker does not wait for an object any more."""
        self._blobs.disconnected(connection)

    def worker_frame(self, worker_id: int, connection: WorkerConnection, frame: Frame) -> None:
        """A worker said something.

        Raises:
            FrameError: Its content is wrong.
        """
        kind = frame.header["type"]
        try:
            if kind == "result":
                self._reception.result(connection, frame)
            elif kind == "started":
                self._reception.started(frame)
            elif kind == "children":
                self._children.request(connection, frame)
            elif kind == "park":
                self._children.park(frame)
                self._place_beside(frame)
            elif kind == "spec":
                self._children.spec(connection, frame)
            elif kind == "cancel":
                self._children.cancel(frame)
            elif kind == "progress":
                self._reception.progress(frame)
            elif kind == "traced":
                self._traces.ended(connection, frame)
            elif kind == "task":
                self.lookups.request(connection, frame)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise FrameError(f"a frame of type {kind} is wrong: {error!r}") from error

    def _place_beside(self, frame: Frame) -> None:
        """Uses the slot that a parked lease gave back."""
        lease = self.holdings.leases.get(int(frame.header["lease"]))
        if (
            lease is not None
            and lease.worker is not None
            and lease.state is LeaseState.PARKED
            and lease.is_shared
        ):
            self._children.resume(lease.worker)
            self._dispatch.place(self.holdings.pool(lease.assignment.pool_key))


def _object_files(settings: Settings, payloads: Payloads, root: Path | None) -> tuple[Objects, Drafts]:
    place = settings.state_dir.absolute() / "objects"
    return Objects(payloads, root, place / "cache", settings.object_cache), Drafts(place / "drafts")


def _complain(task: asyncio.Task[None]) -> None:
    """Says so when work that never ends has ended."""
    if not task.cancelled() and task.exception() is not None:
        log.critical("host.task_failed", task=task.get_name(), exc_info=task.exception())

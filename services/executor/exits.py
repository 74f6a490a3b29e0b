"""What follows when a worker has ended."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from hangar.core.v1 import failure_pb2
from hangar.core.v1.failure_pb2 import Failure
from services.executor import failures
from services.executor.engines.base import Engine, UnknownWorkerError, WorkerExit
from services.executor.holdings import Holdings
from services.executor.journal import Journal
from services.executor.outgoing import Outgoing
from services.executor.programs import Programs
from services.executor.results import Results
from services.executor.worker_files import open_plain
from services.executor.worker_server import WorkerServer
from services.executor.workers import Worker, WorkerState

log = structlog.get_logger(__name__)

LAST_WORDS_SECONDS = 2.0
"""How long a connection may outlive its worker: what it sent last is still to be read."""
SETTLE_SECONDS = 3.0
"""How long an executor that stops waits for a blob store to take what ended workers left."""
REMEMBERED_EXITS = 256
_NOTE_BYTES = 8


class Exits:
    """Ends the leases of workers that ended, tells the scheduler, and removes what is left.

    Args:
        holdings: Leases and workers.
        journal: Forgets workers.
        results: Ends leases.
        outgoing: Tells the scheduler.
        engine: Reports exits.
        server: Closes sockets.
        programs: Reads what programs of images have written.
    """

    def __init__(
        self,
        holdings: Holdings,
        journal: Journal,
        results: Results,
        outgoing: Outgoing,
        engine: Engine,
        server: WorkerServer,
        programs: Programs,
    ) -> None:
        self._holdings = holdings
        self._journal = journal
        self._results = results
        self._outgoing = outgoing
        self._engine = engine
        self._server = server
        self._programs = programs
        self._settling: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Deals with the exits that the engine reports, until cancelled."""
        async for ended in self._engine.events():
            worker = self._holdings.workers.get(ended.worker_id)
            if worker is None:
                self._start(ended.worker_id, partial(self._clear_stranger, ended.worker_id))
            else:
                self.gone(worker, ended)

    def gone(self, worker: Worker, ended: WorkerExit) -> None:
        """Nothing of a worker lives."""
        self._start(worker.worker_id, lambda: self._settle(worker, ended, None))

    def never_started(self, worker: Worker, failure: Failure) -> None:
        """A worker could not be started."""
        ended = WorkerExit(worker.worker_id, None, reason=failure.message)
        self._start(worker.worker_id, lambda: self._settle(worker, ended, failure))

    async def settle(self) -> None:
        """Waits a moment until nothing is left of the workers that have ended; the next executor does the rest."""
        if self._settling:
            await asyncio.wait(list(self._settling.values()), timeout=SETTLE_SECONDS)

    def _start(self, worker_id: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if worker_id not in self._settling:
            task = self._settling[worker_id] = asyncio.create_task(work())
            task.add_done_callback(lambda _: self._settling.pop(worker_id, None))

    async def _settle(self, worker: Worker, ended: WorkerExit, failure: Failure | None) -> None:
        if failure is not None and worker.is_launched:
            await self._kill(worker, failure)
        if worker.connection is not None:
            await asyncio.wait([worker.connection.closed], timeout=LAST_WORDS_SECONDS)
        was_ready = worker.state is WorkerState.READY
        worker.state = WorkerState.EXITED
        worker.connected.set()
        log.info("worker.ended", worker=worker.worker_id, how=failures.in_words(ended), reason=ended.reason)
        if worker.is_program and failure is None:
            was_ready = True  # there is nothing that it would have to say first
            await self._programs.ended(worker, ended)
        worker.failure = failure or _failure(worker, ended, was_ready=was_ready)
        self._fail_leases(worker, ended, failure, None if was_ready else worker.failure)
        left = [lease for lease in self._holdings.leases.values() if lease.worker is worker]
        shipping = await self._results.reported(left)
        # Behind the results: the scheduler gives up what an ended worker still has.
        self._holdings.remove_worker(worker)
        if worker.pool_key:
            self._remember(worker)
            self._outgoing.worker(worker.status())
        if shipping:
            await asyncio.wait(shipping)
        # First out of the outbox: what is in there and not on the host is started again after a restart.
        self._journal.pending.forgotten_workers.append((worker.worker_id,))
        await self._journal.settled()
        await self._clear(worker.worker_id)

    def _fail_leases(
        self, worker: Worker, ended: WorkerExit, failure: Failure | None, early: Failure | None
    ) -> None:
        leases = [lease for lease in worker.leases.values() if not lease.is_delivered]
        stepped = _stepped(worker.directory)
        reasons = failures.after_exit(ended, leases, worker.stopping, worker.killed_for, stepped)
        for lease in leases:
            why = failure or (early if not lease.started_at else None) or reasons.get(lease.lease_id)
            if lease.kill is not None:
                why = failures.of_kill(lease.kill)
            assert why is not None
            self._results.fail(
                lease,
                why,
                killed=lease.kill is not None,
                peak_memory=ended.peak_memory_bytes,
                cpu_millis=ended.cpu_millis if not lease.is_shared else 0,
            )

    async def _kill(self, worker: Worker, failure: Failure) -> None:
        try:
            await self._engine.kill(worker.worker_id, failure.message)
        except UnknownWorkerError:
            return

    def _remember(self, worker: Worker) -> None:
        exits = self._holdings.exits
        exits[worker.worker_id] = worker.status()
        while len(exits) > REMEMBERED_EXITS:
            del exits[next(iter(exits))]

    async def _clear_stranger(self, worker_id: int) -> None:
        """Clears up behind a worker whose leases had all ended before the executor was restarted."""
        left = [lease for lease in self._holdings.leases.values() if lease.worker_id == worker_id]
        shipping = await self._results.reported(left)
        if shipping:
            await asyncio.wait(shipping)
        await self._clear(worker_id)

    async def _clear(self, worker_id: int) -> None:
        await self._server.unlisten(worker_id)
        await self._engine.forget(worker_id)

    async def close(self) -> None:
        """Stops clearing up; the next executor goes on with it."""
        for task in list(self._settling.values()):
            task.cancel()
        if self._settling:
            await asyncio.wait(list(self._settling.values()))


def _failure(worker: Worker, ended: WorkerExit, *, was_ready: bool) -> Failure | None:
    """Returns why a worker ended, None when it was meant to."""
    if worker.stopping or ended.killed:
        return None
    if not was_ready:
        return failures.before_ready(ended, worker.spec.resources.memory_bytes, worker.worker_id)
    if ended.oom:
        return Failure(
            kind=failure_pb2.FAILURE_KIND_OOM,
            code="OutOfMemory",
            message=f"worker {worker.worker_id} exceeded its memory limit",
            worker=str(worker.worker_id),
        )
    detail = f": {ended.reason}" if ended.reason else ""
    return failures.system("WorkerDied", f"worker {worker.worker_id} {failures.in_words(ended)}{detail}")


def _stepped(directory: Path) -> int:
    """Returns the lease whose code the worker ran when it ended, as its note says; 0 when there is none."""
    try:
        with open_plain(directory / "current") as file:
            note = file.read(_NOTE_BYTES)
    except OSError:
        return 0
    return int.from_bytes(note, "little") if len(note) == _NOTE_BYTES else 0

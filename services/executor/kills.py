"""Ends leases and workers on request."""

import asyncio
import time
from collections.abc import Callable

import structlog

from hangar.scheduler.v1.node_service_pb2 import LeaseKill, LeaseResult
from services.executor import failures
from services.executor.engines.base import Engine, UnknownWorkerError, WorkerExit
from services.executor.holdings import Holdings
from services.executor.leases import Lease, LeaseState
from services.executor.outgoing import Outgoing
from services.executor.results import Results
from services.executor.workers import Worker, WorkerState

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 3.0


class Kills:
    """Stops what shall not go on. A kill is confirmed once nothing of the lease runs any more.

    Args:
        holdings: Leases and workers.
        results: Ends leases.
        outgoing: Answers kills of leases that are not here.
        engine: Ends workers.
        grace: Seconds that code in a worker gets to end by itself.
        on_gone: Called with a worker of which no process ever existed.
    """

    def __init__(
        self,
        holdings: Holdings,
        results: Results,
        outgoing: Outgoing,
        engine: Engine,
        grace: float,
        on_gone: Callable[[Worker, WorkerExit], None],
    ) -> None:
        self._holdings = holdings
        self._results = results
        self._outgoing = outgoing
        self._engine = engine
        self._grace = grace
        self._on_gone = on_gone
        self._ending: dict[int, asyncio.Task[None]] = {}
        self._is_closed = False

    def kill(self, request: LeaseKill) -> None:
        """Stops a lease. Asking again changes nothing; one that is not here is answered at once."""
        lease = self._holdings.leases.get(request.lease_id)
        if lease is None:
            result = LeaseResult(lease_id=request.lease_id, failure=failures.of_kill(request), killed=True)
            result.ended_at.FromNanoseconds(time.time_ns())
            self._outgoing.result(result)
        elif lease.is_ended:
            if lease.is_reported and lease.result is not None:
                self._outgoing.result(lease.result)
        elif lease.kill is None and not lease.is_delivered:
            lease.kill = request
            self._stop(lease)

    def drop(self, lease: Lease) -> None:
        """Stops a lease that the scheduler wants to hear no more of."""
        if not self._is_with_worker(lease):
            self._results.drop(lease)
            return
        lease.dropped = True
        if lease.kill is None:
            lease.kill = LeaseKill(lease_id=lease.lease_id, reason="the scheduler does not know it any more")
            self._stop(lease)

    @staticmethod
    def _is_with_worker(lease: Lease) -> bool:
        """Says whether something of a lease may be running or on its way to a worker."""
        if lease.state in {LeaseState.WAITING, LeaseState.ENDED}:
            return False
        return not lease.is_shared or lease.sent_over is not None or lease.is_uncertain

    def _stop(self, lease: Lease) -> None:
        worker = lease.worker
        if worker is None or not self._is_with_worker(lease):
            assert lease.kill is not None
            self._results.fail(lease, failures.of_kill(lease.kill), killed=True)
        elif not (lease.spec.is_async or len(worker.leases) > 1):
            self._end_for(worker, lease)
        else:
            # A coroutine may clean up, and its neighbours go on if it ends by itself.
            self.tell(lease)
            asyncio.get_running_loop().call_later(self._grace, self._overdue, lease)

    def tell(self, lease: Lease) -> None:
        """Tells a worker that one of its leases is to end."""
        kill = lease.kill
        if kill is not None and lease.worker is not None and lease.worker.connection is not None:
            lease.worker.connection.send(
                {
                    "type": "kill",
                    "lease": lease.lease_id,
                    "reason": kill.reason,
                    "kind": failures.NAMES_BY_KIND[kill.kind] if kill.kind else "",
                }
            )

    def wait_for_worker(self, lease: Lease) -> None:
        """The code of a killed lease has ended in a worker of its own: the end of that worker makes the result."""
        if lease.worker is not None:
            self._end_for(lease.worker, lease)

    def _overdue(self, lease: Lease) -> None:
        if not lease.is_ended and not lease.is_delivered and lease.worker is not None:
            self._end_for(lease.worker, lease)

    def _end_for(self, worker: Worker, lease: Lease) -> None:
        worker.killed_for.add(lease.lease_id)
        reason = lease.kill.reason if lease.kill is not None else "the executor before this one was asked to"
        self.end(worker, f"lease {lease.lease_id} was stopped: {reason}")

    def retire(self, worker: Worker, reason: str) -> None:
        """Lets a worker end once what runs in it has ended."""
        worker.stopping = worker.stopping or reason
        if worker.state is WorkerState.STARTING and not worker.leases:
            self.end(worker, reason)
            return
        if worker.connection is not None:
            worker.connection.send({"type": "stop"})
        self.expect_end(worker)

    def expect_end(self, worker: Worker) -> None:
        """Ends a worker that was told to stop, has nothing to do, and stays."""
        if worker.stopping and not worker.leases:
            asyncio.get_running_loop().call_later(self._grace, self._overdue_worker, worker)

    def _overdue_worker(self, worker: Worker) -> None:
        if worker.state is WorkerState.EXITED or worker.leases:
            return
        if self._results.is_safe(worker):
            self.end(worker, worker.stopping)
        else:  # It is the only one that has the result: the disk is full.
            self.expect_end(worker)

    def end(self, worker: Worker, reason: str) -> None:
        """Ends a worker now, whatever runs in it."""
        if self._is_closed:  # a grace period is over after the executor's own end
            return
        if worker.worker_id not in self._ending and worker.state is not WorkerState.EXITED:
            task = self._ending[worker.worker_id] = asyncio.create_task(self._end(worker, reason))
            task.add_done_callback(lambda _: self._ending.pop(worker.worker_id, None))

    async def _end(self, worker: Worker, reason: str) -> None:
        launch = worker.launch
        if launch is not None:
            if not worker.is_launched:
                launch.cancel()
            await asyncio.wait([launch], timeout=None if not worker.is_launched else self._grace)
        if worker.state is WorkerState.EXITED:
            return
        if not worker.is_launched:
            self._on_gone(worker, WorkerExit(worker.worker_id, None, killed=True, reason=reason))
            return
        try:
            await self._engine.kill(worker.worker_id, reason)
        except UnknownWorkerError:
            log.debug("worker.already_ended", worker=worker.worker_id)

    async def close(self) -> None:
        """Waits a moment for workers that are being ended; the next executor ends the others."""
        self._is_closed = True
        if self._ending:
            _, late = await asyncio.wait(list(self._ending.values()), timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()

"""Takes over, after a restart, what an earlier executor of the same state directory left behind."""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from hangar.core.v1.task_spec_pb2 import TaskSpec
from hangar.scheduler.v1.node_service_pb2 import Assignment, LeaseResult, LogChunk, WorkerStart
from services.executor import failures
from services.executor.engines.base import AdoptedWorker
from services.executor.holdings import Holdings
from services.executor.launches import Launches
from services.executor.leases import Lease, LeaseState
from services.executor.outbox import LeaseRow, Restored
from services.executor.results import Results
from services.executor.traces import Traces
from services.executor.worker_server import WorkerServer
from services.executor.workers import Worker, WorkerState

log = structlog.get_logger(__name__)


class Adoption:
    """Rebuilds what is held from the outbox and from the workers that live.

    Leases whose worker may have them wait for that worker, or for the news of its end; only those that no
    worker was given are given now. So nothing runs twice.

    Args:
        holdings: Filled here.
        results: Goes on with leases that had ended.
        traces: Takes over traced calls that the scheduler may not have.
        launches: Starts workers that were not started.
        server: Listens for those that were.
        new_worker: Makes the worker of a lease or of a pool.
    """

    def __init__(
        self,
        holdings: Holdings,
        results: Results,
        traces: Traces,
        launches: Launches,
        server: WorkerServer,
        new_worker: Callable[[Lease | WorkerStart], Worker],
    ) -> None:
        self._holdings = holdings
        self._results = results
        self._traces = traces
        self._launches = launches
        self._server = server
        self._new_worker = new_worker
        self._adopted: list[Worker] = []

    async def run(self, restored: Restored, living: Iterable[AdoptedWorker]) -> list[int]:
        """Rebuilds what is held.

        Args:
            restored: What the outbox had.
            living: Workers that the engine adopted.

        Returns:
            Living workers that nothing is known of, to be ended.
        """
        adopted = {worker.worker_id: worker for worker in living}
        holdings = self._holdings
        for digest, spec in restored.specs.items():
            holdings.specs[digest] = TaskSpec.FromString(spec)
        for chunk_row in restored.chunks:
            holdings.chunks[chunk_row.lease_id, chunk_row.position] = LogChunk.FromString(chunk_row.chunk)
        for start in restored.workers.values():
            self._new_worker(WorkerStart.FromString(start))
        for row in restored.leases:
            self._restore(row)
        for trace in restored.traces:
            self._traces.restore(trace)
        strangers = [worker_id for worker_id in adopted if worker_id not in holdings.workers]
        for worker in list(holdings.workers.values()):
            found = adopted.get(worker.worker_id)
            if found is not None:
                worker.directory, worker.token, worker.is_launched = found.directory, found.token, True
                worker.image = found.image
                if not worker.is_program:
                    await self._server.listen(worker.worker_id, worker.directory, worker.token)
                self._adopted.append(worker)
            # One that was never started is started now. To start one that has ended does nothing; its end is
            # reported.
            self._launches.start(worker)
        if restored.leases or restored.workers:
            log.info(
                "host.restored",
                leases=len(restored.leases),
                workers=len(holdings.workers),
                living=len(adopted),
            )
        return strangers

    def _restore(self, row: LeaseRow) -> None:
        assignment = Assignment.FromString(row.assignment)
        lease = Lease(assignment, self._holdings.specs[assignment.spec_digest])
        lease.started_at, lease.log_index, lease.log_offset = row.started_at, row.log_index, row.log_offset
        lease.is_listed = lease.is_journaled = True
        self._holdings.leases[lease.lease_id] = lease
        worker = self._holdings.workers.get(row.worker_id)
        if row.result is not None:
            lease.result = LeaseResult.FromString(row.result)
            lease.state = LeaseState.ENDED
            lease.worker = worker
            self._results.resume(lease)
        elif not lease.is_shared:
            self._take_back(self._new_worker(lease), lease)
        elif worker is not None:
            self._take_back(worker, lease)
        elif row.worker_id:
            gone = failures.system(
                "WorkerDied", f"worker {row.worker_id} ended while the executor was restarted"
            )
            self._results.fail(lease, gone)
        else:
            self._holdings.pool(assignment.pool_key).enqueue(lease)

    @staticmethod
    def _take_back(worker: Worker, lease: Lease) -> None:
        worker.give(lease)
        lease.is_uncertain = True
        if lease.started_at:
            lease.state = LeaseState.RUNNING

    async def wait(self, seconds: float) -> None:
        """Waits until every living worker has connected or ended, at most for some seconds."""
        waits = [
            asyncio.create_task(worker.connected.wait())
            for worker in self._adopted
            if worker.state is WorkerState.STARTING
        ]
        if waits:
            _, late = await asyncio.wait(waits, timeout=seconds)
            for wait in late:
                wait.cancel()
            if late:
                log.warning("host.workers_late", workers=len(late), hint="the scheduler hears of them later")

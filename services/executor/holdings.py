"""All that a host holds: leases, workers, pools, definitions, log chunks on their way."""

from dataclasses import dataclass, field

from hangar.core.v1.task_spec_pb2 import TaskSpec
from hangar.scheduler.v1.node_service_pb2 import HeldLease, LogChunk, WorkerStatus
from services.executor.leases import Lease
from services.executor.pools import Pool
from services.executor.workers import Worker, WorkerState


@dataclass(eq=False, slots=True)
class Holdings:
    """The state of an executor in memory. What of it must outlive a crash is in the outbox as well."""

    leases: dict[int, Lease] = field(default_factory=dict)
    workers: dict[int, Worker] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    specs: dict[str, TaskSpec] = field(default_factory=dict)
    """Definitions of tasks by digest, from the scheduler."""
    child_specs: dict[str, TaskSpec] = field(default_factory=dict)
    """Definitions of children by the digest of their content, from workers."""
    chunks: dict[tuple[int, int], LogChunk] = field(default_factory=dict)
    """Log chunks that are stored and not acknowledged, by lease and position."""
    exits: dict[int, WorkerStatus] = field(default_factory=dict)
    """How workers ended lately, for a scheduler that was away."""

    def pool(self, key: str) -> Pool:
        """Returns the part of a pool that is on this host."""
        pool = self.pools.get(key)
        if pool is None:
            pool = self.pools[key] = Pool(key)
        return pool

    def add_worker(self, worker: Worker) -> None:
        """Adds a worker, to its pool as well."""
        self.workers[worker.worker_id] = worker
        if worker.pool_key:
            self.pool(worker.pool_key).workers[worker.worker_id] = worker

    def remove_worker(self, worker: Worker) -> None:
        """Removes a worker that ended, and its pool when it was the last and nothing waits."""
        self.workers.pop(worker.worker_id, None)
        pool = self.pools.get(worker.pool_key)
        if pool is not None:
            pool.workers.pop(worker.worker_id, None)
            if not pool.workers and not pool.waiting:
                del self.pools[worker.pool_key]

    def held_leases(self) -> list[HeldLease]:
        """Returns what Hello says about the leases."""
        return [
            lease.held() for lease in self.leases.values() if not lease.acknowledged and not lease.dropped
        ]

    def worker_statuses(self) -> list[WorkerStatus]:
        """Returns what Hello says about the workers that live."""
        return [worker.status() for worker in self.workers.values() if worker.state is not WorkerState.EXITED]

    def unacknowledged(self) -> int:
        """Returns how many results the scheduler has not acknowledged."""
        return sum(lease.result is not None and not lease.acknowledged for lease in self.leases.values())

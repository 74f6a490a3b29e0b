"""A pool of warm workers on this host and the leases that wait for them."""

from collections import deque
from dataclasses import dataclass, field

from services.executor.leases import Lease, LeaseState
from services.executor.workers import Worker


@dataclass(eq=False, slots=True)
class Pool:
    """The part of a pool that is on this host."""

    key: str
    workers: dict[int, Worker] = field(default_factory=dict)
    _waiting: deque[Lease] = field(default_factory=deque)

    def enqueue(self, lease: Lease) -> None:
        """Lets a lease wait for a free slot, behind those that wait already."""
        self._waiting.append(lease)

    def next_placement(self) -> tuple[Worker, Lease] | None:
        """Books a slot for the lease that waits longest, in the worker with the most free slots.

        Returns:
            The worker and its new lease, or None when nothing waits or no slot is free.
        """
        while self._waiting and self._waiting[0].state is not LeaseState.WAITING:
            self._waiting.popleft()  # It ended while it waited.
        if not self._waiting:
            return None
        worker = max(self.workers.values(), key=_free_slots, default=None)
        if worker is None or worker.free_slots <= 0:
            return None
        lease = self._waiting.popleft()
        worker.give(lease)
        return worker, lease

    @property
    def waiting(self) -> list[Lease]:
        """Leases that wait for a slot, in order."""
        return [lease for lease in self._waiting if lease.state is LeaseState.WAITING]


def _free_slots(worker: Worker) -> int:
    return worker.free_slots

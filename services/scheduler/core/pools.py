"""A pool of warm workers of one reusable environment."""

from __future__ import annotations

from dataclasses import dataclass, field

from .model import SECOND, Placement, PoolPolicy, Resources, Task, Worker, WorkerState
from .nodes import Node
from .queues import Queue

PREFETCH_HORIZON = SECOND // 50  # how much work, in time, a node may hold ahead per slot: 20 ms
MAX_PREFETCH = 32  # leases ahead per slot
START_FAILURES = 3  # in a row, before the queued actions fail


_EVERYWHERE = Placement()


def pool_key(project: str, domain: str, pool: str, placement: Placement) -> str:
    """Key of the pool that serves the actions of a project and domain that are placed so."""
    key = f"{project}/{domain}/{pool}"
    if placement == _EVERYWHERE:
        return key
    return f"{key}/{placement.queue}/{'interruptible' if placement.interruptible else 'regular'}"


def placement_of_pool(key: str) -> Placement:
    """Where the workers of a pool may run."""
    _, _, _, *placement = key.split("/")
    return Placement(placement[0], placement[1] == "interruptible") if placement else _EVERYWHERE


@dataclass(slots=True)
class Pool:
    """Workers, what runs in them, and what waits for them."""

    policy: PoolPolicy
    task: Task  # any task of the environment: gives resources and definition
    queue: Queue
    workers: dict[int, Worker] = field(default_factory=dict)
    in_use: dict[str, int] = field(default_factory=dict)  # per node: leases that are not parked
    cpu_shares: dict[str, int] = field(
        default_factory=dict
    )  # per node: workers whose processor time is booked
    leases: int = 0  # all leases, parked ones too
    mean_run: float = -1.0  # µs, exponentially weighted; negative while unknown
    start_failures: int = 0
    retry_at: int = 0
    idle_since: int = 0
    spare_since: int = 0

    @property
    def held_by_worker(self) -> Resources:
        """What a worker holds even when nothing runs in it: all but processor time."""
        return self.task.resources._replace(cpu=0)

    def busy_workers(self, node: str, leases: int) -> int:
        """Workers of the node that so many leases keep busy."""
        return min(self.ready_on(node), -(-leases // self.credits_of_worker))

    def book_cpu(self, node: Node) -> None:
        """Make the booked processor time of the node fit the workers that are busy there."""
        busy = self.busy_workers(node.name, self.in_use.get(node.name, 0))
        node.free_cpu -= (busy - self.cpu_shares.get(node.name, 0)) * self.task.resources.cpu
        self.cpu_shares[node.name] = busy

    def ready_on(self, node: str) -> int:
        """Ready workers on a node."""
        return sum(1 for w in self.workers.values() if w.node == node and w.state is WorkerState.READY)

    def credits(self, node: str) -> int:
        """How many leases that are not parked the node may hold: slots, and a little ahead when actions are short."""
        return self.ready_on(node) * self.credits_of_worker

    @property
    def credits_of_worker(self) -> int:
        """How many leases that are not parked one worker is kept busy with."""
        if self.mean_run < 0:
            return self.policy.concurrency
        ahead = min(MAX_PREFETCH, int(PREFETCH_HORIZON / max(self.mean_run, 1.0)))
        return self.policy.concurrency * (1 + ahead)

    def observe(self, run_time: int) -> None:
        """Learn from an ended lease how long actions run."""
        if self.mean_run < 0:
            self.mean_run = float(run_time)
        else:
            self.mean_run += 0.1 * (run_time - self.mean_run)

    @property
    def environment(self) -> str:
        """Name of the task environment."""
        return self.task.name.rpartition(".")[0]

    @property
    def active_workers(self) -> int:
        """Workers that take work or will."""
        return sum(1 for w in self.workers.values() if w.state in (WorkerState.STARTING, WorkerState.READY))

    @property
    def busy(self) -> int:
        """Leases that are not parked, on all nodes."""
        return sum(self.in_use.values())

    @property
    def is_idle(self) -> bool:
        """True when nothing runs, waits or is parked in it."""
        return not self.leases and not len(self.queue)

    def wanted_workers(self) -> int:
        """How many workers there should be for what runs and waits."""
        demand = self.busy + len(self.queue)
        if not demand:
            return 0
        needed = -(-demand // self.policy.concurrency)
        return max(self.policy.min_replicas, min(needed, self.policy.max_replicas))

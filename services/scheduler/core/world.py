"""Everything that is live, and the effects of the step under way.

The core's modules are functions over a `World`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace

from . import effects as fx
from .model import DEFAULT_QUEUE, Action, Demand, Lease, NodeState, Placement, Run, Task, Worker
from .nodes import Node
from .pools import Pool, placement_of_pool, pool_key
from .quarantine import Quarantine
from .queues import Queue
from .timers import Timers

REMEMBERED_RUNS = 1024  # ended runs whose names are known until the ledger's readers see them for sure


@dataclass(slots=True)
class Reservation:
    """The right of one live action to compute what others of the same cache key wait for."""

    owner: int
    waiting: OrderedDict[int, None] = field(default_factory=OrderedDict)  # ids of actions, the first first


class World:
    """State of the scheduler."""

    def __init__(self) -> None:
        self.now = 0
        self.out: list[fx.Effect] = []
        self.next_run_id = 1
        self.next_action_id = 1
        self.next_lease_id = 1
        self.next_worker_id = 1
        self.runs: dict[int, Run] = {}
        self.run_ids: dict[tuple[str, str, str], int] = {}
        self.ended_runs: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        self.actions: dict[int, Action] = {}
        self.leases: dict[int, Lease] = {}
        self.nodes: dict[str, Node] = {}
        self.workers: dict[int, Worker] = {}
        self.pools: dict[str, Pool] = {}
        self.queues: dict[Demand, Queue] = {}
        self.timers = Timers()
        self.quarantine = Quarantine()
        self.stored: OrderedDict[str, int] = (
            OrderedDict()
        )  # entries of the cache stored lately: key -> action
        self.reservations: dict[str, Reservation] = {}  # by cache key: who computes what others wait for
        self.capacity_version = 0
        self.scheduled_version = 0  # the capacity version that the last scheduling pass ended at
        self.explaining_waits = False  # a WAIT_REASON timer is set
        self.stale_pools: set[str] = set()  # pools to look at in the next scheduling pass

    def emit(self, effect: fx.Effect) -> None:
        """Add an effect to the step."""
        self.out.append(effect)

    def capacity_changed(self) -> None:
        """Something was freed or came: what did not fit is tried again."""
        self.capacity_version += 1

    def is_reachable(self, node: str) -> bool:
        """Whether frames can be sent to the node. What is not sent is made good when it says Hello."""
        found = self.nodes.get(node)
        return found is not None and found.session is not None

    def action_of(self, lease: Lease) -> Action:
        """The action that a current lease carries out."""
        return self.actions[lease.action_id]

    def lease_of(self, action: Action) -> Lease | None:
        """The action's current lease."""
        return self.leases.get(action.lease_id) if action.lease_id is not None else None

    def pool_key_of(self, action: Action) -> str:
        """Key of the pool that serves an action. Projects and domains share no workers. Empty for none."""
        if action.task.pool is None:
            return ""
        run = self.runs[action.run_id]
        return pool_key(run.project, run.domain, action.task.pool.key, self.placement_of(action))

    def placement_of(self, action: Action) -> Placement:
        """Which hosts may take an action: of queues its task's goes first, of the rest its run's."""
        run, task = self.runs[action.run_id], action.task
        interruptible = task.interruptible if run.interruptible is None else run.interruptible
        return Placement(task.queue or run.queue or DEFAULT_QUEUE, interruptible)

    def queue_of(self, action: Action) -> Queue:
        """The queue of an action that has no pool; made on first use."""
        demand = Demand(action.task.resources, self.placement_of(action))
        queue = self.queues.get(demand)
        if queue is None:
            queue = self.queues[demand] = Queue(demand)
        return queue

    def pool_of(self, key: str, task: Task) -> Pool:
        """The pool of a key; made on first use, for the environment of a task that has one.

        Raises:
            ValueError: The task belongs to no pool.
        """
        pool = self.pools.get(key)
        if pool is None:
            if task.pool is None:
                raise ValueError(f"task {task.name} has no pool, and {key} was asked for")
            demand = Demand(task.resources, placement_of_pool(key))
            pool = self.pools[key] = Pool(replace(task.pool, key=key), task, Queue(demand))
        return pool

    def change_in_use(self, pool: Pool, node: str, by: int) -> None:
        """Count a lease of a pool on a node that runs, or no longer does, and the processor time with it."""
        pool.in_use[node] = pool.in_use.get(node, 0) + by
        self.book_pool_cpu(pool, node)
        self.stale_pools.add(pool.policy.key)

    def book_pool_cpu(self, pool: Pool, node: str) -> None:
        """Book processor time for the workers of a pool that are busy on a node now."""
        before = self.nodes[node].free_cpu
        pool.book_cpu(self.nodes[node])
        if self.nodes[node].free_cpu > before:
            self.capacity_changed()

    def enqueue(self, action: Action) -> None:
        """Make an action in state QUEUED available for placement."""
        key = self.pool_key_of(action)
        if key:
            pool = self.pool_of(key, action.task)
            pool.queue.add(action)
            pool.idle_since = 0
            self.stale_pools.add(pool.policy.key)
            return
        self.queue_of(action).add(action)

    def dequeue(self, action: Action) -> None:
        """Withdraw an action from placement, if it is queued."""
        key = self.pool_key_of(action)
        if key:
            pool = self.pools.get(key)
            if pool is not None:
                pool.queue.discard(action.id)
                self.stale_pools.add(pool.policy.key)
            return
        self.queue_of(action).discard(action.id)

    def remember_ended_run(self, run: Run) -> None:
        """Drop a run; its name stays known for a while."""
        key = (run.project, run.domain, run.name)
        del self.runs[run.id]
        self.run_ids.pop(key, None)
        self.ended_runs[key] = run.request_digest
        while len(self.ended_runs) > REMEMBERED_RUNS:
            self.ended_runs.popitem(last=False)

    def emit_worker(self, worker: Worker) -> None:
        """Persist the state of a pool worker."""
        self.emit(
            fx.WorkerChanged(
                worker.id,
                worker.node,
                worker.pool_key,
                worker.spec_digest,
                worker.gpu_uuids,
                worker.state,
                self.now,
            )
        )

    def emit_node(self, node: Node) -> None:
        """Persist the state of a node."""
        self.emit(fx.NodeChanged(node.name, node.boot_id, node.inventory, node.state, node.labels, self.now))

    def ready_nodes(self) -> list[Node]:
        """Nodes that take new work."""
        return [n for n in self.nodes.values() if n.state is NodeState.READY and n.session is not None]

"""The scheduling pass: who gets what, after everything else of a step has been handled."""

from __future__ import annotations

import heapq
from collections import Counter

from . import effects as fx
from .lifecycle import emit_moved, finish, move, send_outcome, unpark
from .model import (
    SECOND,
    Action,
    Demand,
    Failure,
    FailureKind,
    Lease,
    NodeState,
    Phase,
    Resources,
    State,
    Worker,
    WorkerState,
)
from .nodes import Node
from .placement import (
    choose,
    describe,
    describe_engines,
    describe_hosts,
    describe_largest,
    describe_platforms,
    explain_refusal,
    explain_wait,
)
from .pools import START_FAILURES, Pool
from .queues import Queue, Rank
from .reconcile import send_assignment, send_worker_start
from .timers import TimerKind
from .transitions import Trigger
from .world import World

EXPLAINED = 20  # actions at the head of a blocked queue that are told why they wait


def schedule(w: World) -> None:
    """Use what is free: waiting parents first, then warm slots, then new workers in the order of their actions."""
    for node in w.nodes.values():
        if node.unparking:
            _unpark(w, node)
    if w.scheduled_version != w.capacity_version:
        w.stale_pools.update(key for key, pool in w.pools.items() if len(pool.queue))
    while w.stale_pools:
        pool = w.pools.get(w.stale_pools.pop())
        if pool is not None:
            _recall_stranded(w, pool)
            _use_warm_slots(w, pool)
            _watch_idleness(w, pool)
    _place(w)
    w.scheduled_version = w.capacity_version


def _unpark(w: World, node: Node) -> None:
    """Give parents whose children ended their processor time back, first come first served."""
    while node.unparking:
        lease = w.leases.get(node.unparking[0])
        if lease is None or not lease.held_outcomes:
            node.unparking.popleft()
            continue
        action = w.action_of(lease)
        if action.task.resources.cpu > node.free_cpu:
            return
        node.unparking.popleft()
        unpark(w, lease)
        held, lease.held_outcomes = lease.held_outcomes, []
        for key in held:
            send_outcome(w, action, lease, key)


def _use_warm_slots(w: World, pool: Pool) -> None:
    """Lease queued actions to nodes with ready workers of the pool, to the emptiest first."""
    if not len(pool.queue):
        return
    free = []
    for name in {worker.node for worker in pool.workers.values()}:
        node = w.nodes[name]
        if node.state is NodeState.READY and node.session is not None:
            spare = pool.credits(name) - pool.in_use.get(name, 0)
            if spare > 0:
                free.append((-spare, name))
    heapq.heapify(free)
    while free and pool.queue.head() is not None:
        spare, name = heapq.heappop(free)
        if not _has_cpu_for_one_more(pool, w.nodes[name]):
            continue
        _grant(w, w.actions[pool.queue.pop()], w.nodes[name], pool)
        if spare + 1 < 0:
            heapq.heappush(free, (spare + 1, name))


def _has_cpu_for_one_more(pool: Pool, node: Node) -> bool:
    """Whether one more lease of the pool may run on the node; parents that wait for processor time come first."""
    if node.unparking:
        return False
    in_use = pool.in_use.get(node.name, 0)
    more = pool.busy_workers(node.name, in_use + 1) - pool.cpu_shares.get(node.name, 0)
    return more <= 0 or more * pool.task.resources.cpu <= node.free_cpu


def _recall_stranded(w: World, pool: Pool) -> None:
    """Take leases back that no worker has begun, from nodes that have no worker of the pool any more."""
    for name, in_use in pool.in_use.items():
        if not in_use or any(worker.node == name for worker in pool.workers.values()):
            continue
        for lease_id in sorted(w.nodes[name].leases):
            lease = w.leases[lease_id]
            if lease.pool_key != pool.policy.key or lease.started_at or lease.killing is not None:
                continue
            if w.action_of(lease).state is State.ASSIGNED:
                kill(w, lease, FailureKind.PREEMPTED, "its host has no worker of the environment any more")


def _grant(w: World, action: Action, node: Node, pool: Pool | None) -> None:
    """Lease an action to a node."""
    lease = Lease(
        id=w.next_lease_id,
        action_id=action.id,
        node=node.name,
        number=action.attempts,
        user_attempt=action.user_failures,
        granted_at=w.now,
    )
    w.next_lease_id += 1
    if pool is not None:
        lease.pool_key = pool.policy.key
        pool.leases += 1
        w.change_in_use(pool, node.name, 1)
    else:
        lease.worker_id = w.next_worker_id
        w.next_worker_id += 1
        lease.gpu_uuids = node.book(action.task.resources)
    w.leases[lease.id] = lease
    node.leases.add(lease.id)
    action.lease_id = lease.id
    action.attempts += 1
    w.emit(
        fx.LeaseGranted(
            lease.id,
            action.id,
            lease.number,
            lease.user_attempt,
            node.name,
            lease.pool_key,
            lease.worker_id,
            lease.gpu_uuids,
            w.now,
        )
    )
    move(w, action, Trigger.PLACED)
    send_assignment(w, lease)


def _place(w: World) -> None:
    """Start workers for queued actions, in the order of their ranks over all queues and pools."""
    candidates: list[tuple[Rank, int, Queue, Pool | None]] = []
    order = 0
    for cold_queue in w.queues.values():
        order += _consider(w, candidates, cold_queue, None, order)
    for warm in w.pools.values():
        if len(warm.queue):
            order += _consider(w, candidates, warm.queue, warm, order)
    blocked: list[tuple[Rank, Queue, Pool | None]] = []
    while candidates:
        rank, number, queue, pool = heapq.heappop(candidates)
        placed = _place_cold(w, queue) if pool is None else _start_pool_worker(w, pool)
        if placed:
            _consider(w, candidates, queue, pool, number)
        elif placed is None:
            queue.blocked_at = w.capacity_version
            blocked.append((rank, queue, pool))
    for _, queue, pool in blocked:
        if queue.blocked_at == w.capacity_version:
            _handle_blocked(w, queue, pool)
    if blocked:
        _break_stall(w, blocked[0][0])
    if not w.explaining_waits and (
        any(len(queue) for queue in w.queues.values()) or any(len(pool.queue) for pool in w.pools.values())
    ):
        w.explaining_waits = True
        w.timers.set(w.now + SECOND, TimerKind.WAIT_REASON, "")


def _consider(
    w: World,
    candidates: list[tuple[Rank, int, Queue, Pool | None]],
    queue: Queue,
    pool: Pool | None,
    order: int,
) -> int:
    head = queue.head()
    if head is None or queue.blocked_at == w.capacity_version:
        return 0
    heapq.heappush(candidates, (head, order, queue, pool))
    return 1


def _place_cold(w: World, queue: Queue) -> bool | None:
    """Place the head of a queue. True when it was, None when nothing fits now."""
    head = queue.head()
    if head is None:
        return None
    action = w.actions[head.action_id]
    node = choose(queue.demand, w.nodes.values(), image=action.task.image)
    if node is None:
        return None
    queue.pop()
    _grant(w, action, node, None)
    return True


def _start_pool_worker(w: World, pool: Pool) -> bool | None:
    """Start one more worker if the pool wants one. False when it has enough, None when nothing fits now."""
    if w.now < pool.retry_at or pool.active_workers >= pool.wanted_workers():
        return False
    warm = frozenset(worker.node for worker in pool.workers.values())
    node = choose(pool.queue.demand, _nodes_for_another(w, pool), warm, pool.task.image)
    if node is None:
        return None if not pool.active_workers else False
    worker = Worker(
        id=w.next_worker_id,
        node=node.name,
        pool_key=pool.policy.key,
        spec_digest=pool.task.digest,
        gpu_uuids=node.book(pool.held_by_worker),
        started_at=w.now,
    )
    w.next_worker_id += 1
    w.workers[worker.id] = worker
    pool.workers[worker.id] = worker
    node.workers.add(worker.id)
    w.emit_worker(worker)
    send_worker_start(w, worker)
    return True


def _nodes_for_another(w: World, pool: Pool) -> list[Node]:
    """Nodes that have processor time for one more worker of the pool when all of them are busy."""
    cpu = pool.task.resources.cpu
    there = Counter(worker.node for worker in pool.workers.values())
    return [node for node in w.nodes.values() if (there[node.name] + 1) * cpu <= node.inventory.cpu]


def _handle_blocked(w: World, queue: Queue, pool: Pool | None) -> None:
    """A queue whose head fits nowhere now: fail what can never fit, make room, or say why it waits."""
    while (head := queue.head()) is not None:
        refusal = _never_fits(w, w.actions[head.action_id], queue.demand)
        if refusal is None:
            break
        action = w.actions[queue.pop()]
        failure = Failure(FailureKind.SYSTEM, "InsufficientCapacity", refusal, non_recoverable=True)
        finish(w, action, Trigger.FAILED, failure=failure)
    if queue.head() is None:
        return
    _stop_idle_workers(w, queue.demand)
    if w.now - queue.told_at >= SECOND:
        tell_wait_reason(w, queue, pool)


def tell_wait_reason(w: World, queue: Queue, pool: Pool | None) -> None:
    """Show on the first actions of a queue why they wait."""
    queue.told_at = w.now
    demand = queue.demand
    reason = explain_wait(demand, w.nodes.values())
    if pool is not None:
        slots = sum(pool.ready_on(name) for name in pool.in_use) * pool.policy.concurrency
        if slots > pool.busy:
            processors = demand.resources._replace(memory=0, disk=0, gpu_count=0)
            reason = explain_wait(demand._replace(resources=processors), w.nodes.values())
        elif slots:
            reason = f"all {slots} slots of its workers are busy"
        elif pool.active_workers:
            reason = "its first worker is starting"
        reason = f"environment {pool.environment}: {reason}"
    for action_id in queue.first(EXPLAINED):
        action = w.actions[action_id]
        if action.wait_reason != reason:
            action.wait_reason = reason
            emit_moved(w, action, Phase.WAITING_FOR_RESOURCES, detail=reason)


def _never_fits(w: World, action: Action, demand: Demand) -> str | None:
    """Why no host could ever take the action, None when one could (or none is known yet)."""
    nodes = [node for node in w.nodes.values() if node.state is not NodeState.LOST or node.is_missed]
    if not nodes:
        return None
    wanted, placement = demand
    admitting = [node for node in nodes if node.admits(placement)]
    if not admitting:
        return f"{action.task.name} {explain_refusal(placement, nodes)}."
    suiting = [node for node in admitting if not wanted.container or node.inventory.runs_containers]
    if not suiting:
        return (
            f"{action.task.name} is a container, which only a host with the Docker engine can run; the hosts are "
            f"{describe_engines(admitting)}. Join one: `hangar serve executor` with HANGAR_EXECUTOR_ENGINE=docker."
        )
    nodes = [node for node in suiting if node.inventory.suits(wanted)]
    if not nodes:
        return (
            f"the image of {action.task.name} is for {describe_platforms(wanted)}, and no host is; the hosts are "
            f"{describe_hosts(suiting)}. Add the platform of one of them to the image (platform=), leave platform "
            "out, or join such a host."
        )
    if not any(node.could_ever_fit(wanted, Resources(0, 0), ()) for node in nodes):
        return (
            f"{action.task.name} asks for {describe(wanted)}, which no host can ever give; "
            f"the largest is {describe_largest(nodes)}. Ask for less, or add a larger host."
        )
    chain = _held_by_ancestors(w, action)
    if any(node.could_ever_fit(wanted, *chain.get(node.name, (Resources(0, 0), ()))) for node in nodes):
        return None
    return (
        f"{action.task.name} asks for {describe(wanted)}, but the tasks that wait for it hold so much memory or "
        f"so many GPUs while they wait that no host can ever take it; the largest is {describe_largest(nodes)}. "
        "Give the calling tasks less memory or no GPU, or add a host."
    )


def _held_by_ancestors(w: World, action: Action) -> dict[str, tuple[Resources, tuple[str, ...]]]:
    """Per node, what the chain of waiting ancestors holds even when parked."""
    held: dict[str, tuple[Resources, tuple[str, ...]]] = {}
    seen_pools: set[str] = set()
    parent_id = action.parent_id
    while parent_id is not None:
        parent = w.actions[parent_id]
        parent_id = parent.parent_id
        lease = w.lease_of(parent)
        if lease is None or (lease.pool_key and lease.pool_key in seen_pools):
            continue
        seen_pools.add(lease.pool_key)
        base, gpus = held.get(lease.node, (Resources(0, 0), ()))
        mine = parent.task.resources
        lease_gpus = lease.gpu_uuids
        if lease.pool_key and lease.worker_id in w.workers:
            lease_gpus = w.workers[lease.worker_id].gpu_uuids
        held[lease.node] = (
            Resources(0, base.memory + mine.memory, base.disk + mine.disk),
            gpus + lease_gpus,
        )
    return held


def _stop_idle_workers(w: World, demand: Demand) -> None:
    """Make room: stop workers of idle pools on a node where that lets what is wanted fit, the longest idle first."""
    wanted = demand.resources
    for node in w.ready_nodes():
        if not node.admits(demand.placement):
            continue
        idle = [
            worker
            for worker_id in node.workers
            if (worker := w.workers[worker_id]).state is WorkerState.READY
            and w.pools[worker.pool_key].is_idle
        ]
        idle.sort(key=lambda worker: (w.pools[worker.pool_key].idle_since, worker.id))
        leaving = [w.workers[i] for i in node.workers if w.workers[i].state is WorkerState.STOPPING]
        if _fits_without(w, node, wanted, leaving):
            return
        for count in range(1, len(idle) + 1):
            if _fits_without(w, node, wanted, leaving + idle[:count]):
                for worker in idle[:count]:
                    stop_worker(w, worker, "makes room for other work")
                return


def _fits_without(w: World, node: Node, wanted: Resources, workers: list[Worker]) -> bool:
    """Whether `wanted` would fit if `workers` of the node were gone."""
    if not workers:
        return False
    for worker in workers:
        node.release(w.pools[worker.pool_key].held_by_worker, worker.gpu_uuids)
    fits = node.fits(wanted)
    for worker in workers:
        node.book(w.pools[worker.pool_key].held_by_worker, worker.gpu_uuids)
    return fits


def stop_worker(w: World, worker: Worker, reason: str) -> None:
    """End a pool worker once what runs in it has ended; its resources come back when it has exited."""
    worker.state = WorkerState.STOPPING
    w.emit_worker(worker)
    w.book_pool_cpu(w.pools[worker.pool_key], worker.node)
    if w.is_reachable(worker.node):
        w.emit(fx.StopWorker(worker.node, worker.id, reason))


def _break_stall(w: World, waiting: Rank) -> None:
    """When everything waits for children that cannot be placed, take one parent's place away; it is replayed later.

    The youngest parked lease that is not an ancestor of the waiting action goes; `_never_fits` has made sure that the
    ancestors alone do not stand in its way.
    """
    for lease in w.leases.values():
        if not lease.parked or lease.held_outcomes or lease.killing is not None:
            return
    if any(worker.state is not WorkerState.READY for worker in w.workers.values()):
        return
    if not w.leases or waiting.action_id not in w.actions:
        return
    ancestors = set()
    parent_id = w.actions[waiting.action_id].parent_id
    while parent_id is not None:
        ancestors.add(parent_id)
        parent_id = w.actions[parent_id].parent_id
    evictable = [
        lease
        for lease in w.leases.values()
        if lease.action_id not in ancestors and not lease.pool_key and w.is_reachable(lease.node)
    ]
    if evictable:
        victim = max(evictable, key=lambda lease: lease.id)
        kill(w, victim, FailureKind.PREEMPTED, "makes room for the children of other actions")


def kill(w: World, lease: Lease, kind: FailureKind, reason: str) -> None:
    """Ask the executor to stop a lease for the scheduler's own reasons."""
    lease.killing = kind
    lease.kill_reason = reason
    if w.is_reachable(lease.node):
        w.emit(fx.Kill(lease.node, lease.id, reason, kind))


def _watch_idleness(w: World, pool: Pool) -> None:
    """Arm the timers that shrink a pool, and drop a pool that has nothing."""
    if not pool.is_idle:
        pool.idle_since = 0
    elif not pool.workers:
        del w.pools[pool.policy.key]
        return
    elif not pool.idle_since:
        pool.idle_since = w.now
        w.timers.set(w.now + pool.policy.idle_ttl, TimerKind.POOL_IDLE, pool.policy.key, w.now)
    if _has_spare(pool):
        if not pool.spare_since:
            pool.spare_since = w.now
            w.timers.set(w.now + pool.policy.scaledown_ttl, TimerKind.POOL_SPARE, pool.policy.key, w.now)
    else:
        pool.spare_since = 0


def shrink_idle(w: World, key: str, since: int) -> None:
    """Timer: a pool without any work for its time to live ends."""
    pool = w.pools.get(key)
    if pool is not None and pool.idle_since == since and pool.is_idle:
        for worker in list(pool.workers.values()):
            if worker.state in (WorkerState.STARTING, WorkerState.READY):
                stop_worker(w, worker, "its environment had no work for the idle time to live")


def shrink_spare(w: World, key: str, since: int) -> None:
    """Timer: a pool that had a worker more than it needs for its scale-down time loses one."""
    pool = w.pools.get(key)
    if pool is None or pool.spare_since != since:
        return
    pool.spare_since = 0
    # A worker with a waiting parent in it stays: the parent's next children would have to find room beside it.
    used = {lease.worker_id for lease in w.leases.values() if lease.pool_key == key}
    spare = [
        worker
        for worker in pool.workers.values()
        if worker.state is WorkerState.READY and worker.id not in used
    ]
    if spare and _has_spare(pool):
        stop_worker(w, max(spare, key=lambda worker: worker.id), "not needed for the scale-down time to live")
    w.stale_pools.add(key)


def _has_spare(pool: Pool) -> bool:
    """Whether the pool has more workers than it needs; with parked leases in it, it needs at least one."""
    needed = max(pool.policy.min_replicas, pool.wanted_workers(), 1 if pool.leases else 0)
    return pool.active_workers > needed


def pool_start_failed(w: World, pool: Pool, failure: Failure | None) -> None:
    """A worker ended before it was ready: back off, and after several in a row fail what waits.

    What waits goes on waiting while another worker of the pool works.
    """
    pool.start_failures += 1
    cause = failure or Failure(
        FailureKind.SYSTEM, "WorkerStartFailed", "The worker ended before it was ready."
    )
    permanent = cause.kind is FailureKind.IMAGE or cause.non_recoverable
    works = any(worker.state is WorkerState.READY for worker in pool.workers.values())
    if works or (not permanent and pool.start_failures < START_FAILURES):
        pool.retry_at = w.now + (SECOND << min(pool.start_failures - 1, 5))
        w.timers.set(pool.retry_at, TimerKind.POOL_BACKOFF, pool.policy.key)
        return
    pool.start_failures = 0
    while pool.queue.head() is not None:
        finish(w, w.actions[pool.queue.pop()], Trigger.FAILED, failure=cause)


def explain_waits(w: World) -> None:
    """Timer: keep the reasons of what waits up to date."""
    w.explaining_waits = False
    for queue in w.queues.values():
        if len(queue):
            tell_wait_reason(w, queue, None)
    for pool in w.pools.values():
        if len(pool.queue):
            tell_wait_reason(w, pool.queue, pool)

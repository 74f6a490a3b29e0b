"""What must hold after every step. Tests call `validate` after each one; nothing else does."""

from __future__ import annotations

from .model import LEASED_STATES, Action, Kind, Resources, State
from .nodes import Node
from .world import World


def validate(w: World) -> None:
    """Check every invariant of the core's state.

    Raises:
        AssertionError: one is violated; the message names it and the entity.
    """
    for action in w.actions.values():
        _validate_action(w, action)
    for lease in w.leases.values():
        action = w.actions[lease.action_id]
        _hold(action.lease_id == lease.id, f"lease {lease.id} is the current one of its action")
        _hold(lease.id in w.nodes[lease.node].leases, f"lease {lease.id} is on its node")
        _hold(
            not (lease.parked and action.state is State.ASSIGNED),
            f"lease {lease.id} is parked before it started",
        )
        _hold(
            bool(not lease.held_outcomes or lease.parked),
            f"lease {lease.id} holds outcomes only while parked",
        )
    _validate_traces(w)
    _validate_reservations(w)
    for run in w.runs.values():
        _hold(run.root_id in w.actions, f"run {run.name} has its root action")
        _hold(w.run_ids[run.project, run.domain, run.name] == run.id, f"run {run.name} is found by its name")
    for pool in w.pools.values():
        for node, count in pool.in_use.items():
            held = [i for i in w.nodes[node].leases if w.leases[i].pool_key == pool.policy.key]
            _hold(
                count == sum(1 for i in held if not w.leases[i].parked),
                f"pool slots in use on {node} are counted",
            )
        counted = sum(1 for lease in w.leases.values() if lease.pool_key == pool.policy.key)
        _hold(pool.leases == counted, f"leases of pool {pool.policy.key} are counted")
        _hold(pool.active_workers <= pool.policy.max_replicas, f"pool {pool.policy.key} keeps its maximum")
    for node_ in w.nodes.values():
        _validate_booking(w, node_)


def _validate_action(w: World, action: Action) -> None:
    name = f"action {action.id} ({action.state.value})"
    leased = action.state in LEASED_STATES
    _hold(leased <= (action.kind is Kind.TASK), f"{name} is leased only when it is a task")
    paused = action.kind in (Kind.CONDITION, Kind.SLEEP)
    _hold(
        not action.is_live or paused == (action.state is State.PAUSED),
        f"{name} is paused exactly by its kind",
    )
    _hold(leased == (action.lease_id is not None), f"{name} has a lease exactly when leased")
    if action.lease_id is not None:
        _hold(action.lease_id in w.leases, f"{name} names a lease that exists")
    _hold(action.is_live or action.live_children > 0, f"{name} is kept only while something below it lives")
    open_children = sum(1 for child in w.actions.values() if child.parent_id == action.id)
    _hold(action.live_children == open_children, f"{name} counts its open children")
    if action.parent_id is not None:
        _hold(action.parent_id in w.actions, f"{name} has its parent")
        parent = w.actions[action.parent_id]
        newest = parent.children.get(action.key)
        superseded = newest is not None and newest.incarnation > action.incarnation
        superseded = superseded and (not action.is_live or action.withdrawn_by > 0)
        _hold(newest is action or superseded, f"{name} is a child of its parent")
        dead = {State.FAILED, State.ABORTED, State.TIMED_OUT}
        if parent.state in dead:
            _hold(
                action.state in (State.ABORTING, *dead, State.SUCCEEDED),
                f"{name} lives on below an ended parent",
            )
    deadline = action.created_at + action.task.deadline
    fired = w.timers.next_due is None or w.timers.next_due > w.now  # not yet after a restart
    if action.task.deadline and action.is_live and w.now >= deadline and fired:
        lease = w.lease_of(action)
        stopping = action.state is State.ABORTING or (lease is not None and lease.killing is not None)
        _hold(stopping, f"{name} is stopped once its deadline has passed")
    queued = action.state is State.QUEUED
    pool = w.pools.get(w.pool_key_of(action))
    queue = pool.queue if pool else w.queue_of(action)
    in_queue = queue is not None and action.id in set(queue.first(len(queue)))
    _hold(queued == in_queue, f"{name} is in its queue exactly when queued")


def _validate_traces(w: World) -> None:
    running = 0
    for lease in w.leases.values():
        for key in lease.traces:
            trace = w.actions[lease.action_id].children[key]
            lives = isinstance(trace, Action) and trace.state is State.IN_PARENT
            _hold(lives, f"trace {key} of lease {lease.id} has not ended")
            running += 1
    states = sum(1 for action in w.actions.values() if action.state is State.IN_PARENT)
    _hold(running == states, "every trace that has not ended runs in a lease of its parent")


def _validate_reservations(w: World) -> None:
    waiting = [number for reservation in w.reservations.values() for number in reservation.waiting]
    _hold(len(waiting) == len(set(waiting)), "who waits for the cache waits for one action")
    states = {number for number, action in w.actions.items() if action.state is State.WAITING_FOR_CACHE}
    _hold(set(waiting) == states, "who waits for the cache waits for an action that computes")
    for key, reservation in w.reservations.items():
        owner = w.actions.get(reservation.owner)
        _hold(owner is not None and owner.is_live, f"whoever computes {key} lives")
        _hold(reservation.owner not in waiting, f"whoever computes {key} does not wait")


def _validate_booking(w: World, node: Node) -> None:
    cpu, memory, disk = node.inventory.cpu, node.inventory.memory, node.inventory.disk
    booked: set[str] = set()
    held: list[tuple[Resources, tuple[str, ...]]] = []
    for lease_id in node.leases:
        lease = w.leases[lease_id]
        if not lease.pool_key:
            wanted = w.actions[lease.action_id].task.resources
            held.append((wanted._replace(cpu=0) if lease.parked else wanted, lease.gpu_uuids))
    held.extend((w.pools[w.workers[i].pool_key].held_by_worker, w.workers[i].gpu_uuids) for i in node.workers)
    for pool in w.pools.values():
        shares, ready = pool.cpu_shares.get(node.name, 0), pool.ready_on(node.name)
        works = bool(ready and pool.in_use.get(node.name))
        _hold(bool(shares) == works, f"processor time is booked on {node.name} while workers are busy")
        _hold(shares <= ready, f"processor time on {node.name} is booked for ready workers only")
        cpu -= shares * pool.task.resources.cpu
    for wanted, gpus in held:
        cpu, memory, disk = cpu - wanted.cpu, memory - wanted.memory, disk - wanted.disk
        _hold(not booked & set(gpus), f"no GPU of {node.name} is booked twice")
        booked |= set(gpus)
    _hold(
        (node.free_cpu, node.free_memory, node.free_disk) == (cpu, memory, disk),
        f"what is free on {node.name} adds up",
    )
    _hold(not booked & set(node.free_gpus), f"no booked GPU of {node.name} is free")


def _hold(condition: bool, claim: str) -> None:
    if not condition:
        raise AssertionError(f"violated: {claim}")

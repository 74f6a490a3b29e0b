"""Nodes: sessions, what they hold against what the ledger says, silence, loss."""

from __future__ import annotations

from . import effects as fx
from .events import HeldLease, NodeConnected
from .lifecycle import end_attempt, park, start, unpark
from .model import SECOND, Failure, FailureKind, Lease, NodeState, State, Worker, WorkerState
from .nodes import Node
from .timers import TimerKind
from .world import World

SILENCE = 10 * SECOND  # without a frame for so long a node is suspect although its stream is open
WARM_TTL = 10 * SECOND  # leases in pools are given up so long after their node became suspect
COLD_TTL = 60 * SECOND  # leases with a worker of their own, and the node itself
LOST_GRACE = 600 * SECOND  # a host that restarts comes back: so long nothing fails because it is away


def connect(w: World, event: NodeConnected) -> None:
    """Open a session and settle what the host holds: keep, drop, send again or give up."""
    node = w.nodes.get(event.node)
    if node is None:
        node = w.nodes[event.node] = Node(event.node, event.boot_id, event.inventory, NodeState.READY)
    rebooted = node.boot_id != event.boot_id
    node.boot_id, node.inventory, node.labels = event.boot_id, event.inventory, dict(event.labels)
    node.state, node.session, node.suspect_since = NodeState.READY, event.session, 0
    node.is_missed = True
    node.last_seen = w.now
    node.unparking.clear()
    w.timers.set(w.now + SILENCE, TimerKind.NODE_SILENCE, node.name, event.session)
    w.emit_node(node)
    welcome = fx.Welcome(node.name, event.session, [], [])
    w.emit(welcome)
    held = {lease.lease_id: lease for lease in event.leases}
    _settle_workers(w, node, event, welcome)
    welcome.dropped_leases.extend(sorted(set(held) - node.leases))
    for lease_id in sorted(node.leases):
        _settle_lease(w, w.leases[lease_id], held.get(lease_id), rebooted=rebooted)
    rebook(w, node)
    w.capacity_changed()


def _settle_workers(w: World, node: Node, event: NodeConnected, welcome: fx.Welcome) -> None:
    listed = {worker.worker_id: worker for worker in event.workers}
    own = {w.leases[lease_id].worker_id for lease_id in node.leases if not w.leases[lease_id].pool_key}
    welcome.dropped_workers.extend(sorted(set(listed) - node.workers - own))
    for worker_id in sorted(node.workers):
        worker = w.workers[worker_id]
        seen = listed.get(worker_id)
        if seen is not None and seen.state is not WorkerState.EXITED:
            if worker.state is WorkerState.STOPPING:
                w.emit(fx.StopWorker(node.name, worker.id, "no longer needed"))
            elif worker.state is not seen.state:
                worker.state = seen.state
                w.emit_worker(worker)
        elif worker.state is WorkerState.STARTING and seen is None:
            send_worker_start(w, worker)
        else:
            remove_worker(w, worker)
        w.stale_pools.add(worker.pool_key)


def _settle_lease(w: World, lease: Lease, held: HeldLease | None, *, rebooted: bool) -> None:
    action = w.action_of(lease)
    if held is None and (lease.started_at or rebooted):
        lose_lease(w, lease, "its host no longer has it" if not rebooted else "its host was restarted")
        return
    if action.state is State.ABORTING:
        w.emit(fx.Kill(lease.node, lease.id, action.abort_reason, None))
        return
    if lease.killing is not None:
        w.emit(fx.Kill(lease.node, lease.id, lease.kill_reason, lease.killing))
    if held is None:
        if (
            lease.killing is None
        ):  # else the host answers that it is not there, and it must not come behind that
            send_assignment(w, lease)
        return
    lease.awaiting.clear()  # what it still waits for is asked for again in this session
    lease.held_outcomes.clear()
    if (held.started or held.parked) and not lease.started_at:  # only what runs can park
        start(w, lease, held.worker_id, w.now)
    if lease.parked != held.parked:
        (park if held.parked else unpark)(w, lease)  # processor time is counted anew afterwards


def rebook(w: World, node: Node) -> None:
    """Count what is free on a node from what is on it."""
    node.reset()
    for lease_id in node.leases:
        lease = w.leases[lease_id]
        if not lease.pool_key:
            wanted = w.action_of(lease).task.resources
            node.book(wanted._replace(cpu=0) if lease.parked else wanted, lease.gpu_uuids)
    for worker_id in node.workers:
        worker = w.workers[worker_id]
        node.book(w.pools[worker.pool_key].held_by_worker, worker.gpu_uuids)
    for pool in w.pools.values():
        pool.cpu_shares.pop(node.name, None)
        pool.book_cpu(node)


def send_assignment(w: World, lease: Lease) -> None:
    """Send a lease to its node."""
    w.emit(
        fx.Assign(
            lease.node,
            lease.id,
            lease.action_id,
            lease.number,
            lease.user_attempt,
            lease.pool_key,
            0 if lease.pool_key else lease.worker_id,
            lease.gpu_uuids,
            replays=lease.number > 0,
        )
    )


def send_worker_start(w: World, worker: Worker) -> None:
    """Ask the node of a pool worker to start it."""
    concurrency = w.pools[worker.pool_key].policy.concurrency
    w.emit(
        fx.StartWorker(
            worker.node, worker.id, worker.pool_key, worker.spec_digest, worker.gpu_uuids, concurrency
        )
    )


def remove_worker(w: World, worker: Worker) -> None:
    """A pool worker is gone: free what it held."""
    del w.workers[worker.id]
    pool = w.pools[worker.pool_key]
    pool.workers.pop(worker.id, None)
    node = w.nodes[worker.node]
    node.workers.discard(worker.id)
    node.release(pool.held_by_worker, worker.gpu_uuids)
    w.book_pool_cpu(pool, node.name)
    worker.state = WorkerState.EXITED
    w.emit_worker(worker)
    w.stale_pools.add(worker.pool_key)
    w.capacity_changed()


def suspect(w: World, node: Node) -> None:
    """The node's stream broke or went silent: no new work; its leases have their time to live."""
    if node.state is NodeState.SUSPECT:
        return
    node.state = NodeState.SUSPECT
    node.suspect_since = w.now
    w.emit_node(node)
    for ttl in (WARM_TTL, COLD_TTL):
        w.timers.set(w.now + ttl, TimerKind.NODE_TTL, node.name, w.now)


def disconnect(w: World, name: str, session: int) -> None:
    """A session ended. An older one than the node's current one changes nothing."""
    node = w.nodes.get(name)
    if node is None or node.session != session:
        return
    node.session = None
    suspect(w, node)


def heard_from(w: World, name: str, session: int) -> None:
    """A frame came: the node is alive."""
    node = w.nodes.get(name)
    if node is None or node.session != session:
        return
    node.last_seen = w.now
    if node.state is NodeState.SUSPECT:
        node.state, node.suspect_since = NodeState.READY, 0
        w.emit_node(node)
        w.capacity_changed()


def check_silence(w: World, name: str, session: int) -> None:
    """Timer: is a node with an open stream still talking?"""
    node = w.nodes.get(name)
    if node is None or node.session != session:
        return
    if w.now - node.last_seen >= SILENCE:
        suspect(w, node)
        w.timers.set(w.now + SILENCE, TimerKind.NODE_SILENCE, name, session)
    else:
        w.timers.set(node.last_seen + SILENCE, TimerKind.NODE_SILENCE, name, session)


def check_ttl(w: World, name: str, suspect_since: int) -> None:
    """Timer: give up the leases of a node that stayed suspect for their time to live, and in the end the node."""
    node = w.nodes.get(name)
    if node is None or node.state is not NodeState.SUSPECT or node.suspect_since != suspect_since:
        return
    age = w.now - suspect_since
    for lease_id in sorted(node.leases):
        lease = w.leases[lease_id]
        if age >= (WARM_TTL if lease.pool_key else COLD_TTL):
            _close_session(w, node)
            lose_lease(w, lease, f"its host {name} has not been heard from for {age // SECOND} s")
    if age >= COLD_TTL:
        _close_session(w, node)
        node.state = NodeState.LOST
        w.timers.set(w.now + LOST_GRACE, TimerKind.NODE_GRACE, node.name, suspect_since)
        for worker_id in sorted(node.workers):
            remove_worker(w, w.workers[worker_id])
        w.emit_node(node)


def check_grace(w: World, name: str, suspect_since: int) -> None:
    """Timer: what only a lost host could take is given up when the host stays away."""
    node = w.nodes.get(name)
    if node is not None and node.state is NodeState.LOST and node.suspect_since == suspect_since:
        node.is_missed = False
        w.capacity_changed()


def _close_session(w: World, node: Node) -> None:
    """What the host holds is no longer what is known of it: a Hello has to settle that."""
    if node.session is not None:
        w.emit(fx.CloseSession(node.name, node.session))
        node.session = None


def lose_lease(w: World, lease: Lease, why: str) -> None:
    """An attempt is lost with its host or worker."""
    end_attempt(w, lease, Failure(FailureKind.LOST, "Lost", f"The attempt was lost: {why}."))

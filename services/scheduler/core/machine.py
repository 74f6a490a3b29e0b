"""The scheduler as one object: `step(events, now) -> effects`, and its restoration from the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from . import cache, dispatch, reconcile, steps
from . import effects as fx
from . import events as ev
from .lifecycle import (
    abort,
    admit,
    create_action,
    deadline_failure,
    deliver,
    end_attempt,
    finish,
    is_overdue,
    move,
    park,
    start,
)
from .model import (
    SECOND,
    Action,
    Child,
    Failure,
    FailureKind,
    Kind,
    Lease,
    NodeState,
    Run,
    Snapshot,
    State,
    WorkerState,
)
from .nodes import Node
from .timers import Timer, TimerKind
from .transitions import Trigger
from .world import World

ROOT_NAME = "a0"
_UNPLACED = frozenset({State.QUEUED, State.BACKOFF, State.WAITING_FOR_CACHE})


class Scheduler:
    """The pure core. Not thread-safe; one shell drives it.

    Every call takes the time as an integer of microseconds since the epoch, which must not go backwards.
    """

    def __init__(self) -> None:
        self.world = World()

    def step(self, events: Iterable[ev.Event], now: int) -> list[fx.Effect]:
        """Fire the timers that are due, handle `events` in order, then place what can be placed.

        Returns:
            The effects in order: those that derive from `Persist` belong into one transaction; the others may leave
            once it is committed.
        """
        w = self.world
        w.now = max(w.now, now)
        while (timer := w.timers.pop_due(w.now)) is not None:
            _fire(w, timer)
        for event in events:
            _HANDLERS[type(event)](w, event)
        dispatch.schedule(w)
        w.timers.prune(partial(_is_wanted, w))
        out, w.out = w.out, []
        return out

    def handle(self, event: ev.Event, now: int) -> list[fx.Effect]:
        """`step` with one event."""
        return self.step((event,), now)

    def next_deadline(self) -> int | None:
        """When `step` has to be called at the latest, None when nothing is timed."""
        return self.world.timers.next_due

    def restore(self, snapshot: Snapshot, now: int) -> None:
        """Take over the live state of the ledger after a start.

        Nodes are suspect from now on: executors have their leases' time to live to say Hello, nothing is lost before.
        """
        w = self.world
        w.now = now
        w.next_run_id = snapshot.next_run_id
        w.next_action_id = snapshot.next_action_id
        w.next_lease_id = snapshot.next_lease_id
        w.next_worker_id = snapshot.next_worker_id
        for run in snapshot.runs:
            w.runs[run.id] = run
            w.run_ids[run.project, run.domain, run.name] = run.id
        _restore_actions(w, snapshot)
        for record in snapshot.nodes:
            node = Node(record.name, record.boot_id, record.inventory, record.state, dict(record.labels))
            w.nodes[node.name] = node
            if record.state is NodeState.LOST:
                node.suspect_since = now
                w.timers.set(now + reconcile.LOST_GRACE, TimerKind.NODE_GRACE, node.name, now)
            else:
                node.state = NodeState.READY
                reconcile.suspect(w, node)
        _restore_workers(w, snapshot)
        for lease in snapshot.leases:
            _restore_lease(w, lease)
        cache.restore(w)
        for action in list(w.actions.values()):
            _restore_timers(w, action)
        for node in w.nodes.values():
            reconcile.rebook(w, node)
        w.stale_pools.update(w.pools)


def _restore_actions(w: World, snapshot: Snapshot) -> None:
    for action in snapshot.actions:
        w.actions[action.id] = action
    for parent_id, key, child in snapshot.ended_children:
        w.actions[parent_id].children[key] = child
    for action in snapshot.actions:
        if action.parent_id is not None:
            parent = w.actions[action.parent_id]
            recorded = parent.children.get(action.key)
            if recorded is None or recorded.incarnation < action.incarnation:
                parent.children[action.key] = action
            parent.live_children += 1


def _restore_workers(w: World, snapshot: Snapshot) -> None:
    for worker in snapshot.workers:
        task = snapshot.pool_tasks[worker.spec_digest]
        pool = w.pool_of(worker.pool_key, task)
        pool.workers[worker.id] = worker
        w.workers[worker.id] = worker
        w.nodes[worker.node].workers.add(worker.id)


def _restore_lease(w: World, lease: Lease) -> None:
    action = w.actions[lease.action_id]
    w.leases[lease.id] = lease
    w.nodes[lease.node].leases.add(lease.id)
    action.lease_id = lease.id
    if lease.pool_key:
        pool = w.pool_of(lease.pool_key, action.task)
        pool.leases += 1
        pool.in_use[lease.node] = pool.in_use.get(lease.node, 0) + 1


def _restore_timers(w: World, action: Action) -> None:
    if action.state is State.PARKED:
        action.state = State.RUNNING
    if action.state is State.QUEUED:
        w.enqueue(action)
    elif action.state is State.BACKOFF:
        w.timers.set(action.ready_at, TimerKind.BACKOFF, action.id, action.attempts)
    if action.state in _UNPLACED and action.task.max_queued:
        since = max(action.created_at, action.ready_at)
        w.timers.set(since + action.task.max_queued, TimerKind.QUEUE_LIMIT, action.id, action.attempts)
    steps.restore(w, action)
    if action.is_live and action.kind is Kind.TASK and action.task.deadline:
        w.timers.set(action.created_at + action.task.deadline, TimerKind.DEADLINE, action.id)
    lease = w.lease_of(action)
    if lease is not None and lease.started_at and action.task.max_runtime:
        w.timers.set(lease.started_at + action.task.max_runtime, TimerKind.RUN_LIMIT, lease.id)


def _create_run(w: World, event: ev.CreateRun) -> None:
    key = (event.project, event.domain, event.name)
    live = w.run_ids.get(key)
    known = w.runs[live].request_digest if live is not None else w.ended_runs.get(key)
    if known is not None:
        if known == event.request_digest:
            w.emit(fx.Reply(event.token, value=False))
        else:
            message = f"run {event.name!r} exists in {event.project}/{event.domain} with another task or other inputs"
            w.emit(fx.Reply(event.token, error=("RUN_ALREADY_EXISTS", f"{message}; choose another name")))
        return
    run = Run(
        w.next_run_id,
        *key,
        event.request_digest,
        root_id=w.next_action_id,
        queue=event.queue,
        interruptible=event.interruptible,
    )
    w.next_run_id += 1
    w.runs[run.id] = run
    w.run_ids[key] = run.id
    w.emit(
        fx.RunCreated(run.id, *key, event.request_digest, run.root_id, event.context, w.now, event.sources)
    )
    create_action(
        w,
        run,
        None,
        name=ROOT_NAME,
        key=ROOT_NAME,
        task=event.task,
        spec=event.spec,
        inputs=event.inputs,
        use=event.cache,
        cached=event.cached,
    )
    w.emit(fx.Reply(event.token, value=True))


def _abort_run(w: World, event: ev.AbortRun) -> None:
    run_id = w.run_ids.get((event.project, event.domain, event.name))
    root = w.actions[w.runs[run_id].root_id] if run_id is not None else None
    accepted = root is not None and root.is_live
    if root is not None and accepted:
        abort(w, root, event.reason)
    w.emit(fx.Reply(event.token, value=accepted))


def _abort_action(w: World, event: ev.AbortAction) -> None:
    action = w.actions.get(event.action_id)
    accepted = action is not None and action.is_live
    if action is not None and accepted and action.kind is Kind.TRACE:
        w.emit(fx.Reply(event.token, error=("IS_TRACE", "it runs inside its task")))
        return
    if action is not None and accepted:
        abort(w, action, event.reason)
    w.emit(fx.Reply(event.token, value=accepted))


def _current_lease(w: World, node: str, lease_id: int) -> Lease | None:
    """The lease, if it is current and on that node: fencing."""
    lease = w.leases.get(lease_id)
    return lease if lease is not None and lease.node == node else None


def _lease_started(w: World, event: ev.LeaseStarted) -> None:
    lease = _current_lease(w, event.node, event.lease_id)
    if lease is not None and not lease.started_at:
        start(w, lease, event.worker_id, event.started_at)
        if not lease.pool_key:
            w.nodes[lease.node].has_started(w.action_of(lease).task.image)


def _child_requested(w: World, event: ev.ChildRequested) -> None:
    lease = _current_lease(w, event.node, event.lease_id)
    if lease is None:
        return
    parent = w.action_of(lease)
    if parent.state is State.ABORTING:
        return
    recorded = parent.children.get(event.key)
    awaits = not event.began_at  # else it has begun already, and nobody waits for an answer
    withdrawn = recorded is not None and recorded.withdrawn_by not in (0, lease.id)
    if isinstance(recorded, Action) and recorded.is_live and not withdrawn:
        if awaits:
            lease.awaiting.add(event.key)
        if recorded.kind is Kind.TRACE:
            deliver(w, parent, event.key)
        elif recorded.round < parent.user_failures:
            recorded.round = parent.user_failures
            w.emit(fx.ActionAdopted(recorded.id, recorded.round))
        return
    if recorded is not None and _stands(lease, parent, recorded):
        if awaits:
            lease.awaiting.add(event.key)
            deliver(w, parent, event.key)
        return
    if awaits:
        lease.awaiting.add(event.key)
    child = _create_child(w, lease, event, recorded)
    if child.kind is Kind.TRACE:
        deliver(w, parent, event.key)


def _stands(lease: Lease, parent: Action, recorded: Action | Child) -> bool:
    """Whether an ended child is not to be run again for this attempt of its parent."""
    if recorded.state is State.SUCCEEDED:
        return True
    if recorded.withdrawn_by not in (0, lease.id):
        return False
    return recorded.round >= (lease.number if recorded.kind is Kind.TRACE else parent.user_failures)


def _create_child(
    w: World, lease: Lease, event: ev.ChildRequested, recorded: Action | Child | None
) -> Action:
    """Create a child; `recorded` is the one that had its key before."""
    parent = w.action_of(lease)
    name, incarnation = event.key, 1
    if recorded is not None:
        incarnation = recorded.incarnation + 1
        name = f"{event.key}-{incarnation}"
    sources = tuple(
        (input_name, parent.children[key].name) for input_name, key in event.sources if key in parent.children
    )
    if event.kind is not Kind.TASK:
        return steps.begin(w, lease, event, name=name, incarnation=incarnation, sources=sources)
    return create_action(
        w,
        w.runs[parent.run_id],
        parent,
        name=name,
        key=event.key,
        task=event.task,
        spec=event.spec,
        inputs=event.inputs,
        group=event.group,
        sources=sources,
        incarnation=incarnation,
        use=event.cache,
        cached=event.cached,
        recovered=event.recovered if incarnation == 1 else 0,
        custom_context=event.custom_context,
    )


def _trace_ended(w: World, event: ev.TraceEnded) -> None:
    request = event.request
    lease = _current_lease(w, request.node, request.lease_id)
    if lease is not None:
        parent = w.action_of(lease)
        trace = parent.children.get(request.key)
        if trace is None or not (trace.state is State.IN_PARENT or _stands(lease, parent, trace)):
            trace = _create_child(w, lease, request, trace)
        if isinstance(trace, Action) and trace.state is State.IN_PARENT:
            steps.end_trace(w, event, trace)
    w.emit(fx.AcknowledgeTrace(request.node, request.lease_id, request.key))


def _child_cancelled(w: World, event: ev.ChildCancelled) -> None:
    lease = _current_lease(w, event.node, event.lease_id)
    if lease is None:
        return
    lease.awaiting.discard(event.key)
    child = w.action_of(lease).children.get(event.key)
    if isinstance(child, Action) and child.is_live:
        child.withdrawn_by = lease.id
        abort(w, child, "cancelled by its parent")


def _lease_parked(w: World, event: ev.LeaseParked) -> None:
    lease = _current_lease(w, event.node, event.lease_id)
    if lease is None or lease.parked or w.action_of(lease).state is not State.RUNNING:
        return
    if (
        event.awaiting == len(lease.awaiting) > 0
    ):  # else an outcome is on its way, and another park will follow
        park(w, lease)


def _lease_ended(w: World, event: ev.LeaseEnded) -> None:
    lease = _current_lease(w, event.node, event.lease_id)
    if lease is not None:
        failure = event.failure
        if event.killed and failure is not None:
            kind = lease.killing or FailureKind.PREEMPTED
            code = "TaskTimeout" if kind is FailureKind.TIMEOUT else "Preempted"
            failure = Failure(kind, code, lease.kill_reason or failure.message, worker=failure.worker)
            if kind is FailureKind.TIMEOUT and is_overdue(w, w.action_of(lease)):
                failure = deadline_failure(w.action_of(lease))
        if lease.pool_key:
            pool = w.pools[lease.pool_key]
            if event.started_at:
                pool.observe(max(event.ended_at - event.started_at, 0))
            if failure is None:
                pool.start_failures = 0
        end_attempt(w, lease, failure, event)
    w.emit(fx.AcknowledgeResult(event.node, event.lease_id))


def _worker_reported(w: World, event: ev.WorkerReported) -> None:
    worker = w.workers.get(event.worker_id)
    if worker is None or worker.node != event.node:
        return
    pool = w.pools[worker.pool_key]
    if event.state is WorkerState.READY and worker.state is WorkerState.STARTING:
        worker.state = WorkerState.READY
        w.emit_worker(worker)
        w.nodes[worker.node].has_started(pool.task.image)
        w.book_pool_cpu(pool, worker.node)
        w.stale_pools.add(worker.pool_key)
    elif event.state is WorkerState.EXITED:
        started = worker.state is not WorkerState.STARTING
        reconcile.remove_worker(w, worker)
        if not started:
            dispatch.pool_start_failed(w, pool, event.failure)


def _tick(w: World, event: ev.Tick) -> None:
    """Timers have fired already."""


_HANDLERS: dict[type, Callable[[World, Any], None]] = {
    ev.CreateRun: _create_run,
    ev.AbortRun: _abort_run,
    ev.AbortAction: _abort_action,
    ev.SignalAction: steps.signal,
    ev.NodeConnected: reconcile.connect,
    ev.NodeDisconnected: lambda w, e: reconcile.disconnect(w, e.node, e.session),
    ev.NodeHeartbeat: lambda w, e: reconcile.heard_from(w, e.node, e.session),
    ev.LeaseStarted: _lease_started,
    ev.ChildRequested: _child_requested,
    ev.TraceEnded: _trace_ended,
    ev.ChildCancelled: _child_cancelled,
    ev.LeaseParked: _lease_parked,
    ev.LeaseEnded: _lease_ended,
    ev.WorkerReported: _worker_reported,
    ev.Tick: _tick,
}


def _fire(w: World, timer: Timer) -> None:
    """Act on a timer, unless what it was set for is past."""
    key, guard = timer.key, timer.guard
    if isinstance(key, int):
        _fire_numbered(w, timer.kind, key, guard)
    elif timer.kind is TimerKind.NODE_SILENCE:
        reconcile.check_silence(w, key, guard)
    elif timer.kind is TimerKind.NODE_TTL:
        reconcile.check_ttl(w, key, guard)
    elif timer.kind is TimerKind.NODE_GRACE:
        reconcile.check_grace(w, key, guard)
    elif timer.kind is TimerKind.POOL_IDLE:
        dispatch.shrink_idle(w, key, guard)
    elif timer.kind is TimerKind.POOL_SPARE:
        dispatch.shrink_spare(w, key, guard)
    elif timer.kind is TimerKind.WAIT_REASON:
        dispatch.explain_waits(w)


def _is_wanted(w: World, timer: Timer) -> bool:
    """Whether what a timer was set for may still come."""
    match timer:
        case Timer(kind=TimerKind.RUN_LIMIT, key=int(key)):
            return key in w.leases
        case Timer(kind=TimerKind.WAKE, key=int(key)):
            return key in w.actions
        case Timer(kind=TimerKind.DEADLINE, key=int(key)):
            return key in w.actions and w.actions[key].is_live
        case Timer(kind=TimerKind.BACKOFF | TimerKind.QUEUE_LIMIT, key=int(key), guard=guard):
            action = w.actions.get(key)
            return action is not None and action.attempts == guard
        case Timer(kind=TimerKind.POOL_IDLE, key=str(key), guard=guard):
            return key in w.pools and w.pools[key].idle_since == guard
        case Timer(kind=TimerKind.POOL_SPARE, key=str(key), guard=guard):
            return key in w.pools and w.pools[key].spare_since == guard
    return True


def _fire_numbered(w: World, kind: TimerKind, key: int, guard: int) -> None:
    if kind is TimerKind.RUN_LIMIT:
        lease = w.leases.get(key)
        if lease is not None and lease.killing is None and w.action_of(lease).state is not State.ABORTING:
            limit = w.action_of(lease).task.max_runtime / SECOND
            dispatch.kill(
                w, lease, FailureKind.TIMEOUT, f"The attempt ran longer than its limit of {limit:g} s."
            )
        return
    action = w.actions.get(key)
    if action is None or not action.is_live:
        return
    if kind is TimerKind.WAKE and action.state is State.PAUSED:
        steps.wake(w, action)
    elif kind is TimerKind.DEADLINE:
        _reach_deadline(w, action)
    if action.attempts != guard:
        return
    if kind is TimerKind.BACKOFF and action.state is State.BACKOFF:
        move(w, action, Trigger.BACKOFF_ELAPSED)
        admit(w, action)
    elif kind is TimerKind.QUEUE_LIMIT and action.state in _UNPLACED:
        limit = action.task.max_queued / SECOND
        message = f"The action waited longer than its limit of {limit:g} s. {action.wait_reason}".strip()
        failure = Failure(FailureKind.TIMEOUT, "QueueTimeout", message)
        finish(w, action, Trigger.TIMED_OUT, failure=failure)


def _reach_deadline(w: World, action: Action) -> None:
    """Timer: an action has had all the time that it may take, however many retries are left."""
    lease = w.lease_of(action)
    failure = deadline_failure(action)
    if lease is None:
        finish(w, action, Trigger.TIMED_OUT, failure=failure)
    elif action.state is not State.ABORTING:
        dispatch.kill(w, lease, FailureKind.TIMEOUT, failure.message)

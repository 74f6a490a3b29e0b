"""The life of actions: creation, moves, ends, outcomes for parents, aborts of subtrees."""

from __future__ import annotations

from . import cache
from . import effects as fx
from .events import LeaseEnded
from .model import (
    INITIAL_STATE,
    PHASE_OF,
    SECOND,
    Action,
    CacheUse,
    Child,
    Failure,
    FailureKind,
    Kind,
    Lease,
    Opaque,
    Phase,
    Run,
    State,
    Task,
)
from .retry import decide
from .timers import TimerKind
from .transitions import Trigger, target
from .world import World


def create_action(
    w: World,
    run: Run,
    parent: Action | None,
    *,
    name: str,
    key: str,
    task: Task,
    spec: Opaque,
    inputs: Opaque,
    group: str = "",
    sources: tuple[tuple[str, str], ...] = (),
    incarnation: int = 1,
    use: CacheUse | None = None,
    cached: int = 0,
    kind: Kind = Kind.TASK,
    round: int | None = None,
    started_at: int = 0,
    ready_at: int = 0,
    recovered: int = 0,
    custom_context: Opaque = "",
) -> Action:
    """Create an action in the initial state of its kind.

    It may have ended at once, with what there is already. Else a task is queued, or waits for another that computes the
    same.
    """
    action = Action(
        id=w.next_action_id,
        run_id=run.id,
        name=name,
        key=key,
        parent_id=parent.id if parent else None,
        depth=parent.depth + 1 if parent else 0,
        task=task,
        created_at=w.now,
        kind=kind,
        round=round if round is not None else parent.user_failures if parent else 0,
        incarnation=incarnation,
        state=INITIAL_STATE[kind],
        started_at=started_at,
        ready_at=ready_at,
        cache=use,
    )
    source = 0 if use is None or use.overwrite else cache.find(w, use.key, cached)
    w.next_action_id += 1
    w.actions[action.id] = action
    if parent is not None:
        parent.children[key] = action
        parent.live_children += 1
    w.emit(
        fx.ActionCreated(
            action_id=action.id,
            run_id=run.id,
            name=name,
            key=key,
            parent_id=action.parent_id,
            depth=action.depth,
            round=action.round,
            incarnation=incarnation,
            task=task,
            spec=spec,
            inputs=inputs,
            group=group,
            sources=sources,
            at=w.now,
            cache=use,
            kind=kind,
            started_at=started_at,
            ready_at=ready_at,
            cache_reason=_cache_reason(use, source, recovered),
            custom_context=custom_context,
        )
    )
    if recovered:
        action.cached_from = recovered
        finish(w, action, Trigger.RECOVERED)
        return action
    if kind is not Kind.TASK:
        return action
    if task.deadline:
        w.timers.set(w.now + task.deadline, TimerKind.DEADLINE, action.id)
    if source:
        finish_cached(w, action, source)
    elif use is None:
        admit(w, action)
    else:
        _compute(w, action, use)
    return action


def _cache_reason(use: CacheUse | None, source: int, recovered: int) -> str:
    if recovered:
        return "the same call succeeded in the run that this one recovers"
    if use is None:
        return ""
    if use.overwrite:
        return "the run computes anew what is kept"
    if source:
        return "an equal call succeeded before: same task, version of results and inputs that count"
    return "nothing is kept for this task with this version of results and these inputs"


def _compute(w: World, action: Action, use: CacheUse) -> None:
    """Let an action run whose result is to be kept, or wait for another one that computes the same."""
    owner = cache.reserve(w, action) if use.serialize else None
    if owner is None:
        admit(w, action)
        return
    reason = f"waits for action {owner.name} of run {w.runs[owner.run_id].name}, which computes the same"
    move(w, action, Trigger.CACHE_AWAITED, detail=reason)
    action.wait_reason = reason
    arm_queue_limit(w, action)


def finish_cached(w: World, action: Action, source: int, reason: str = "") -> None:
    """End an action with the outputs of another one.

    Args:
        w: The world.
        action: The action.
        source: The other one.
        reason: Why it can, when that was not known at its creation.
    """
    action.cached_from = source
    finish(w, action, Trigger.CACHED, cache_reason=reason)


def arm_queue_limit(w: World, action: Action) -> None:
    """Start the clock of an action that is to run."""
    if action.task.max_queued:
        w.timers.set(w.now + action.task.max_queued, TimerKind.QUEUE_LIMIT, action.id, action.attempts)


def admit(w: World, action: Action) -> None:
    """Make a queued action available for placement, unless its task is quarantined; arm its queue-time limit."""
    refusal = w.quarantine.verdict(action.task, w.now)
    if refusal is not None:
        finish(w, action, Trigger.FAILED, failure=refusal)
        return
    w.enqueue(action)
    arm_queue_limit(w, action)


def move(
    w: World,
    action: Action,
    trigger: Trigger,
    *,
    detail: str = "",
    failure: Failure | None = None,
    outputs: Opaque = None,
    cache_reason: str = "",
) -> None:
    """Move an action along the transition table and persist it when people or a restart have to know.

    PARKED is not persisted: executors say on Hello what is parked.
    """
    before = action.state
    action.state = target(before, trigger)
    if trigger in (Trigger.PARKED, Trigger.UNPARKED):
        return
    if before is State.QUEUED:
        action.wait_reason = ""
    emit_moved(
        w,
        action,
        PHASE_OF[action.state],
        detail=detail,
        failure=failure,
        outputs=outputs,
        recovered=trigger is Trigger.RECOVERED,
        cache_reason=cache_reason,
    )


def emit_moved(
    w: World,
    action: Action,
    phase: Phase,
    *,
    detail: str = "",
    failure: Failure | None = None,
    outputs: Opaque = None,
    recovered: bool = False,
    cache_reason: str = "",
) -> None:
    """Persist an action's state; for a root action the run's as well."""
    w.emit(
        fx.ActionMoved(
            action_id=action.id,
            run_id=action.run_id,
            state=action.state,
            phase=phase,
            at=w.now,
            attempts=action.attempts,
            user_failures=action.user_failures,
            system_failures=action.system_failures,
            ready_at=action.ready_at,
            started_at=action.started_at,
            detail=detail,
            failure=failure,
            outputs=outputs,
            abort_reason=action.abort_reason,
            cached_from=action.cached_from,
            withdrawn_by=action.withdrawn_by,
            recovered=recovered,
            cache_reason=cache_reason,
        )
    )
    if action.parent_id is None:
        w.emit(fx.RunMoved(action.run_id, phase, w.now, failure, action.abort_reason))


def finish(
    w: World,
    action: Action,
    trigger: Trigger,
    *,
    failure: Failure | None = None,
    outputs: Opaque = None,
    cache_reason: str = "",
) -> None:
    """End an action for good: persist, tell the parent, abort what is below it, forget it.

    Its lease must have been closed before.
    """
    was_queued = action.state is State.QUEUED
    move(
        w,
        action,
        trigger,
        detail=action.abort_reason,
        failure=failure,
        outputs=outputs,
        cache_reason=cache_reason,
    )
    if was_queued:
        w.dequeue(action)
    if action.cache is not None:
        _settle_cache(w, action, action.cache)
    parent = w.actions.get(action.parent_id) if action.parent_id is not None else None
    if parent is not None:
        if action.kind is Kind.TRACE and (lease := w.lease_of(parent)) is not None:
            lease.traces.discard(action.key)
        if parent.children[action.key] is action:  # else a later attempt has asked for it anew
            deliver(w, parent, action.key)
        if action.live_children and action.state is not State.SUCCEEDED:
            abort_children(w, action, f"parent {action.name} ended as {action.state.value}")
    elif action.live_children:
        abort_children(w, action, f"root action ended as {action.state.value}")
    collapse(w, action)


def _settle_cache(w: World, action: Action, use: CacheUse) -> None:
    """Store what an action computed, and let those go on that waited for it."""
    computed = action.state is State.SUCCEEDED and not action.cached_from
    if computed:
        cache.store(w, use.key, action.id)
    waiting = cache.release(w, action)
    if computed:
        for waiter in waiting:
            finish_cached(
                w, waiter, action.id, f"action {action.name} computed the same while this one waited"
            )
        return
    for number, heir in enumerate(waiting):
        cache.inherit(w, heir, [])
        why = f"action {action.name} ended as {action.state.value}"
        reason = f"{why}, which would have computed the same"
        move(w, heir, Trigger.CACHE_RELEASED, detail=why, cache_reason=reason)
        admit(w, heir)
        if heir.is_live:
            cache.inherit(w, heir, waiting[number + 1 :])
            return


def collapse(w: World, action: Action) -> None:
    """Reduce an ended action without live descendants to a record in its parent, and so on upwards."""
    current: Action | None = action
    while (
        current is not None and current.id in w.actions and not current.is_live and not current.live_children
    ):
        del w.actions[current.id]
        if current.parent_id is None:
            w.remember_ended_run(w.runs[current.run_id])
            return
        parent = w.actions[current.parent_id]
        if (
            parent.children.get(current.key) is current
        ):  # else it was asked for again while it waited for this
            parent.children[current.key] = Child(
                current.id,
                current.name,
                current.state,
                current.round,
                current.incarnation,
                current.withdrawn_by,
                current.kind,
            )
        parent.live_children -= 1
        current = parent


def deliver(w: World, parent: Action, key: str) -> None:
    """Give a parent the outcome of an ended child, if its lease waits for it.

    A parked lease that holds processor time of its own gets it once it has that back (`dispatch.unpark`);
    in a pool the executor keeps the order among the slots of the worker.
    """
    lease = w.lease_of(parent)
    if lease is None or key not in lease.awaiting or parent.state is State.ABORTING:
        return
    if not w.is_reachable(lease.node):
        return  # asked for again in the next session
    if lease.parked and not lease.pool_key:
        if not lease.held_outcomes:
            w.nodes[lease.node].unparking.append(lease.id)
        lease.held_outcomes.append(key)
        return
    if lease.parked:
        unpark(w, lease)
    send_outcome(w, parent, lease, key)


def send_outcome(w: World, parent: Action, lease: Lease, key: str) -> None:
    """Send the recorded outcome of the child `key`."""
    child = parent.children[key]
    action_id = child.action_id if isinstance(child, Child) else child.id
    lease.awaiting.discard(key)
    w.emit(fx.SendOutcome(lease.node, lease.id, key, action_id, child.name, PHASE_OF[child.state]))


def start(w: World, lease: Lease, worker_id: int, at: int) -> None:
    """User code of a lease has started."""
    lease.started_at = at
    lease.worker_id = worker_id or lease.worker_id
    action = w.action_of(lease)
    if not action.started_at:
        action.started_at = at
    w.emit(fx.LeaseRunning(lease.id, lease.worker_id, at))
    if action.state is State.ASSIGNED:
        move(w, action, Trigger.STARTED)
    if action.task.max_runtime:
        w.timers.set(w.now + action.task.max_runtime, TimerKind.RUN_LIMIT, lease.id)


def unpark(w: World, lease: Lease) -> None:
    """The lease runs again and holds its processor time or slot again."""
    lease.parked = False
    action = w.action_of(lease)
    if lease.pool_key:
        w.change_in_use(w.pools[lease.pool_key], lease.node, 1)
    else:
        w.nodes[lease.node].free_cpu -= action.task.resources.cpu
    if action.state is State.PARKED:
        move(w, action, Trigger.UNPARKED)


def park(w: World, lease: Lease) -> None:
    """The lease only waits: its processor time or slot goes back."""
    lease.parked = True
    action = w.action_of(lease)
    if lease.pool_key:
        w.change_in_use(w.pools[lease.pool_key], lease.node, -1)
    else:
        w.nodes[lease.node].free_cpu += action.task.resources.cpu
        w.capacity_changed()
    move(w, action, Trigger.PARKED)


def release_lease(w: World, lease: Lease) -> None:
    """Take a lease off its action and give back what it holds."""
    action = w.action_of(lease)
    del w.leases[lease.id]
    action.lease_id = None
    node = w.nodes[lease.node]
    node.leases.discard(lease.id)
    if lease.pool_key:
        pool = w.pools[lease.pool_key]
        pool.leases -= 1
        w.stale_pools.add(lease.pool_key)
        if not lease.parked:
            w.change_in_use(pool, lease.node, -1)
        return
    held = action.task.resources
    node.release(held._replace(cpu=0) if lease.parked else held, lease.gpu_uuids)
    w.capacity_changed()


def end_attempt(w: World, lease: Lease, failure: Failure | None, event: LeaseEnded | None = None) -> None:
    """An attempt ended, as reported in `event` or as lost: close it and decide what follows."""
    action = w.action_of(lease)
    aborting = action.state is State.ABORTING
    if event is not None and event.started_at and not action.started_at:
        action.started_at = event.started_at
    release_lease(w, lease)
    for key in sorted(lease.traces):
        trace = action.children[key]
        assert isinstance(trace, Action)
        trace.abort_reason = "the attempt that it ran in ended"
        finish(w, trace, Trigger.ABORTED)
    if aborting:
        phase = Phase.ABORTED
    elif failure is None:
        phase = Phase.SUCCEEDED
    else:
        phase = Phase.TIMED_OUT if failure.kind is FailureKind.TIMEOUT else Phase.FAILED
    w.emit(
        fx.LeaseClosed(
            lease.id,
            phase,
            w.now,
            failure=None if aborting else failure,
            started_at=event.started_at if event else lease.started_at,
            worker_id=(event.worker_id if event else 0) or lease.worker_id,
            peak_memory=event.peak_memory if event else 0,
            cpu_millis=event.cpu_millis if event else 0,
        )
    )
    if aborting:
        finish(w, action, Trigger.ABORTED)
    elif failure is None:
        w.quarantine.succeeded(action.task)
        finish(w, action, Trigger.SUCCEEDED, outputs=event.outputs if event else None)
    else:
        w.quarantine.failed(action.task, failure, w.now)
        follow_up(w, action, failure, lease.id)


def follow_up(w: World, action: Action, failure: Failure, lease_id: int) -> None:
    """Retry or end an action whose attempt failed. Its children live on until it ends."""
    decision = decide(action, failure, lease_id)
    if decision.uses_user_retry:
        action.user_failures += 1
        action.system_failures = 0
    else:
        action.system_failures += 1
    if decision.retry and is_overdue(w, action):
        finish(w, action, Trigger.TIMED_OUT, failure=deadline_failure(action, failure))
        return
    if not decision.retry:
        trigger = Trigger.TIMED_OUT if failure.kind is FailureKind.TIMEOUT else Trigger.FAILED
        finish(w, action, trigger, failure=failure)
        return
    detail = f"attempt {action.attempts - 1} failed ({failure.kind.value}): {failure.code}"
    if decision.delay:
        detail = f"{detail}; the next one starts {decision.delay / SECOND:.3g} s later"
    action.ready_at = w.now + decision.delay
    if decision.delay:
        move(w, action, Trigger.BACKED_OFF, detail=detail, failure=failure)
        w.timers.set(action.ready_at, TimerKind.BACKOFF, action.id, action.attempts)
    else:
        move(w, action, Trigger.RETRIED, detail=detail, failure=failure)
        admit(w, action)


def is_overdue(w: World, action: Action) -> bool:
    """Whether the deadline of an action has passed."""
    return 0 < action.task.deadline <= w.now - action.created_at


def deadline_failure(action: Action, last: Failure | None = None) -> Failure:
    """What an action fails with whose deadline has passed.

    Args:
        action: The action.
        last: How its last attempt failed, if one did.
    """
    message = f"The action did not end within its deadline of {action.task.deadline / SECOND:g} s"
    if last is not None:
        message = f"{message}; its last attempt failed with {last.code}: {last.message}"
    return Failure(FailureKind.TIMEOUT, "DeadlineExceeded", f"{message.rstrip('.')}.", non_recoverable=True)


def abort(w: World, action: Action, reason: str) -> None:
    """Abort a live action and everything below it. What is leased ends once its kill is confirmed."""
    _abort_all(w, [action], reason)


def abort_children(w: World, action: Action, reason: str) -> None:
    """Abort every live action below `action`."""
    children = [child for child in action.children.values() if not isinstance(child, Child)]
    _abort_all(w, children, reason)


def _abort_all(w: World, tops: list[Action], reason: str) -> None:
    """Abort actions and all below them: what is leased first, so that it gets no outcomes of what ends with it."""
    below = list(tops)
    pending = list(tops)
    while pending:
        for child in pending.pop().children.values():
            if not isinstance(child, Child):
                below.append(child)
                pending.append(child)
    for leased in [each for each in below if each.lease_id is not None]:
        _abort_one(w, leased, reason)
    for unleased in reversed(below):
        if unleased.is_live:
            _abort_one(w, unleased, reason)


def _abort_one(w: World, action: Action, reason: str) -> None:
    if action.state is State.ABORTING:
        return
    action.abort_reason = reason
    lease = w.lease_of(action)
    if lease is None:
        finish(w, action, Trigger.ABORTED)
        return
    move(w, action, Trigger.ABORT_REQUESTED, detail=reason)
    if w.is_reachable(lease.node):
        w.emit(fx.Kill(lease.node, lease.id, reason, None))

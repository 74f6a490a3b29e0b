"""Steps of a running task that are not tasks: traced calls, conditions, sleeps.

They are children like any other, with keys, outcomes and replay, but are never leased. A trace lives in its parent's
lease and ends with it at the latest; conditions and sleeps are paused, and outlive the attempts of their parent.
"""

from __future__ import annotations

from . import effects as fx
from .events import ChildRequested, SignalAction, TraceEnded
from .lifecycle import create_action, finish
from .model import SECOND, Action, Failure, FailureKind, Kind, Lease, State
from .timers import TimerKind
from .transitions import Trigger
from .world import World


def begin(
    w: World,
    lease: Lease,
    event: ChildRequested,
    *,
    name: str,
    incarnation: int,
    sources: tuple[tuple[str, str], ...],
) -> Action:
    """Create the action of a step."""
    parent = w.action_of(lease)
    is_trace = event.kind is Kind.TRACE
    action = create_action(
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
        kind=event.kind,
        round=lease.number if is_trace else None,
        started_at=min(event.began_at or w.now, w.now),
        ready_at=w.now + event.wait if event.wait or event.kind is Kind.SLEEP else 0,
        recovered=event.recovered if incarnation == 1 and not event.began_at else 0,
    )
    if not action.is_live:
        return action
    if is_trace:
        lease.traces.add(event.key)
    else:
        arm(w, action)
    return action


def arm(w: World, action: Action) -> None:
    """Set the timer of a paused action that ends by itself."""
    if action.state is State.PAUSED and action.ready_at:
        w.timers.set(action.ready_at, TimerKind.WAKE, action.id)


def wake(w: World, action: Action) -> None:
    """Timer: a sleep is over, or a condition has waited for its longest time."""
    if action.kind is Kind.SLEEP:
        finish(w, action, Trigger.ELAPSED)
        return
    waited = (action.ready_at - action.created_at) / SECOND
    message = f"Nobody signalled {action.task.name!r} within its time limit of {waited:g} s."
    failure = Failure(FailureKind.TIMEOUT, "ConditionTimeout", message)
    finish(w, action, Trigger.TIMED_OUT, failure=failure)


def signal(w: World, event: SignalAction) -> None:
    """Give a condition its value; once."""
    action = w.actions.get(event.action_id)
    if action is None or action.kind is not Kind.CONDITION or action.state is not State.PAUSED:
        w.emit(fx.Reply(event.token, error=("NOT_WAITING", "it does not wait for a signal")))
        return
    finish(w, action, Trigger.SIGNALLED, outputs=event.outputs)
    w.emit(fx.Reply(event.token, value=True))


def end_trace(w: World, event: TraceEnded, trace: Action) -> None:
    """End a traced call."""
    if event.abandoned:
        trace.abort_reason = event.abandoned
        finish(w, trace, Trigger.ABORTED)
    elif event.failure is not None:
        finish(w, trace, Trigger.FAILED, failure=event.failure)
    else:
        finish(w, trace, Trigger.SUCCEEDED, outputs=event.outputs)


def restore(w: World, action: Action) -> None:
    """Take a step over after a restart."""
    arm(w, action)
    if action.state is State.IN_PARENT and action.parent_id is not None:
        lease = w.lease_of(w.actions[action.parent_id])
        if lease is not None:
            lease.traces.add(action.key)

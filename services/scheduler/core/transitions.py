"""The transition table of actions: data, from which `docs/run-lifecycle.md` is generated.

A pair that is missing is an illegal move. Terminal states have no row: terminal is final.
"""

from __future__ import annotations

from enum import Enum

from .model import State


class Trigger(str, Enum):
    """Why an action moves."""

    CACHED = "found in cache"
    RECOVERED = "succeeded in the run that is recovered"
    CACHE_AWAITED = "computed elsewhere"
    CACHE_RELEASED = "not computed elsewhere"
    PLACED = "placed"
    STARTED = "started"
    PARKED = "parked"
    UNPARKED = "unparked"
    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    BACKED_OFF = "backed off"
    BACKOFF_ELAPSED = "backoff elapsed"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    SIGNALLED = "signalled"
    ELAPSED = "elapsed"
    ABORT_REQUESTED = "abort requested"
    ABORTED = "aborted"


TRANSITIONS: dict[tuple[State, Trigger], State] = {
    (State.QUEUED, Trigger.PLACED): State.ASSIGNED,
    (State.QUEUED, Trigger.FAILED): State.FAILED,
    (State.QUEUED, Trigger.TIMED_OUT): State.TIMED_OUT,
    (State.QUEUED, Trigger.ABORTED): State.ABORTED,
    (State.QUEUED, Trigger.CACHED): State.SUCCEEDED,
    (State.QUEUED, Trigger.RECOVERED): State.SUCCEEDED,
    (State.IN_PARENT, Trigger.RECOVERED): State.SUCCEEDED,
    (State.PAUSED, Trigger.RECOVERED): State.SUCCEEDED,
    (State.QUEUED, Trigger.CACHE_AWAITED): State.WAITING_FOR_CACHE,
    (State.WAITING_FOR_CACHE, Trigger.CACHED): State.SUCCEEDED,
    (State.WAITING_FOR_CACHE, Trigger.CACHE_RELEASED): State.QUEUED,
    (State.WAITING_FOR_CACHE, Trigger.TIMED_OUT): State.TIMED_OUT,
    (State.WAITING_FOR_CACHE, Trigger.ABORTED): State.ABORTED,
    (State.BACKOFF, Trigger.BACKOFF_ELAPSED): State.QUEUED,
    (State.BACKOFF, Trigger.TIMED_OUT): State.TIMED_OUT,
    (State.BACKOFF, Trigger.ABORTED): State.ABORTED,
    (State.ABORTING, Trigger.ABORTED): State.ABORTED,
    (State.RUNNING, Trigger.PARKED): State.PARKED,
    (State.PARKED, Trigger.UNPARKED): State.RUNNING,
    (State.ASSIGNED, Trigger.STARTED): State.RUNNING,
    (State.PAUSED, Trigger.SIGNALLED): State.SUCCEEDED,
    (State.PAUSED, Trigger.ELAPSED): State.SUCCEEDED,
    (State.PAUSED, Trigger.TIMED_OUT): State.TIMED_OUT,
    (State.PAUSED, Trigger.ABORTED): State.ABORTED,
    (State.IN_PARENT, Trigger.SUCCEEDED): State.SUCCEEDED,
    (State.IN_PARENT, Trigger.FAILED): State.FAILED,
    (State.IN_PARENT, Trigger.ABORTED): State.ABORTED,
}
for _leased in (State.ASSIGNED, State.RUNNING, State.PARKED):
    TRANSITIONS[_leased, Trigger.SUCCEEDED] = State.SUCCEEDED
    TRANSITIONS[_leased, Trigger.RETRIED] = State.QUEUED
    TRANSITIONS[_leased, Trigger.BACKED_OFF] = State.BACKOFF
    TRANSITIONS[_leased, Trigger.FAILED] = State.FAILED
    TRANSITIONS[_leased, Trigger.TIMED_OUT] = State.TIMED_OUT
    TRANSITIONS[_leased, Trigger.ABORT_REQUESTED] = State.ABORTING


class IllegalTransitionError(RuntimeError):
    """A move that the table does not have: a bug of the core, never of a caller."""


def target(state: State, trigger: Trigger) -> State:
    """The state that `trigger` leads to.

    Raises:
        IllegalTransitionError: the table has no such move.
    """
    try:
        return TRANSITIONS[state, trigger]
    except KeyError:
        raise IllegalTransitionError(f"{trigger.value!r} is not possible in state {state.value!r}") from None

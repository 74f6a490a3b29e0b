"""What follows a failed attempt: a policy per kind of failure."""

from __future__ import annotations

from typing import NamedTuple

from .model import SECOND, Action, Failure, FailureKind

USER_KINDS = frozenset({FailureKind.USER, FailureKind.OOM, FailureKind.GPU_OOM, FailureKind.TIMEOUT})

MAX_BACKOFF = 30 * SECOND

# Failures in a row that are no fault of the user, of whatever kind, before one of this kind is final.
SYSTEM_CAPS = {FailureKind.SYSTEM: 8, FailureKind.LOST: 12, FailureKind.PREEMPTED: 100}


class Decision(NamedTuple):
    """Whether to try again, after how long (µs), and whether it uses up a retry of the user."""

    retry: bool
    delay: int
    uses_user_retry: bool


def decide(action: Action, failure: Failure) -> Decision:
    """Decide on a failure of the current attempt of `action`, whose counters do not include it yet."""
    if failure.kind in USER_KINDS:
        left = action.user_failures < action.task.retries and not failure.non_recoverable
        return Decision(left, 0, uses_user_retry=True)
    cap = SYSTEM_CAPS.get(failure.kind, 0)  # IMAGE: the same definition fails again
    if failure.non_recoverable or action.system_failures >= cap:
        return Decision(retry=False, delay=0, uses_user_retry=False)
    return Decision(retry=True, delay=_backoff(failure.kind, action.system_failures), uses_user_retry=False)


def _backoff(kind: FailureKind, failures_before: int) -> int:
    """Nothing for a pre-emption or a first loss (the host is gone, not the task); else 1 s, 2 s, 4 s … up to 30 s."""
    if kind is FailureKind.PREEMPTED:
        return 0
    exponent = failures_before - 1 if kind is FailureKind.LOST else failures_before
    return 0 if exponent < 0 else min(SECOND << min(exponent, 10), MAX_BACKOFF)

"""What follows a failed attempt: a policy per kind of failure."""

from __future__ import annotations

from typing import NamedTuple

from .model import SECOND, Action, Backoff, Failure, FailureKind

USER_KINDS = frozenset({FailureKind.USER, FailureKind.OOM, FailureKind.GPU_OOM, FailureKind.TIMEOUT})

MAX_BACKOFF = 30 * SECOND
MAX_USER_BACKOFF = 24 * 3600 * SECOND  # of a policy without a cap

# Failures in a row that are no fault of the user, of whatever kind, before one of this kind is final.
SYSTEM_CAPS = {FailureKind.SYSTEM: 8, FailureKind.LOST: 12, FailureKind.PREEMPTED: 100}


class Decision(NamedTuple):
    """Whether to try again, after how long (µs), and whether it uses up a retry of the user."""

    retry: bool
    delay: int
    uses_user_retry: bool


def decide(action: Action, failure: Failure, lease_id: int) -> Decision:
    """Decide on a failure of the current attempt of `action`, whose counters do not include it yet.

    Args:
        action: The action.
        failure: How the attempt failed.
        lease_id: The attempt: what its wait varies by.
    """
    if failure.kind in USER_KINDS:
        left = action.user_failures < action.task.retries and not failure.non_recoverable
        delay = user_backoff(action.task.backoff, action.user_failures, lease_id) if left else 0
        return Decision(left, delay, uses_user_retry=True)
    cap = SYSTEM_CAPS.get(failure.kind, 0)  # IMAGE: the same definition fails again
    if failure.non_recoverable or action.system_failures >= cap:
        return Decision(retry=False, delay=0, uses_user_retry=False)
    return Decision(retry=True, delay=_backoff(failure.kind, action.system_failures), uses_user_retry=False)


def user_backoff(policy: Backoff, failures_before: int, lease_id: int) -> int:
    """The wait (µs) before the next attempt: base, base · factor, base · factor² … up to the cap, less the jitter.

    Leases that follow each other are spread evenly over the jitter: the golden ratio takes care of that.
    """
    longest = policy.cap or MAX_USER_BACKOFF
    delay = float(policy.base)
    for _ in range(failures_before):
        if delay >= longest:
            break
        delay *= policy.factor
    share = lease_id * 0x9E3779B97F4A7C15 % 2**64 / 2**64
    return round(min(delay, longest) * (1 - policy.jitter * share))


def _backoff(kind: FailureKind, failures_before: int) -> int:
    """Nothing for a pre-emption or a first loss (the host is gone, not the task); else 1 s, 2 s, 4 s … up to 30 s."""
    if kind is FailureKind.PREEMPTED:
        return 0
    exponent = failures_before - 1 if kind is FailureKind.LOST else failures_before
    return 0 if exponent < 0 else min(SECOND << min(exponent, 10), MAX_BACKOFF)

"""Decides when an attempt may be parked: when nothing but the outcome of a child can make it go on.

The rule errs on the side of not parking. It is asked when the event loop is idle, so every task waits. A
lease is parked when it waits for at least one child, the executor has every traced call that ended, and

- it does not wait to be told of a deployed task,
- every user thread of it is blocked until a child ends, and it started no thread of its own that still
lives, - no timer of it is pending, - each of its asyncio tasks waits for a child, for another task of it,
or for a `gather` of such; or waits for a
  plain future (as `asyncio.wait`, `TaskGroup` and `Semaphore` do) while nothing in the process could complete
  that future but the lease's own tasks: no foreign thread and no foreign file descriptor is there.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from flyte._runtime.idle import IdleSelector
from flyte._runtime.lease import Lease, current_lease

_OWN_DESCRIPTORS = 2
"""What the runtime itself has registered: the loop's wake-up pipe and the connection to the executor."""
_MANY_TASKS = 64
_GATHERING = getattr(asyncio.tasks, "_GatheringFuture", None)


def may_park(
    lease: Lease, loop: asyncio.AbstractEventLoop, selector: IdleSelector, known: set[threading.Thread]
) -> bool:
    """Whether a lease only waits for children.

    Args:
        lease: The lease.
        loop: The worker's loop, which is idle.
        selector: The loop's selector.
        known: The runtime's own threads.
    """
    if not lease.awaiting or lease.lookups or lease.traced or lease.ended or lease.killed is not None:
        return False
    if lease.busy_threads != lease.blocked_threads or len(lease.others) > _MANY_TASKS:
        return False
    foreign = set(threading.enumerate()) - known
    if foreign - lease.threads_before or _has_timer(loop, lease):
        return False
    closed = not foreign and len(selector.get_map()) <= _OWN_DESCRIPTORS
    return all(_waits_inside(task, lease, closed) for task in lease.others)


def _has_timer(loop: asyncio.AbstractEventLoop, lease: Lease) -> bool:
    timers = getattr(loop, "_scheduled", ())
    return any(not timer.cancelled() and _lease_of(timer) is lease for timer in timers)


def _lease_of(handle: asyncio.Handle) -> Lease | None:
    context = getattr(handle, "_context", None)
    return context.get(current_lease) if context is not None else None


def _waits_inside(task: asyncio.Task[Any], lease: Lease, closed: bool) -> bool:
    """Whether only the lease's own tasks can complete what a task waits for."""
    waiter = getattr(task, "_fut_waiter", None)
    if waiter is None:
        return False
    if isinstance(waiter, asyncio.Task):
        return waiter in lease.tasks
    if _GATHERING is not None and isinstance(waiter, _GATHERING):
        return _gathers_inside(waiter, lease) or closed
    return closed


def _gathers_inside(gathering: Any, lease: Lease) -> bool:
    if gathering in lease.checked_gathers:
        return True
    children = getattr(gathering, "_children", ())
    if all(child.done() or child in lease.tasks for child in children):
        lease.checked_gathers.add(gathering)
        return True
    return False

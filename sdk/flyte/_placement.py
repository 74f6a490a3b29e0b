"""Where actions may run, whatever they need of a host."""

from __future__ import annotations

import re

_QUEUE = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
_LONGEST = 128


def check_queue(queue: object) -> str | None:
    """Name of a queue or None, or a `TypeError` or `ValueError`."""
    if queue is None:
        return None
    if not isinstance(queue, str):
        raise TypeError(f"queue must be the name of a queue, not {queue!r}")
    if len(queue) > _LONGEST or not _QUEUE.fullmatch(queue):
        raise ValueError(
            f"queue={queue!r} must be lower-case letters and digits, in words joined by single '-' or '_', "
            "such as 'gpu'"
        )
    return queue


def check_interruptible(interruptible: object) -> bool | None:
    """True, False or None, or a `TypeError`."""
    if interruptible is not None and not isinstance(interruptible, bool):
        raise TypeError(f"interruptible must be True or False, not {interruptible!r}")
    return interruptible

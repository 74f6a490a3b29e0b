"""The scheduler's pure core: every state change is `handle(event, now) -> effects` over plain objects.

No I/O, no clock, no randomness: times are arguments (integer microseconds since the epoch, UTC), identifiers come from
counters that the shell restores, payloads and request tokens pass through untouched. The shell applies the effects in
the order that it gets them: all that derive from `Persist` in one transaction, then, once it is committed, the others.
"""

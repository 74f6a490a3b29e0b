"""What the shell remembers of live runs and actions: enough to name them in frames and events."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from hangar.core.v1.identifiers_pb2 import RunIdentifier
from hangar.core.v1.task_spec_pb2 import RunContext

_RANDOM_BYTES = 1024


@dataclass(slots=True)
class LiveRun:
    """A run with at least one action that has not ended."""

    id: int
    identifier: RunIdentifier
    context: RunContext
    trace_id: str
    parent_span_id: str
    root_id: int
    live_count: int = 0
    """Actions that have not ended."""
    row: dict[str, Any] = field(default_factory=dict)
    """The columns that change, by name."""
    sources: tuple[int, ...] = ()
    """The runs whose succeeded actions it takes over: the one that it recovers, the one that recovered, and so on."""


@dataclass(slots=True)
class LiveAction:
    """An action that has not ended."""

    id: int
    run: LiveRun
    name: str
    spec_digest: str
    parent_id: int | None
    attempts: int = 0
    phase: int = 0
    span_id: str = ""
    """Span of its newest attempt."""
    lease_id: int = 0
    """Its open attempt, 0 for none."""
    progress_cursor: int = 0
    """The event of its newest attempt's progress, 0 for none."""
    custom_context: str = ""
    """Its custom context as a JSON object; empty when it is the run's."""
    cache_status: int = 0
    """What the cache did, a number of `hangar.core.v1.CacheStatus`."""


@dataclass(slots=True)
class Live:
    """Everything that is live."""

    runs: dict[int, LiveRun] = field(default_factory=dict)
    actions: dict[int, LiveAction] = field(default_factory=dict)
    leases: dict[int, LiveAction] = field(default_factory=dict)
    """Actions by the lease id of their open attempt."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where the spans of a run hang."""

    trace_id: str
    """32 hex digits."""
    parent_span_id: str
    """16 hex digits; empty when the run starts a trace of its own."""


def trace_of(traceparent: str) -> TraceContext:
    """Returns the trace of a W3C traceparent, a new one when there is none or it is not valid."""
    parts = traceparent.split("-")
    if len(parts) >= 4 and _is_id(parts[1], 32) and _is_id(parts[2], 16):
        return TraceContext(parts[1], parts[2])
    return TraceContext(os.urandom(16).hex(), "")


class SpanIds:
    """Makes ids of spans; random bytes are fetched from the system for many at a time."""

    def __init__(self) -> None:
        self._random = ""

    def next(self) -> str:
        """Returns the id of a new span, 16 hex digits."""
        if not self._random:
            self._random = os.urandom(_RANDOM_BYTES).hex()
        span_id, self._random = self._random[:16], self._random[16:]
        return span_id


def _is_id(text: str, length: int) -> bool:
    return len(text) == length and text.strip("0") != "" and all(c in "0123456789abcdef" for c in text)

"""Timers as data: a heap of (due, order, kind, key, guard). A timer whose guard no longer matches is ignored."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

PRUNE_AT = 4096  # pending timers; more than twice those that were wanted last are looked through


class TimerKind(Enum):
    """What a timer is about; its key names the entity, its guard the state of it that the timer was set for."""

    BACKOFF = "backoff"
    QUEUE_LIMIT = "queue limit"
    RUN_LIMIT = "run limit"
    DEADLINE = "deadline"
    NODE_SILENCE = "node silence"
    NODE_TTL = "node time to live"
    NODE_GRACE = "lost node's grace"
    POOL_IDLE = "pool idle"
    POOL_SPARE = "pool spare"
    POOL_BACKOFF = "pool backoff"
    WAKE = "wake"
    WAIT_REASON = "wait reason"


class Timer(NamedTuple):
    """One entry of the heap."""

    due: int
    order: int
    kind: TimerKind
    key: int | str
    guard: int


class Timers:
    """Pending timers in the order in which they are due."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._order = 0
        self._prune_at = PRUNE_AT

    def __len__(self) -> int:
        return len(self._heap)

    def prune(self, is_wanted: Callable[[Timer], bool]) -> None:
        """Drop timers whose reason is past, when there are many: limits may be due long after what they limit."""
        if len(self._heap) < self._prune_at:
            return
        self._heap = [timer for timer in self._heap if is_wanted(timer)]
        heapq.heapify(self._heap)
        self._prune_at = max(PRUNE_AT, 2 * len(self._heap))

    def set(self, due: int, kind: TimerKind, key: int | str, guard: int = 0) -> None:
        """Add a timer. Equal ones may be set more than once; handlers check their guard."""
        self._order += 1
        heapq.heappush(self._heap, Timer(due, self._order, kind, key, guard))

    @property
    def next_due(self) -> int | None:
        """When the earliest timer is due, None without timers."""
        return self._heap[0].due if self._heap else None

    def pop_due(self, now: int) -> Timer | None:
        """Remove and return the earliest timer that is due."""
        if self._heap and self._heap[0].due <= now:
            return heapq.heappop(self._heap)
        return None

"""Queues of actions that are ready to be placed.

Within a queue, deeper actions come first (children before new parents, so that trees finish and give their place
back), then older ones. Equal requests share one queue, so that a full host costs one look per queue, not per action.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from .model import Action, Demand


class Rank(NamedTuple):
    """Order of ready actions: the smallest goes first."""

    negative_depth: int
    action_id: int


def rank(action: Action) -> Rank:
    """The action's place in the order."""
    return Rank(-action.depth, action.id)


class Queue:
    """Ready actions with equal requests. Removed ones are skipped when they surface."""

    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        self.blocked_at: int | None = None  # version of the capacity at which its head was found not to fit
        self.told_at = 0  # when its first actions were last told why they wait
        self._heap: list[Rank] = []
        self._members: set[int] = set()

    def __len__(self) -> int:
        return len(self._members)

    def add(self, action: Action) -> None:
        """Queue an action. Does nothing when it is queued already."""
        if action.id not in self._members:
            self._members.add(action.id)
            heapq.heappush(self._heap, rank(action))
            if self._heap[0].action_id == action.id:
                self.blocked_at = (
                    None  # whether it could ever fit depends on the action, not on the request alone
                )

    def discard(self, action_id: int) -> None:
        """Take an action out, wherever it stands."""
        self._members.discard(action_id)
        self.blocked_at = None

    def head(self) -> Rank | None:
        """The next action's rank, None when empty."""
        while self._heap and self._heap[0].action_id not in self._members:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def pop(self) -> int:
        """Remove and return the next action's id. Only call it when `head()` is not None."""
        entry = heapq.heappop(self._heap)
        self._members.discard(entry.action_id)
        return entry.action_id

    def first(self, count: int) -> list[int]:
        """Ids of the next `count` actions, in order."""
        waiting = (rank for rank in self._heap if rank.action_id in self._members)
        return [rank.action_id for rank in heapq.nsmallest(count, waiting)]

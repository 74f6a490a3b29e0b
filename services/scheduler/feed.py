"""The stream of committed events.

Watchers pull: each has a cursor of its own. The newest events are in memory; one who fell behind reads the
ledger until it has caught up. So a slow watcher holds up nobody and misses nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from hangar.core.v1.identifiers_pb2 import ActionIdentifier, RunIdentifier
from hangar.scheduler.v1.event_pb2 import Event
from hangar.scheduler.v1.scheduler_service_pb2 import WatchEventsResponse
from services.ledger.queries.events import EventRecord
from services.scheduler.recording import Change

_REMEMBERED = 20_000
_PAGE = 2000

ReadEvents = Callable[[int, int], Awaitable[Sequence[EventRecord]]]


class _Stretch(NamedTuple):
    """Events of some commits in a row: all those behind `after` up to `cursor`."""

    after: int
    cursor: int
    changes: list[Change]


class EventFeed:
    """Hands committed events to any number of watchers.

    Args:
        cursor: Cursor of the newest event that is committed.
        read_events: Reads events after a cursor from the ledger, at most so many.
    """

    def __init__(self, cursor: int, read_events: ReadEvents) -> None:
        self.cursor = cursor
        """Cursor of the newest event that is committed."""
        self._read_events = read_events
        self._recent: deque[_Stretch] = deque()
        self._remembered = 0
        self._published = asyncio.Event()
        self._closed = False

    def publish(self, changes: list[Change], cursor: int) -> None:
        """Adds committed events.

        Args:
            changes: The events, in order.
            cursor: Position after them.
        """
        if cursor == self.cursor:
            return
        self._recent.append(_Stretch(self.cursor, cursor, changes))
        self._remembered += len(changes)
        while self._remembered > _REMEMBERED and len(self._recent) > 1:
            self._remembered -= len(self._recent.popleft().changes)
        self.cursor = cursor
        self._notify()

    def close(self) -> None:
        """Ends all watches."""
        self._closed = True
        self._notify()

    async def watch(self, after: int | None) -> AsyncIterator[WatchEventsResponse]:
        """Yields committed events until the feed is closed, first an empty response that confirms the start.

        Args:
            after: Cursor of the last event that is known; None for the newest.
        """
        cursor = self.cursor if after is None else min(after, self.cursor)
        yield WatchEventsResponse(cursor=cursor)
        while not self._closed:
            if cursor >= self.cursor:
                await self._published.wait()
                continue
            response = self._from_memory(cursor) or await self._from_ledger(cursor)
            cursor = response.cursor
            if response.events:
                yield response

    def _notify(self) -> None:
        published, self._published = self._published, asyncio.Event()
        published.set()

    def _from_memory(self, cursor: int) -> WatchEventsResponse | None:
        """Some of the events behind a cursor; None when the oldest of them is not in memory."""
        if not self._recent or cursor < self._recent[0].after:
            return None
        response = WatchEventsResponse(cursor=cursor)
        for stretch in self._recent:
            if stretch.cursor <= cursor:
                continue
            if len(response.events) >= _PAGE:
                break
            for change in stretch.changes:
                if change.cursor > cursor:
                    _add(response, change.run, *change[2:], cursor=change.cursor)
            response.cursor = stretch.cursor
        return response

    async def _from_ledger(self, cursor: int) -> WatchEventsResponse:
        end = self.cursor
        records = await self._read_events(cursor, _PAGE)
        response = WatchEventsResponse(cursor=end if len(records) < _PAGE else records[-1].cursor)
        for each in records:
            run = RunIdentifier(project=each.project, domain=each.domain, name=each.run)
            rest = (each.action, each.phase, each.attempt, each.occurred_at, each.detail)
            _add(response, run, *rest, cursor=each.cursor)
        response.cursor = max(response.cursor, records[-1].cursor if records else 0)
        return response


def _add(
    response: WatchEventsResponse,
    run: RunIdentifier,
    action: str,
    phase: Any,
    attempt: int,
    occurred_at: int,
    detail: str,
    *,
    cursor: int,
) -> None:
    event: Event = response.events.add(cursor=cursor, phase=phase, attempt=attempt, detail=detail)
    identifier: ActionIdentifier = event.action
    identifier.run.CopyFrom(run)
    identifier.name = action
    event.occurred_at.FromMicroseconds(occurred_at)

"""The event feed: nobody is held up by a slow watcher, and a slow watcher misses nothing."""

from __future__ import annotations

import asyncio

from hangar.core.v1.identifiers_pb2 import RunIdentifier
from services.ledger.queries.events import EventRecord
from services.scheduler import feed as feed_module
from services.scheduler.feed import EventFeed
from services.scheduler.recording import Change
from services.scheduler.tests.backend import eventually

RUN = RunIdentifier(project="p", domain="d", name="run")


class Stream:
    """A feed, and the ledger that it falls back to."""

    def __init__(self) -> None:
        self.reads = 0
        self.stored: list[EventRecord] = []
        self.feed = EventFeed(0, self._read)

    async def _read(self, after: int, limit: int) -> list[EventRecord]:
        self.reads += 1
        return [each for each in self.stored if each.cursor > after][:limit]

    def commit(self, count: int) -> None:
        """Adds events; every cursor is left out that a lease's end would take."""
        start = self.feed.cursor
        cursors = range(start + 1, start + 1 + 2 * count, 2)
        self.stored += [EventRecord(each, "p", "d", "run", "a0", 1, 0, each, "") for each in cursors]
        changes = [Change(each, RUN, "a0", 1, 0, each, "") for each in cursors]
        self.feed.publish(changes, start + 2 * count)


async def collect(stream: Stream, after: int, until: int) -> list[int]:
    """The cursors that a watcher sees."""
    seen: list[int] = []
    async for response in stream.feed.watch(after):
        seen.extend(each.cursor for each in response.events)
        if response.cursor >= until:
            break
    return seen


async def test_a_watcher_that_fell_behind_catches_up_from_the_ledger(monkeypatch):
    """Who is further behind than what is in memory reads the ledger page by page, and then goes on live."""
    monkeypatch.setattr(feed_module, "_REMEMBERED", 10)
    monkeypatch.setattr(feed_module, "_PAGE", 7)
    stream = Stream()
    for _ in range(20):
        stream.commit(5)
    watching = asyncio.create_task(collect(stream, 0, 210))
    await eventually(lambda: stream.reads >= 3)
    stream.commit(5)
    assert await watching == [each.cursor for each in stream.stored]


async def test_watchers_in_memory_do_not_read_the_ledger():
    """Live watchers get what was committed, in order, without a query."""
    stream = Stream()
    watchers = [asyncio.create_task(collect(stream, 0, 60)) for _ in range(3)]
    for _ in range(3):
        stream.commit(10)
        await asyncio.sleep(0)
    for watcher in watchers:
        assert await watcher == [each.cursor for each in stream.stored]
    assert stream.reads == 0


async def test_close_ends_watches():
    """A watcher that waits ends when the feed is closed."""
    stream = Stream()
    watching = asyncio.create_task(collect(stream, 0, 10))
    await asyncio.sleep(0)
    stream.feed.close()
    assert await watching == []

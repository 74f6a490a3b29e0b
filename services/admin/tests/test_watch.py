import asyncio

import pytest

from hangar.core.v1.identifiers_pb2 import ActionIdentifier, RunIdentifier
from hangar.core.v1.phase_pb2 import Phase
from hangar.scheduler.v1.event_pb2 import Event
from hangar.scheduler.v1.scheduler_service_pb2 import WatchEventsResponse
from services.admin.watch import ChangeFeed
from services.common.errors import Unavailable

TOPIC = ("p", "d", "r")


class Source:
    """An event stream that a test feeds. None breaks it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[list[Event] | None] = asyncio.Queue()
        self.asked: list[int | None] = []
        self._cursor = 0

    async def subscribe(self, after):
        self.asked.append(after)
        yield WatchEventsResponse(cursor=self._cursor)
        while (events := await self.queue.get()) is not None:
            self._cursor += len(events)
            yield WatchEventsResponse(events=events, cursor=self._cursor)
        raise Unavailable("broken on purpose")


def event(action="a1", phase=Phase.PHASE_RUNNING, run="r"):
    """Returns an event of the run."""
    identifier = ActionIdentifier(run=RunIdentifier(project="p", domain="d", name=run), name=action)
    return Event(action=identifier, phase=phase)


@pytest.fixture
async def source():
    """A source that nobody follows yet."""
    return Source()


@pytest.fixture
async def feed(source):
    """A feed that follows the source."""
    feed = ChangeFeed(source.subscribe)
    await feed.start()
    await asyncio.wait_for(feed.connected.wait(), 30)
    yield feed
    await feed.stop()


async def wakes(watcher):
    """Waits for the watcher to wake."""
    await asyncio.wait_for(watcher.wait(), 30)


async def sleeps(watcher):
    """Says whether a watcher that nothing woke goes on waiting."""
    waiting = asyncio.ensure_future(watcher.wait())
    for _ in range(20):
        await asyncio.sleep(0)
    asleep = not waiting.done()
    waiting.cancel()
    return asleep


async def test_only_those_are_woken_who_watch_what_changed(feed, source):
    """An event wakes the watchers of its run and of its project and domain, and nobody else."""
    with feed.watch(TOPIC) as run, feed.watch(TOPIC[:2]) as domain, feed.watch(("p", "d", "other")) as other:
        await source.queue.put([event()])
        await wakes(run)
        await wakes(domain)
        assert await sleeps(other)


async def test_the_end_of_a_run_wakes_at_once(feed, source, monkeypatch):
    """One who rests for an hour is woken by the end of the run, and by nothing less."""
    monkeypatch.setattr("services.admin.watch._LONGEST", 3600.0)
    with feed.watch(TOPIC) as watcher:
        watcher._last -= 1000  # as if it had worked for long
        await source.queue.put([event()])
        assert await sleeps(watcher)
        await source.queue.put([event("a0", Phase.PHASE_SUCCEEDED)])
        await wakes(watcher)


async def test_a_broken_stream_is_continued_and_wakes_everybody(feed, source):
    """After a break the feed asks from its cursor on, and all watchers look for what they may have missed."""
    with feed.watch(TOPIC) as watcher:
        await source.queue.put([event(), event()])
        await wakes(watcher)
        await source.queue.put(None)
        await wakes(watcher)
        assert source.asked == [None, 2]


async def test_a_stop_ends_all_waits(feed):
    """Those who wait, and those who come later, are told that the service stops."""
    with feed.watch(TOPIC) as watcher:
        waiting = asyncio.ensure_future(watcher.wait())
        await asyncio.sleep(0)
        await feed.stop()
        with pytest.raises(Unavailable, match="stopping"):
            await asyncio.wait_for(waiting, 30)
        with feed.watch(TOPIC) as late, pytest.raises(Unavailable):
            await asyncio.wait_for(late.wait(), 30)
    assert not feed._watchers


async def test_waiting_up_to_a_time_ends(feed, source):
    """Without a change the wait ends by its time, with one before."""
    with feed.watch(TOPIC) as watcher:
        await asyncio.wait_for(watcher.wait_up_to(0.01), 30)
        await source.queue.put([event()])
        await asyncio.wait_for(watcher.wait_up_to(1000), 30)

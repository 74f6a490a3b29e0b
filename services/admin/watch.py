"""Waking those who watch runs: one subscription to the scheduler for all of them.

A watcher is only told that something changed; it reads the latest state from the ledger by itself. So a slow
reader is never dropped and never holds up another: what changed meanwhile arrives together.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import structlog

from hangar.scheduler.v1.event_pb2 import Event
from hangar.scheduler.v1.scheduler_service_pb2 import WatchEventsResponse
from services.admin.convert import ROOT, TERMINAL
from services.common.errors import HangarError, Unavailable

_log = structlog.get_logger(__name__)

Topic: TypeAlias = tuple[str, ...]
"""``(project, domain)`` for all runs in it, ``(project, domain, run)`` for one run."""

Subscribe: TypeAlias = Callable[[int | None], AsyncIterator[WatchEventsResponse]]

_SHORTEST, _LONGEST = 0.05, 1.0
_REST = 4.0
_FIRST_RETRY, _LAST_RETRY = 0.05, 2.0
_NOTICE_SECONDS = 2.0


class Watcher:
    """One who watches a topic.

    It wakes at most every 50 ms and rests four times as long as its work took, up to a second: many changes arrive
    together, and watching stays cheap beside the work that is watched. When a run ends it wakes at once.
    """

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()
        self._last = asyncio.get_running_loop().time()
        self._closed = False

    async def wait(self) -> None:
        """Waits until something may have changed since the last call.

        Raises:
            Unavailable: The service is stopping.
        """
        called = asyncio.get_running_loop().time()
        await self._changed.wait()
        await self._rest(called)

    async def wait_up_to(self, seconds: float) -> None:
        """Waits like `wait`, but not much longer than some time."""
        called = asyncio.get_running_loop().time()
        if await _wait_for(self._changed, seconds):
            await self._rest(called)
        else:
            self._last = asyncio.get_running_loop().time()

    async def _rest(self, called: float) -> None:
        """Rests for what was done until `called`."""
        loop = asyncio.get_running_loop()
        worked = called - self._last
        remaining = max(self._last + _SHORTEST, called + min(_REST * worked, _LONGEST)) - loop.time()
        if remaining > 0 and not self._urgent.is_set():
            await _wait_for(self._urgent, remaining)
        if self._closed:
            message = "this service is stopping: connect again with the last cursor"
            raise Unavailable(message, reason="STOPPING")
        self._changed.clear()
        self._urgent.clear()
        self._last = loop.time()

    def wake(self, *, urgent: bool = False) -> None:
        """Ends the current or the next wait."""
        self._changed.set()
        if urgent:
            self._urgent.set()

    def close(self) -> None:
        """Ends every wait with an error."""
        self._closed = True
        self.wake(urgent=True)


class ChangeFeed:
    """Follows the scheduler's events, over its restarts, and wakes watchers.

    Args:
        subscribe: Gives the event stream after a cursor, or from now on for None.
    """

    def __init__(self, subscribe: Subscribe) -> None:
        self._subscribe = subscribe
        self._watchers: defaultdict[Topic, set[Watcher]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None
        self._noticing: asyncio.Task[None] | None = None
        self._closed = False
        self.connected = asyncio.Event()
        """Set while the event stream is open."""

    async def start(self) -> None:
        """Subscribes in the background."""
        self._task = asyncio.create_task(self._follow(), name="change feed")
        self._noticing = asyncio.create_task(self._notice(), name="scheduler's absence")

    async def stop(self) -> None:
        """Ends the subscription and every wait."""
        self._closed = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.close()
        tasks = [task for task in (self._task, self._noticing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @contextmanager
    def watch(self, topic: Topic) -> Iterator[Watcher]:
        """Gives a watcher of a topic. Enter it before reading the state that it shall be told changes of."""
        watcher = Watcher()
        if self._closed:
            watcher.close()
        self._watchers[topic].add(watcher)
        try:
            yield watcher
        finally:
            self._watchers[topic].discard(watcher)
            if not self._watchers[topic]:
                del self._watchers[topic]

    async def _notice(self) -> None:
        if not await _wait_for(self.connected, _NOTICE_SECONDS):
            _log.warning("the scheduler is not there; connecting again until it is")

    async def _follow(self) -> None:
        cursor: int | None = None
        delay = _FIRST_RETRY
        while True:
            try:
                async for response in self._subscribe(cursor):
                    if (
                        not self.connected.is_set()
                    ):  # what happened meanwhile is in the ledger: everyone looks
                        self.connected.set()
                        self._wake_all()
                    delay = _FIRST_RETRY
                    cursor = response.cursor
                    self._wake(response.events)
            except HangarError as error:
                if self.connected.is_set():
                    _log.warning("lost the scheduler's events; connecting again", cause=error.message)
            self.connected.clear()
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LAST_RETRY)

    def _wake(self, events: Iterable[Event]) -> None:
        if not self._watchers:
            return
        woken: dict[Topic, bool] = {}
        for event in events:
            run = event.action.run
            topic: Topic = (run.project, run.domain, run.name)
            ended = event.action.name == ROOT and event.phase in TERMINAL
            woken[topic] = woken.get(topic, False) or ended
        for topic, urgent in woken.items():
            for each in (topic, topic[:2]):
                for watcher in self._watchers.get(each, ()):
                    watcher.wake(urgent=urgent)

    def _wake_all(self) -> None:
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.wake()


async def _wait_for(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False

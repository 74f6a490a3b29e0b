"""An event loop of the user's own, such as that of `asyncio.run` in a sync task.

Its thread counts as blocked while the loop is idle, awaits children, and has neither timers nor file
descriptors of its own: then only a child's outcome, or a thread (which parking looks at by itself), can
make it go on.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

from flyte._runtime.idle import IdleSelector
from flyte._runtime.lease import Child, Lease, Outcome, TraceEnd

_OWN_DESCRIPTORS = 1
"""What an idle loop has registered: its wake-up pipe."""


class OwnLoop:
    """Waits for children on another loop than the worker's, and tells when nothing else goes on there.

    Of its fields, `_pending`, `_settled` and `_told` belong to the loop's thread; `_answered` and `_blocked`
    belong to the worker's main thread.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, main: asyncio.AbstractEventLoop, lease: Lease
    ) -> None:
        self._loop = loop
        self._main = main
        self._lease = lease
        self._pending = 0
        self._settled = 0
        self._told = False
        self._answered = 0
        self._blocked = False
        selector: Any = getattr(loop, "_selector", None)
        if isinstance(selector, selectors.BaseSelector):
            watched = selector if isinstance(selector, IdleSelector) else IdleSelector(selector)
            watched.on_iteration = self._end_iteration
            loop._selector = watched  # type: ignore[attr-defined]  # loops without one are never parked

    def waiter(self, child: Child | TraceEnd) -> asyncio.Future[Outcome | None]:
        """A future of this loop for the outcome of a child, or for a trace to be kept. Called on the loop."""
        future: asyncio.Future[Outcome | None] = self._loop.create_future()
        self._pending += 1

        def settle(outcome: Outcome | None) -> None:
            self._settled += 1
            self._told = False
            if not future.done():
                future.set_result(outcome)

        def resolve(outcome: Outcome | None) -> None:
            self._answered += 1
            self._unblock()
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(settle, outcome)

        child.resolve = resolve
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: asyncio.Future[Outcome | None]) -> None:
        self._pending -= 1

    def _end_iteration(self, idle: bool) -> bool:
        if idle and self._pending and not self._told and not self._has_sources():
            self._told = True
            self._main.call_soon_threadsafe(self._block, self._settled)
        return False

    def _has_sources(self) -> bool:
        timers = getattr(self._loop, "_scheduled", ())
        if any(not timer.cancelled() for timer in timers):
            return True
        selector: IdleSelector = self._loop._selector  # type: ignore[attr-defined]  # set in __init__
        return len(selector.get_map()) > _OWN_DESCRIPTORS

    def _block(self, settled: int) -> None:
        """Notes, on the main thread, that the loop is idle, unless an outcome is on its way to it."""
        if settled == self._answered and not self._blocked:
            self._blocked = True
            self._lease.blocked_threads += 1

    def _unblock(self) -> None:
        if self._blocked:
            self._blocked = False
            self._lease.blocked_threads -= 1

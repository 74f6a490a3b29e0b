"""One event loop on a thread of its own, on which all input and output of the SDK happens.

So a user's own event loop is never blocked, and blocking calls work whether or not one is running.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from flyte._loading import check_client_use
from flyte.errors import OnlyAsyncIOSupportedError

T = TypeVar("T")

_CLOSE_TIMEOUT_SECONDS = 2.0


class LoopThread:
    """A daemon thread that runs an event loop, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closers: list[Callable[[], Awaitable[None]]] = []

    def on_close(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Calls ``closer`` on the loop before the process ends."""
        self._closers.append(closer)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Runs a coroutine on the loop. Context variables of the caller are seen in it.

        Raises:
            flyte.errors.FeatureNotAvailableError: This process is a worker, which talks to no backend.
        """
        try:
            check_client_use()
        except BaseException:
            coroutine.close()
            raise
        return asyncio.run_coroutine_threadsafe(coroutine, self._started())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop and blocks until it is done. An interrupt cancels it.

        Raises:
            RuntimeError: When called on the loop's own thread, which would wait for itself.
        """
        if self.is_current():
            coroutine.close()
            raise RuntimeError(
                "a blocking call of the SDK was made on the SDK's own thread: await its .aio twin"
            )
        future = self.submit(coroutine)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def bridge(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop and awaits it from another loop. Cancellation is passed on.

        Raises:
            flyte.errors.OnlyAsyncIOSupportedError: What awaits it is no loop of asyncio.
        """
        if self.is_current():
            return await coroutine
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            coroutine.close()
            name = getattr(coroutine, "__qualname__", "a coroutine of flyte")
            raise OnlyAsyncIOSupportedError(
                f"{name} was awaited where no event loop of asyncio runs: call it without .aio, in "
                "a thread of your framework's (trio.to_thread.run_sync), or use asyncio.run"
            ) from None
        return await asyncio.wrap_future(self.submit(coroutine))

    def is_current(self) -> bool:
        """True on the loop's own thread."""
        return self._thread is threading.current_thread()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(loop,), name="flyte-io", daemon=True)
                self._loop = loop
                self._thread.start()
            return self._loop

    def close(self) -> None:
        """Closes what was opened on the loop, then ends the thread."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None or not thread.is_alive():
            return
        future = asyncio.run_coroutine_threadsafe(self._close_all(), loop)
        concurrent.futures.wait([future], timeout=_CLOSE_TIMEOUT_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_CLOSE_TIMEOUT_SECONDS)

    async def _close_all(self) -> None:
        current = asyncio.current_task()
        pending = [task for task in asyncio.all_tasks() if task is not current]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await asyncio.gather(*(closer() for closer in self._closers), return_exceptions=True)

    def forget(self) -> None:
        """Drops everything without closing it: in a forked child the thread does not exist."""
        self._lock = threading.Lock()
        self._loop = None
        self._thread = None
        self._closers = []


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


LOOP = LoopThread()
atexit.register(LOOP.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=LOOP.forget)

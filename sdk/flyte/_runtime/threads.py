"""Threads for the sync code of leases."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from flyte._runtime.lease import current_lease

P = ParamSpec("P")
T = TypeVar("T")
Job = tuple[Context, Callable[[], None]]


class SlotThread(threading.Thread):
    """Runs one sync attempt at a time, and is used again for the next."""

    def __init__(self, pool: SlotThreads) -> None:
        super().__init__(name="flyte-slot", daemon=True)
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        self._pool = pool
        self._current: Callable[[], None] | None = None
        self._guard = threading.Lock()

    def run(self) -> None:
        """Runs jobs for ever; a job handles its own exceptions."""
        while True:
            context, job = self.jobs.get()
            self._work(context, job)
            del context, job
            self._pool.idle.append(self)

    def _work(self, context: Context, job: Callable[[], None]) -> None:
        """Runs one job; when this returns no interruption of it can come any more."""
        begun = False
        while True:
            try:
                if not begun:
                    begun = True
                    self._current = job
                    context.run(job)
                with self._guard:
                    self._current = None
                    _raise_in_thread(self.ident, None)
                return
            except BaseException:  # noqa: BLE001, S112 - an interruption that came when the job had ended already
                continue

    def interrupt(self, job: Callable[[], None], error: type[BaseException]) -> None:
        """Makes a job raise an exception when it next runs Python code; does nothing when it has ended."""
        with self._guard:
            if self._current is job:
                _raise_in_thread(self.ident, error)


class SlotThreads:
    """One thread per running sync attempt. `start` is called on the event loop."""

    def __init__(self) -> None:
        self.idle: list[SlotThread] = []
        self.all: set[threading.Thread] = set()

    def start(self, context: Context, job: Callable[[], None]) -> Callable[[type[BaseException]], None]:
        """Runs a job in a thread of its own, inside a context; gives what makes the job raise an exception."""
        try:
            thread = self.idle.pop()
        except IndexError:
            thread = SlotThread(self)
            thread.start()
            self.all.add(thread)
        thread.jobs.put((context, job))
        return partial(thread.interrupt, job)


class LeaseThreadPool(ThreadPoolExecutor):
    """The loop's default executor (`asyncio.to_thread`): counts what runs for which lease."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(thread_name_prefix="flyte-to-thread")
        self._loop = loop

    @property
    def threads(self) -> set[threading.Thread]:
        """The pool's threads, idle ones included."""
        return set(self._threads)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As in `ThreadPoolExecutor`."""
        future = super().submit(fn, *args, **kwargs)
        lease = current_lease.get()
        if lease is not None:
            lease.busy_threads += 1

            def ended(_: Future[Any]) -> None:
                self._loop.call_soon_threadsafe(lease.thread_ended)

            future.add_done_callback(ended)
        return future


def _raise_in_thread(thread_id: int | None, error: type[BaseException] | None) -> None:
    """Makes a thread raise an exception when it next runs Python code; None takes one back that is pending."""
    raised = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id or 0), raised)

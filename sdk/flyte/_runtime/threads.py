"""Threads for the sync code of leases."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
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

    def run(self) -> None:
        """Runs jobs for ever; a job handles its own exceptions."""
        while True:
            context, job = self.jobs.get()
            with suppress(BaseException):  # a kill that came when the job had ended already
                context.run(job)
            del context, job
            self._pool.idle.append(self)


class SlotThreads:
    """One thread per running sync attempt. `start` is called on the event loop."""

    def __init__(self) -> None:
        self.idle: list[SlotThread] = []
        self.all: set[threading.Thread] = set()

    def start(self, context: Context, job: Callable[[], None]) -> int | None:
        """Runs a job in a thread of its own, inside a context; gives the thread's identifier."""
        try:
            thread = self.idle.pop()
        except IndexError:
            thread = SlotThread(self)
            thread.start()
            self.all.add(thread)
        thread.jobs.put((context, job))
        return thread.ident


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


def raise_in_thread(thread_id: int, error: type[BaseException]) -> None:
    """Makes a thread raise an exception when it next runs Python code."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(error))

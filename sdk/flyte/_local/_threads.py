"""Threads that sync tasks run in, one each, so that a time limit or an abort can leave them behind."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context
from typing import Generic, TypeVar

T = TypeVar("T")


class Stopped(BaseException):
    """Raised inside a thread whose result nobody waits for any more."""


class TaskThread(Generic[T]):
    """Runs one function in a daemon thread.

    Attributes:
        future: The function's result or exception.
    """

    def __init__(self, context: Context, function: Callable[[], T]) -> None:
        self.future: Future[T] = Future()
        self._function = function
        self._lock = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name="flyte-local-task", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Interrupt the function at its next Python instruction. Does not wait for it."""
        with self._lock:
            if not self.future.done() and not self._stopped and self._thread.ident is not None:
                self._stopped = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread.ident), ctypes.py_object(Stopped)
                )

    def _run(self) -> None:
        try:
            self._settle()
        except Stopped as stopped:  # it came when the function was done already
            if not self.future.done():
                self.future.set_exception(stopped)

    def _settle(self) -> None:
        try:
            result = self._function()
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is its result
            with self._lock:
                self.future.set_exception(error)
        else:
            with self._lock:
                self.future.set_result(result)

"""The threads of sync attempts."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time

from flyte._runtime.threads import SlotThreads

SECONDS = 30


def until_idle(slots: SlotThreads) -> None:
    """Waits until a thread is there for the next job."""
    deadline = time.monotonic() + SECONDS
    while not slots.idle:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_an_interruption_ends_the_job_that_runs() -> None:
    """Sync code that is stopped sees the exception."""
    slots = SlotThreads()
    begun, caught = threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        try:
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                time.sleep(0.001)
        except asyncio.CancelledError:
            caught.set()

    interrupt = slots.start(contextvars.copy_context(), job)
    assert begun.wait(SECONDS)
    interrupt(asyncio.CancelledError)
    assert caught.wait(SECONDS)


def test_an_interruption_of_a_job_that_has_ended_does_not_reach_the_next_one() -> None:
    """A stop that comes too late costs no other attempt of the thread."""
    slots = SlotThreads()
    for _ in range(50):
        first, second = threading.Event(), threading.Event()
        interrupt = slots.start(contextvars.copy_context(), first.set)
        assert first.wait(SECONDS)
        interrupt(asyncio.CancelledError)
        until_idle(slots)
        interrupt(asyncio.CancelledError)
        slots.start(contextvars.copy_context(), second.set)
        interrupt(asyncio.CancelledError)
        assert second.wait(SECONDS)
        until_idle(slots)
    assert len(slots.all) == 1

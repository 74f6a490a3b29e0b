"""Time that a task remembers: what it is told once it is told again when it is tried again.

Each function has an `.aio` twin to await in asynchronous code.

Example:
    ```python
    @env.task
    async def remind(address: str) -> str:
        started = await flyte.durable.now.aio()
        await flyte.durable.sleep.aio(timedelta(days=3))   # the task holds no processor time meanwhile
        return await send(address, f"You asked me on {started:%A}.")
    ```
"""

from __future__ import annotations

import asyncio
import time as _clock
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from flyte._context import current_controller
from flyte._pairs import paired
from flyte._step import Step
from flyte._trace import traced

if TYPE_CHECKING:
    from flyte._types import Interface

__all__ = ["now", "sleep", "time"]

LONGEST_SLEEP = timedelta(days=365 * 10)
"""Longest sleep and longest time limit of a condition."""


def seconds_of(duration: float | timedelta, what: str) -> float:
    """A duration in seconds.

    Raises:
        TypeError: It is neither a number nor a timedelta.
        ValueError: It is negative, or longer than ten years.
    """
    if isinstance(duration, bool) or not isinstance(duration, int | float | timedelta):
        raise TypeError(f"{what} must be a number of seconds or a timedelta, not {duration!r}")
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not 0 <= seconds <= LONGEST_SLEEP.total_seconds():
        raise ValueError(f"{what} must be 0 seconds to {LONGEST_SLEEP.days} days, not {duration!r}")
    return seconds


def _sleep_interface() -> Interface:
    from flyte._types import Interface

    def sleep(seconds: float) -> None: ...

    return Interface.from_function(sleep)


_SLEEP = Step("sleep", "flyte.durable.sleep", "sleep", _sleep_interface, ("flyte.durable", "sleep"))


async def _sleep(seconds: float | timedelta) -> None:
    duration = seconds_of(seconds, "seconds")
    controller = current_controller()
    if controller is None:
        await asyncio.sleep(duration)
    else:
        await controller.pause(_SLEEP, {"seconds": duration}, duration)


@paired(_sleep)
def sleep(seconds: float | timedelta) -> None:
    """Sleep; a task that is tried again meanwhile sleeps only for what is left.

    The time is kept by the scheduler, across restarts of everything, and the task gives its processor time back.
    Outside a task it is a plain sleep.

    Args:
        seconds: How long, in seconds or as a timedelta; up to ten years.

    Raises:
        TypeError: It is no duration.
        ValueError: It is negative or too long.
        flyte.errors.ActionAbortedError: Somebody aborted the sleep.
    """
    duration = seconds_of(seconds, "seconds")
    controller = current_controller()
    if controller is None:
        _clock.sleep(duration)
    else:
        controller.pause_sync(_SLEEP, {"seconds": duration}, duration)


def _time_interface() -> Interface:
    from flyte._types import Interface

    def time() -> float:
        return 0.0

    return Interface.from_function(time)


_TIME = Step("trace", "flyte.durable.time", "time", _time_interface, ("flyte.durable", "time"))


async def _read_clock() -> float:
    return _clock.time()


_recorded_time = traced(_TIME, _clock.time)
_recorded_time_async = traced(_TIME, _read_clock)


async def _time_async() -> float:
    return float(await _recorded_time_async())


@paired(_time_async)
def time() -> float:
    """Seconds since the epoch; a task that is tried again gets what it got before.

    Outside a task it is `time.time`.
    """
    return float(_recorded_time())


async def _now_async() -> datetime:
    return datetime.fromtimestamp(await _time_async(), timezone.utc)


@paired(_now_async)
def now() -> datetime:
    """The time in UTC, with its zone; a task that is tried again gets what it got before."""
    return datetime.fromtimestamp(time(), timezone.utc)

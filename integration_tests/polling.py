"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_SECONDS = 0.05


def until(probe: Callable[[], T], what: str, seconds: float = 60) -> T:
    """Asks again and again until the answer is true, and returns it.

    Args:
        probe: What to ask.
        what: What is waited for, for people.
        seconds: Longest time to wait.

    Raises:
        AssertionError: The deadline has passed; it shows the last answer.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s, last answer was {answer!r}")
        time.sleep(_PAUSE_SECONDS)

"""Time as an argument, so that nothing that decides needs to sleep in tests."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Returns the current time in UTC."""

    def monotonic(self) -> float:
        """Returns seconds that never run backwards, from an arbitrary start."""


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """Returns the current time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Returns seconds that never run backwards, from an arbitrary start."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to.

    Args:
        start: First value of `now`; an aware time. The default is a fixed time in 2026.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime(2026, 1, 1, tzinfo=UTC)
        self._elapsed = 0.0

    def now(self) -> datetime:
        """Returns the current time in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Returns seconds that the clock was moved by since it was made."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Moves the clock forward."""
        self._now += timedelta(seconds=seconds)
        self._elapsed += seconds

"""Retries of calls that a backend did not answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

_FIRST_SECONDS = 0.1
_MOST_SECONDS = 2.0


@dataclass(frozen=True)
class Patience:
    """How long calls are tried again.

    Attributes:
        first: Seconds, when the backend has never answered: an address is rather wrong than slow.
        later: Seconds, once it has answered: it is being restarted.
        watching: Seconds, while a run is waited for, which goes on meanwhile.
    """

    first: float = 6.0
    later: float = 60.0
    watching: float = 300.0


class Backoff:
    """Waits between tries: doubling, with jitter, until a deadline."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._delays = _delays()

    async def wait(self) -> bool:
        """Waits before the next try. False when no time is left for one."""
        delay = next(self._delays)
        if time.monotonic() + delay > self._deadline:
            return False
        await asyncio.sleep(delay)
        return True


def _delays() -> Iterator[float]:
    delay = _FIRST_SECONDS
    while True:
        yield delay * random.uniform(0.75, 1.25)
        delay = min(delay * 2, _MOST_SECONDS)

"""Keeps workers below their disk limits, by looking at what they have written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from services.executor.engines.docker.directories import size_on_disk


@dataclass(frozen=True, slots=True)
class DiskLimit:
    """What a worker may write.

    Attributes:
        worker_id: The worker.
        directory: Its directory. It can write nowhere else but into memory.
        limit: Bytes.
    """

    worker_id: int
    directory: Path
    limit: int


class DiskWatch:
    """Looks at the directories of workers at intervals.

    Args:
        interval: Seconds between two looks.
        limits: Says which workers live and are limited.
        evict: Ends a worker, with the reason.
    """

    def __init__(
        self,
        interval: float,
        limits: Callable[[], list[DiskLimit]],
        evict: Callable[[int, str], Awaitable[None]],
    ) -> None:
        self._interval = interval
        self._limits = limits
        self._evict = evict

    async def run(self) -> None:
        """Watches until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            for each in self._limits():
                used = await asyncio.to_thread(size_on_disk, each.directory)
                if used > each.limit:
                    await self._evict(each.worker_id, over_limit(used, each.limit))


def over_limit(used: int, limit: int) -> str:
    """The reason, in words."""
    return (
        f"used {used} bytes of disk, more than its limit of {limit}: ask for more disk in the task environment, "
        "or write less"
    )

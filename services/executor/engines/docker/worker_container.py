"""What is known of one worker of the Docker engine, in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from services.executor.engines.base import WorkerExit


@dataclass(eq=False)
class WorkerContainer:
    """A worker whose end was not reported yet.

    Attributes:
        worker_id: The worker.
        name: Name of its container.
        directory: Its directory.
        disk_bytes: What it may write, 0 when that is not limited.
        log: Name of the file for what a program prints, empty for a worker of the SDK.
        connection: Which connection to the engine's events there was when it started.
        ended: Done with the exit once it is reported.
        kill_reason: Why it is being killed, empty when it is not.
        evicted: Whether that is because of a limit.
        frozen: Whether `freeze` stopped it.
        is_settling: Whether its end is being looked into.
        copying: Held while its output is copied.
    """

    worker_id: int
    name: str
    directory: Path
    disk_bytes: int = 0
    log: str = ""
    connection: int = 0
    ended: asyncio.Future[WorkerExit] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    kill_reason: str = ""
    evicted: bool = False
    frozen: bool = False
    is_settling: bool = False
    copying: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_program(self) -> bool:
        """Whether it is a program of its image: it has no supervisor, and does not connect."""
        return bool(self.log)

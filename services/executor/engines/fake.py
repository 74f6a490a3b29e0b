"""An engine that runs nothing: workers live in memory, and tests say how and when they end."""

from __future__ import annotations

import asyncio
import platform
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.executor.engines.base import (
    AdoptedWorker,
    EngineCapacity,
    ImageDefinition,
    ImageFailedError,
    PreparedImage,
    Progress,
    UnknownWorkerError,
    WorkerExit,
    WorkerSpec,
    WorkerStats,
)

_CAPACITY = EngineCapacity(
    cpu_millis=4000, memory_bytes=16 * 2**30, disk_bytes=100 * 2**30, platform="linux/amd64"
)


@dataclass
class FakeHost:
    """What outlives an engine: the workers of a host, by number. Give one to two engines to test adoption.

    Attributes:
        running: Workers that live.
        ended: Exits of workers that no engine was told to forget.
        known: Every worker that was ever launched here.
        signals: Signals that were sent, in order: worker and number.
        frozen: Workers that are frozen.
    """

    running: dict[int, WorkerSpec] = field(default_factory=dict)
    ended: dict[int, WorkerExit] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)
    signals: list[tuple[int, int]] = field(default_factory=list)
    frozen: set[int] = field(default_factory=set)


class FakeEngine:
    """See `services.executor.engines.base.Engine`. It has no clock: nothing happens until a test says so.

    Args:
        host: The workers; a host of its own when not given.
        capacity: What `inventory` answers.
        on_launch: Called with each worker that is launched, for tests that play its part.
    """

    def __init__(
        self,
        host: FakeHost | None = None,
        capacity: EngineCapacity = _CAPACITY,
        on_launch: Callable[[WorkerSpec], None] | None = None,
    ) -> None:
        self.host = host if host is not None else FakeHost()
        self.failing_images: dict[str, ImageFailedError] = {}
        """Errors that `ensure_image` raises, by digest."""
        self.launches: list[WorkerSpec] = []
        """Workers that were started, in order."""
        self._capacity = capacity
        self._on_launch = on_launch
        self._exits: asyncio.Queue[WorkerExit] = asyncio.Queue()

    @property
    def name(self) -> str:
        """See `Engine`."""
        return "fake"

    # -- for tests -----------------------------------------------------------------------------------------

    def end(
        self, worker_id: int, code: int | None = 0, *, signal: int | None = None, oom: bool = False
    ) -> None:
        """Ends a worker by itself.

        Raises:
            UnknownWorkerError: It does not live.
        """
        self._end(WorkerExit(worker_id, None if signal is not None else code, signal=signal, oom=oom))

    def _end(self, ended: WorkerExit) -> None:
        self._spec(ended.worker_id)
        del self.host.running[ended.worker_id]
        self.host.frozen.discard(ended.worker_id)
        self.host.ended[ended.worker_id] = ended
        self._exits.put_nowait(ended)

    def _spec(self, worker_id: int) -> WorkerSpec:
        try:
            return self.host.running[worker_id]
        except KeyError:
            raise UnknownWorkerError(f"this host has no worker {worker_id} that lives") from None

    # -- the engine ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """See `Engine`."""

    async def close(self) -> None:
        """See `Engine`."""

    async def inventory(self) -> EngineCapacity:
        """See `Engine`."""
        return replace(self._capacity, platform=self._capacity.platform or platform.system().lower())

    async def ensure_image(self, definition: ImageDefinition, progress: Progress) -> PreparedImage:
        """See `Engine`."""
        if definition.digest in self.failing_images:
            raise self.failing_images[definition.digest]
        progress(f"prepared {definition.digest or 'the default image'}")
        name = definition.digest or "default"
        return PreparedImage(name, name, record=f"{name}@sha256:1")

    async def launch(self, spec: WorkerSpec) -> None:
        """See `Engine`."""
        if spec.worker_id in self.host.known:
            return
        self.host.known.add(spec.worker_id)
        self.host.running[spec.worker_id] = spec
        self.launches.append(spec)
        if self._on_launch is not None:
            self._on_launch(spec)

    async def adopt(self) -> list[AdoptedWorker]:
        """See `Engine`."""
        for ended in self.host.ended.values():
            self._exits.put_nowait(ended)
        return [
            AdoptedWorker(spec.worker_id, spec.directory, spec.token, spec.image.record)
            for spec in self.host.running.values()
        ]

    async def kill(self, worker_id: int, reason: str) -> WorkerExit:
        """See `Engine`."""
        ended = WorkerExit(worker_id, None, signal=9, killed=True, reason=reason)
        self._end(ended)
        return ended

    async def signal(self, worker_id: int, number: int) -> None:
        """See `Engine`. SIGKILL ends the worker; other signals are noted."""
        self._spec(worker_id)
        self.host.signals.append((worker_id, number))
        if number == 9:
            self._end(WorkerExit(worker_id, None, signal=9))

    async def freeze(self, worker_id: int) -> None:
        """See `Engine`."""
        self._spec(worker_id)
        self.host.frozen.add(worker_id)

    async def thaw(self, worker_id: int) -> None:
        """See `Engine`."""
        self._spec(worker_id)
        self.host.frozen.discard(worker_id)

    async def stats(self, worker_id: int) -> WorkerStats:
        """See `Engine`."""
        self._spec(worker_id)
        return WorkerStats(memory_bytes=0, cpu_millis=0, processes=1)

    async def events(self) -> AsyncIterator[WorkerExit]:
        """See `Engine`."""
        while True:
            yield await self._exits.get()

    async def forget(self, worker_id: int) -> None:
        """See `Engine`."""
        if worker_id not in self.host.running:
            self.host.known.add(worker_id)
            self.host.ended.pop(worker_id, None)
            directory = next((spec.directory for spec in self.launches if spec.worker_id == worker_id), None)
            if directory is not None:
                await asyncio.to_thread(shutil.rmtree, Path(directory), ignore_errors=True)

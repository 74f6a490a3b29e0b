"""An engine for tests whose workers are coroutines of the test."""

import asyncio
from collections.abc import AsyncIterator

from services.executor.engines.base import (
    AdoptedWorker,
    EngineCapacity,
    ImageDefinition,
    ImageFailedError,
    LaunchFailedError,
    PreparedImage,
    Progress,
    UnknownWorkerError,
    WorkerExit,
    WorkerSpec,
    WorkerStats,
)
from services.executor.tests.worker_fake import WorkerFake


class World:
    """What outlives an executor: the workers of a host and how they ended."""

    def __init__(self) -> None:
        self.workers: dict[int, WorkerFake] = {}
        self.specs: dict[int, WorkerSpec] = {}
        self.unreported: dict[int, WorkerExit] = {}
        self.launches: list[int] = []
        self.forgotten: list[int] = []
        self.image_failure = ""
        self.launch_failure = ""

    async def worker(self, worker_id: int) -> WorkerFake:
        """Waits for a worker to be launched."""
        from services.executor.tests.scheduler_fake import until

        await until(lambda: worker_id in self.workers, f"worker {worker_id}")
        return self.workers[worker_id]

    async def close(self) -> None:
        """Ends all workers."""
        for worker in self.workers.values():
            await worker.end()


class EngineFake:
    """Starts `WorkerFake`s. One per executor; the world stays."""

    name = "fake"

    def __init__(self, world: World) -> None:
        self._world = world
        self._events: asyncio.Queue[WorkerExit] = asyncio.Queue()
        self._open = True

    async def start(self) -> None: ...

    async def close(self) -> None:
        self._open = False

    async def inventory(self) -> EngineCapacity:
        return EngineCapacity(4000, 1 << 33, 1 << 34, "linux/amd64")

    async def ensure_image(self, definition: ImageDefinition, progress: Progress) -> PreparedImage:
        progress("installing")
        if self._world.image_failure:
            raise ImageFailedError("UnsupportedLayer", self._world.image_failure)
        return PreparedImage("key", "/usr")

    async def launch(self, spec: WorkerSpec) -> None:
        if self._world.launch_failure:
            raise LaunchFailedError(self._world.launch_failure)
        if spec.worker_id in self._world.specs:
            return
        self._world.launches.append(spec.worker_id)
        self._world.specs[spec.worker_id] = spec
        self._world.workers[spec.worker_id] = WorkerFake(spec.worker_id, spec.directory, spec.token)

    async def adopt(self) -> list[AdoptedWorker]:
        for ended in self._world.unreported.values():
            self._events.put_nowait(ended)
        return [
            AdoptedWorker(worker_id, worker.directory, worker.token)
            for worker_id, worker in self._world.workers.items()
        ]

    async def kill(self, worker_id: int, reason: str) -> WorkerExit:
        if worker_id not in self._world.workers:
            raise UnknownWorkerError(worker_id)
        ended = WorkerExit(worker_id, None, signal=9, killed=True, reason=reason)
        await self.exit(ended)
        return ended

    async def exit(self, ended: WorkerExit) -> None:
        """A worker ends."""
        worker = self._world.workers.pop(ended.worker_id)
        await worker.end()
        self._world.unreported[ended.worker_id] = ended
        if self._open:
            self._events.put_nowait(ended)

    async def signal(self, worker_id: int, number: int) -> None:
        raise UnknownWorkerError(worker_id)

    async def freeze(self, worker_id: int) -> None:
        raise UnknownWorkerError(worker_id)

    async def thaw(self, worker_id: int) -> None:
        raise UnknownWorkerError(worker_id)

    async def stats(self, worker_id: int) -> WorkerStats:
        raise UnknownWorkerError(worker_id)

    async def events(self) -> AsyncIterator[WorkerExit]:
        while True:
            yield await self._events.get()

    async def forget(self, worker_id: int) -> None:
        self._world.unreported.pop(worker_id, None)
        self._world.forgotten.append(worker_id)

"""An engine for tests whose workers are clients of the real socket, in the event loop of the test."""

from services.executor.engines.base import (
    ImageDefinition,
    ImageFailedError,
    LaunchFailedError,
    PreparedImage,
    Progress,
    WorkerExit,
    WorkerSpec,
)
from services.executor.engines.fake import FakeEngine, FakeHost
from services.executor.tests.scheduler_fake import until
from services.executor.tests.worker_fake import WorkerFake


class World:
    """What outlives an executor: the workers of a host and how they ended."""

    def __init__(self) -> None:
        self.host = FakeHost()
        self.workers: dict[int, WorkerFake] = {}
        self.launches: list[int] = []
        self.forgotten: list[int] = []
        self.image_failure = ""
        self.is_outage = False
        self.launch_failure = ""
        self.defect: Exception | None = None
        """What launches raise that no engine should."""
        self.hold_connections = False

    async def worker(self, worker_id: int) -> WorkerFake:
        """Waits for a worker to be launched."""
        await until(lambda: worker_id in self.workers, f"worker {worker_id}")
        return self.workers[worker_id]

    def close(self) -> None:
        """Ends all workers."""
        for worker in self.workers.values():
            worker.end()


class WorldEngine(FakeEngine):
    """Starts `WorkerFake`s. One per executor; the world stays."""

    def __init__(self, world: World) -> None:
        super().__init__(world.host)
        self._world = world

    async def ensure_image(self, definition: ImageDefinition, progress: Progress) -> PreparedImage:
        if self._world.image_failure:
            progress("installing")
            code = "PackagesUnavailable" if self._world.is_outage else "UnsupportedLayer"
            raise ImageFailedError(code, self._world.image_failure, is_system=self._world.is_outage)
        return await super().ensure_image(definition, progress)

    async def launch(self, spec: WorkerSpec) -> None:
        if self._world.launch_failure:
            raise LaunchFailedError(self._world.launch_failure)
        if self._world.defect:
            raise self._world.defect
        if spec.worker_id not in self.host.known:
            self._world.launches.append(spec.worker_id)
            self._world.workers[spec.worker_id] = WorkerFake(
                spec.worker_id, spec.directory, spec.token, connects=not self._world.hold_connections
            )
        await super().launch(spec)

    def exit(self, ended: WorkerExit) -> None:
        """A worker ends, in any way."""
        self._end(ended)

    def _end(self, ended: WorkerExit) -> None:
        super()._end(ended)
        self._world.workers.pop(ended.worker_id).end()

    async def forget(self, worker_id: int) -> None:
        await super().forget(worker_id)
        self._world.forgotten.append(worker_id)

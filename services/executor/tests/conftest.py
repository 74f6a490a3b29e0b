"""An executor with a scheduler and an engine that tests control."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.executor.app import ExecutorApp
from services.executor.holdings import Holdings
from services.executor.settings import Settings
from services.executor.tests.engine_fake import World, WorldEngine
from services.executor.tests.scheduler_fake import SchedulerFake
from services.executor.tests.workshop import Workshop


class Bench:
    """One host: an executor that can be stopped and started again, and everything around it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.scheduler = SchedulerFake()
        self.world = World()
        self.engine = WorldEngine(self.world)
        self.executor: ExecutorApp | None = None
        self.options: dict[str, object] = {"kill_grace": 0.2, "log_flush_interval": 0.05}

    async def start(self) -> None:
        """Starts an executor with a new engine and waits for its session."""
        sessions = self.scheduler.sessions
        await self.start_without_session()
        await self.scheduler.connected(sessions + 1)

    async def start_without_session(self) -> None:
        """Starts an executor with a new engine."""
        self.engine = WorldEngine(self.world)
        self.executor = ExecutorApp(self.settings, self.engine)
        await self.executor.start()

    @property
    def settings(self) -> Settings:
        """Settings of its executors."""
        return Settings.load(
            data_dir=self.directory, node="n1", scheduler=self.scheduler.address, **self.options
        )

    @property
    def app(self) -> ExecutorApp:
        """The executor that runs."""
        assert self.executor is not None
        return self.executor

    @property
    def holdings(self) -> Holdings:
        """What it holds."""
        return self.app._started().holdings

    async def stop(self) -> None:
        """Stops the executor; workers go on."""
        if self.executor is not None:
            await self.executor.stop()
            self.executor = None

    def blob(self, key: str) -> bytes:
        """Reads an object of the blob store."""
        return (self.directory / "blobs" / key).read_bytes()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A running executor and what is around it."""
    made = Bench(tmp_path)
    await made.scheduler.start()
    await made.start()
    yield made
    await made.stop()
    made.world.close()
    await made.scheduler.stop()


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Nothing but one wheel."""
    (tmp_path / "environments").mkdir()
    return Workshop(tmp_path)

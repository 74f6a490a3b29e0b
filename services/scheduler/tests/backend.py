"""A scheduler served on loopback, for tests that go through real streams."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc.aio

from hangar.core.v1.identifiers_pb2 import ActionIdentifier, RunIdentifier
from hangar.core.v1.phase_pb2 import Phase
from hangar.core.v1.task_spec_pb2 import TaskSpec
from hangar.scheduler.v1 import scheduler_service_pb2 as messages
from hangar.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from services.common.channel import connect
from services.common.db import reader_engine
from services.common.serve import build_server
from services.ledger.queries import actions, attempts, runs
from services.scheduler.app import SchedulerApp
from services.scheduler.settings import Settings
from services.scheduler.tests.fake_executor import FakeExecutor, document, make_spec

PATIENCE = 30.0
TERMINAL = {Phase.PHASE_SUCCEEDED, Phase.PHASE_FAILED, Phase.PHASE_ABORTED, Phase.PHASE_TIMED_OUT}


async def eventually(condition: Callable[[], Any]) -> Any:
    """Waits until a condition holds and returns what it returned."""
    async with asyncio.timeout(PATIENCE):
        while not (value := condition()):  # noqa: ASYNC110  # what is waited for is in the database
            await asyncio.sleep(0.005)
    return value


def run_id(name: str) -> RunIdentifier:
    """An identifier of a run of the default project."""
    return RunIdentifier(project="default", domain="development", name=name)


class Backend:
    """One scheduler process, as far as others see it."""

    def __init__(
        self, database: str, *, may_wait: bool = False, read_from: str = "", **settings: Any
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="hangar-scheduler-")
        self.fatal: list[BaseException] = []
        given = {"data_dir": Path(self._directory.name), "database": database, **settings}
        self.app = SchedulerApp(Settings.load(**given), self.fatal.append)
        self.server = build_server(self.app.registrations)
        self.serving = asyncio.Event()
        """Set when it does the work."""
        self.channel: grpc.aio.Channel
        self.stub: Any = None
        self._may_wait = may_wait
        self._reader = reader_engine(read_from or database)

    async def start(self) -> None:
        """Starts and serves; with `may_wait` it may be a standby at first."""
        port = self.server.bind("127.0.0.1", 0)
        if self._may_wait:
            self.app.announce(self._announced)
        await self.app.start()
        await self.server.start(serving=not self._may_wait or self.serving.is_set())
        self.channel = connect(f"127.0.0.1:{port}")
        self.stub = SchedulerServiceStub(self.channel)

    async def stop(self) -> None:
        """Stops. What is not committed is lost, as in a crash."""
        if self.stub is not None:
            await self.channel.close()
        await self.server.stop(0)
        await self.app.stop()
        self._reader.dispose()
        self._directory.cleanup()

    async def _announced(self, serving: bool) -> None:
        names = [each.service for each in self.app.registrations]
        await self.server.set_serving(names, serving)
        (self.serving.set if serving else self.serving.clear)()

    async def create_run(self, name: str = "run", task: TaskSpec | None = None, text: bytes = b"{}") -> bool:
        """Creates a run."""
        request = messages.CreateRunRequest(
            run=run_id(name), task=task or make_spec("env.root"), inputs=document(text)
        )
        answer = await self.stub.CreateRun(request)
        return bool(answer.created)

    def executor(self, **options: Any) -> FakeExecutor:
        """A host that is not connected yet."""
        return FakeExecutor(self.channel, **options)

    def run(self, name: str = "run") -> runs.RunRecord:
        """A run as readers see it."""
        with self._reader.connect() as connection:
            found = runs.get_run(connection, "default", "development", name)
        assert found is not None
        return found

    def actions(self, name: str = "run") -> list[actions.ActionRecord]:
        """The actions of a run as readers see them."""
        with self._reader.connect() as connection:
            run = runs.get_run(connection, "default", "development", name)
            return actions.list_actions(connection, run.id, limit=100_000) if run else []

    def attempts(self, action_id: int) -> list[attempts.AttemptRecord]:
        """The attempts of an action."""
        with self._reader.connect() as connection:
            return attempts.list_attempts(connection, action_id)

    def read(self) -> Any:
        """A connection for reading."""
        return self._reader.connect()

    async def ended(self, name: str = "run") -> runs.RunRecord:
        """Waits until a run has ended."""
        await eventually(lambda: self.actions(name) and self.run(name).phase in TERMINAL)
        return self.run(name)


@contextlib.asynccontextmanager
async def serving(database: str, **settings: Any) -> AsyncIterator[Backend]:
    """A scheduler that serves."""
    backend = Backend(database, **settings)
    try:
        await backend.start()
        yield backend
    finally:
        await backend.stop()


def action(name: str, run: str = "run") -> ActionIdentifier:
    """An identifier of an action."""
    return ActionIdentifier(run=run_id(run), name=name)

"""Admin with a fake scheduler, over real sockets."""

import asyncio
import http.client
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from hangar.admin.v1 import (
    data_service_pb2_grpc,
    log_service_pb2_grpc,
    project_service_pb2_grpc,
    run_service_pb2_grpc,
    task_service_pb2_grpc,
)
from hangar.admin.v1 import run_service_pb2 as messages
from hangar.core.v1.identifiers_pb2 import ActionIdentifier, RunIdentifier
from hangar.core.v1.payload_pb2 import Payload
from hangar.core.v1.task_spec_pb2 import Code, RunContext, TaskSpec
from services.admin.app import AdminApp
from services.admin.settings import Settings
from services.admin.tests.fake_scheduler import FakeScheduler
from services.common.blobs import BlobStore
from services.common.channel import connect
from services.common.db import is_sqlite
from services.common.serve import build_server


@dataclass
class Answer:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class World:
    """Admin and what surrounds it."""

    app: AdminApp
    scheduler: FakeScheduler
    scheduler_port: int
    channel: Any
    blobs: BlobStore
    stubs: dict[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> Any:
        return run_service_pb2_grpc.RunServiceStub(self.channel)

    @property
    def tasks(self) -> Any:
        return task_service_pb2_grpc.TaskServiceStub(self.channel)

    @property
    def projects(self) -> Any:
        return project_service_pb2_grpc.ProjectServiceStub(self.channel)

    @property
    def logs(self) -> Any:
        return log_service_pb2_grpc.LogServiceStub(self.channel)

    @property
    def data(self) -> Any:
        return data_service_pb2_grpc.DataServiceStub(self.channel)

    async def create(self, name: str = "", **more: Any) -> RunIdentifier:
        """Creates a run and returns its identifier."""
        identifier: RunIdentifier = (await self.runs.CreateRun(self.create_request(name, **more))).run.id
        return identifier

    def create_request(
        self,
        name: str = "",
        *,
        task: str = "env.main",
        inputs: bytes = b'{"x":5}',
        version: str = "v1",
        **labels: str,
    ) -> messages.CreateRunRequest:
        """Returns a request for a run."""
        return messages.CreateRunRequest(
            id=RunIdentifier(project="default", domain="development", name=name),
            task=TaskSpec(name=task, short_name="main", environment="env", code=Code(version=version)),
            inputs=Payload(inline=inputs, digest="d"),
            context=RunContext(labels=labels),
        )

    def action(self, run: RunIdentifier, name: str = "a0") -> ActionIdentifier:
        """Returns the identifier of an action."""
        return ActionIdentifier(run=run, name=name)

    async def http(self, method: str, url: str, body: bytes | None = None, **headers: str) -> Answer:
        """Makes an HTTP request of admin; `url` may be a path."""
        return await asyncio.to_thread(self._http, method, url, body, headers)

    def _http(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        place = urlsplit(self.app.http_url)
        target = urlsplit(url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, target._replace(scheme="", netloc="").geturl(), body, named)
            response = connection.getresponse()
            found = {key.lower(): value for key, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()


@pytest.fixture
async def world(tmp_path, ledger_url, monkeypatch):
    """Admin that runs, and a scheduler that does as it is told."""
    monkeypatch.delenv("HANGAR_ADMIN_SCHEDULER", raising=False)
    scheduler = FakeScheduler(ledger_url)
    port = await scheduler.start()
    # PostgreSQL is shared with the ledger, as one database for all services is.
    databases = {"ledger": ledger_url, "database": "" if is_sqlite(ledger_url) else ledger_url}
    settings = Settings.load(data_dir=tmp_path, http_port=0, scheduler=f"127.0.0.1:{port}", **databases)
    app = AdminApp(settings)
    server = build_server(app.registrations)
    channel = connect(f"127.0.0.1:{server.bind('127.0.0.1', 0)}")
    await app.start()
    await server.start()
    try:
        yield World(app, scheduler, port, channel, BlobStore((tmp_path / "blobs").as_uri()))
    finally:
        await channel.close()
        await server.stop(0)
        await app.stop()
        await scheduler.stop()
        scheduler.close()

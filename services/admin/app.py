"""Admin as a service: what it is made of, its beginning and end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from hangar.admin.v1 import data_service_pb2_grpc as data_grpc
from hangar.admin.v1 import log_service_pb2_grpc as log_grpc
from hangar.admin.v1 import project_service_pb2_grpc as project_grpc
from hangar.admin.v1 import run_service_pb2_grpc as run_grpc
from hangar.admin.v1 import task_service_pb2_grpc as task_grpc
from services.admin import described, migrations
from services.admin.actions import Actions
from services.admin.data import Data
from services.admin.data_servicer import DataServicer
from services.admin.http.api import ApiEndpoints
from services.admin.http.app import build_http_app
from services.admin.http.blobs import BlobEndpoints
from services.admin.http.local import LocalEndpoints
from services.admin.http.reports import ReportEndpoints
from services.admin.http.server import HttpServer, listen, reachable_host
from services.admin.local_runs import LocalRuns
from services.admin.log_servicer import LogServicer
from services.admin.logs import Logs
from services.admin.project_servicer import ProjectServicer
from services.admin.projects import Projects
from services.admin.reader import LedgerReader
from services.admin.reports import Reports
from services.admin.run_servicer import RunServicer
from services.admin.runs import Runs
from services.admin.scheduler_client import SchedulerClient
from services.admin.settings import Settings
from services.admin.store import Store
from services.admin.task_servicer import TaskServicer
from services.admin.tasks import Tasks
from services.admin.watch import ChangeFeed
from services.common.blob_urls import UrlSigner, load_signing_key
from services.common.blobs import BlobStore, check_at_start
from services.common.channel import connect
from services.common.clock import SystemClock
from services.common.data_directory import prepare_directory
from services.common.db import migrate, reader_engine, writer_engine
from services.common.serve import Registration


class AdminApp:
    """Admin, with its HTTP port.

    Args:
        settings: Settings.
        listener: Socket for HTTP. None: one is opened as the settings say.
        local_runs: Directory of recorded local runs, which pages show beside those of the backend. None: none.

    Raises:
        HangarError: The data directory cannot be used, or the port cannot be had.
    """

    def __init__(
        self, settings: Settings, listener: socket.socket | None = None, local_runs: Path | None = None
    ) -> None:
        self._settings = settings
        data_dir = prepare_directory(settings.data_dir)
        token = settings.access_token()
        self._listener = listener or listen(settings.host, settings.http_port, token)
        port = self._listener.getsockname()[1]
        self.http_url = settings.public_url.rstrip("/") or f"http://{reachable_host(settings.host)}:{port}"
        """Address of the HTTP port as clients see it."""
        signer = UrlSigner(self.http_url, load_signing_key(data_dir / "secret.key"))
        self._blobs = blobs = BlobStore(
            settings.blobs or (data_dir / "blobs").as_uri(),
            signer,
            public_endpoint=settings.blobs_public_endpoint,
        )
        self._engine = writer_engine(settings.database or data_dir / "admin.db")
        self._reader = LedgerReader(reader_engine(settings.ledger or data_dir / "ledger.db"))
        self._channel = connect(settings.scheduler, token)
        scheduler = SchedulerClient(self._channel)
        self._feed = ChangeFeed(scheduler.watch_events)
        self._projects = Projects(Store(self._engine), SystemClock())
        data = Data(blobs, self._projects, settings.upload_limit)
        runs = Runs(self._reader, scheduler, self._projects, data, self._feed, self.http_url)
        actions = Actions(self._reader, scheduler, runs, blobs, self._feed, self.http_url)
        logs = Logs(self._reader, actions, blobs, self._feed)
        tasks = Tasks(self._reader, scheduler, self._projects, data)
        reports = Reports(self._reader, actions, blobs)
        api = ApiEndpoints(self._projects, runs, actions, logs, blobs)
        objects = BlobEndpoints(blobs, signer, settings.upload_limit) if blobs.directory else None
        local = LocalEndpoints(LocalRuns(local_runs))
        routes = [*api.routes, *ReportEndpoints(reports, blobs).routes, *local.routes]
        pages = build_http_app(runs, routes, objects, self.http_url, token)
        self._http = HttpServer(pages, self._listener)
        self._described = described.OTHERS
        self._registrations = [
            _registration(project_grpc.add_ProjectServiceServicer_to_server, ProjectServicer(self._projects)),
            _registration(task_grpc.add_TaskServiceServicer_to_server, TaskServicer(tasks)),
            _registration(run_grpc.add_RunServiceServicer_to_server, RunServicer(runs, actions, reports)),
            _registration(log_grpc.add_LogServiceServicer_to_server, LogServicer(logs)),
            _registration(data_grpc.add_DataServiceServicer_to_server, DataServicer(data)),
        ]

    @property
    def registrations(self) -> Sequence[Registration]:
        """What it serves on gRPC."""
        return self._registrations

    async def start(self) -> None:
        """Brings its database up to date, follows the scheduler, and serves HTTP.

        Raises:
            FailedPrecondition: The blob store or the database cannot be used.
        """
        await check_at_start(self._blobs)
        await asyncio.to_thread(migrate, self._engine, migrations)
        await self._projects.ensure_default()
        await self._feed.start()
        await self._http.start()

    async def drain(self) -> None:
        """Ends watches, so that the server of its services has nothing to wait for."""
        await self._feed.stop()

    async def stop(self) -> None:
        """Ends watches, HTTP and connections."""
        async with AsyncExitStack() as stack:
            stack.callback(self._engine.dispose)
            stack.push_async_callback(asyncio.to_thread, self._reader.close)
            stack.push_async_callback(self._channel.close)
            stack.push_async_callback(self._http.stop)
            stack.push_async_callback(self._feed.stop)


def _registration(add: object, servicer: object) -> Registration:
    service = type(servicer).__name__.removesuffix("Servicer") + "Service"
    return Registration(add, servicer, f"hangar.admin.v1.{service}")  # type: ignore[arg-type]

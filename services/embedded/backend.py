"""All services in one process, talking to each other over gRPC."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import structlog

from hangar.scheduler.v1 import scheduler_service_pb2 as scheduler_messages
from hangar.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from services.admin.app import AdminApp
from services.admin.http.server import listen, reachable_host
from services.admin.settings import Settings as AdminSettings
from services.app_serving.app import AppServingApp
from services.app_serving.settings import Settings as AppServingSettings
from services.common.auth import Token, ensure_token, is_loopback
from services.common.channel import connect
from services.common.data_directory import prepare_directory
from services.common.errors import FailedPrecondition, Unavailable
from services.common.serve import GrpcServer, build_server, join_address
from services.common.tracing import Tracing
from services.embedded.backend_file import BackendFile, remove_backend_file
from services.embedded.environment_images import EnvironmentMaker
from services.embedded.lock import DirectoryLock
from services.embedded.settings import GRPC_PORT, HTTP_PORT, Settings
from services.embedded.token import token_path
from services.executor.app import ExecutorApp
from services.executor.engine import make_engine
from services.executor.engines.base import Engine
from services.executor.engines.process import ProcessEngine
from services.executor.settings import Settings as ExecutorSettings
from services.image_builder.app import ImageBuilderApp
from services.image_builder.settings import Settings as ImageBuilderSettings
from services.scheduler.app import SchedulerApp
from services.scheduler.settings import Settings as SchedulerSettings

_log = structlog.get_logger(__name__)
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # how this process reaches itself
_HEALTHY_SECONDS = 30.0
_GRACE_SECONDS = 1.0

T = TypeVar("T")


class Backend:
    """The embedded backend of one data directory.

    Args:
        settings: Settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._data_dir = settings.data_dir
        self._stack = AsyncExitStack()
        self._drained: list[Callable[[], Awaitable[None]]] = []
        self.token: Token | None = None
        """What callers have to show; None on loopback, when the settings name none."""
        self.grpc = ""
        """Address of the gRPC port as others reach it."""
        self.orphan_seconds = 0.0
        """How long workers live on without it; 0 when it runs no executor."""
        self.timings: dict[str, float] = {}
        """Seconds that each step of the start took."""

    async def start(self) -> BackendFile:
        """Starts everything, and says where it is once it is healthy. When that fails, all is stopped.

        Raises:
            HangarError: The directory is in use or unusable, a port is taken, or a database is newer.
        """
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stops everything. Workers that run an action are left to their supervisors."""
        await self._stack.aclose()

    async def _start(self) -> BackendFile:
        clock = _Timings(self.timings)
        self._data_dir = prepare_directory(self._settings.data_dir)
        lock = DirectoryLock(self._data_dir)
        lock.acquire()
        self._stack.callback(lock.release)
        remove_backend_file(self._data_dir)  # left by one that was killed
        token_file = self._prepare_token()
        tracing = Tracing("embedded", self._settings.otlp_endpoint)
        self._stack.push_async_callback(asyncio.to_thread, tracing.stop)
        host, token = self._settings.host, self.token
        server = build_server([], tracing=tracing, token=token)
        port = first_free(self._settings.grpc_port, GRPC_PORT, lambda number: server.bind(host, number))
        listener = first_free(self._settings.http_port, HTTP_PORT, lambda number: listen(host, number, token))
        self._stack.callback(listener.close)
        address = join_address(_LOCAL.get(host, host), port)
        self.grpc = f"{reachable_host(host)}:{port}"
        lock.note(address)
        clock.note("directory, lock and ports")
        admin = await self._start_services(server, address, listener, clock)
        started_at = datetime.now(UTC).isoformat()
        file = BackendFile(os.getpid(), address, admin.http_url, version("hangar"), started_at, token_file)
        file.write(self._data_dir)
        self._stack.callback(remove_backend_file, self._data_dir)
        _log.info("ready", grpc=file.grpc, http=file.http, data_dir=str(self._data_dir), seconds=self.timings)
        return file

    def _prepare_token(self) -> str:
        """Reads the token, or makes one when others can reach this process. Returns its file, empty for none."""
        settings = self._settings
        self.token, file = settings.access_token(), settings.token_file
        if self.token is None and not is_loopback(settings.host):
            path = token_path(self._data_dir)
            self.token, file = ensure_token(path), str(path)
        return "" if settings.token.get_secret_value() else file and str(Path(file).expanduser().absolute())

    async def _start_services(
        self, server: GrpcServer, address: str, listener: socket.socket, clock: _Timings
    ) -> AdminApp:
        shared = self._shared()
        scheduler_settings = SchedulerSettings.load(**shared)
        # One ledger and one blob store for all: who needs one that is named for another service gets that.
        ledger = scheduler_settings.database or None
        admin_settings = AdminSettings.load(
            scheduler=address, ledger=ledger, host=self._settings.host, **shared
        )
        scheduler = SchedulerApp(scheduler_settings)
        self._stack.push_async_callback(scheduler.stop)
        admin = AdminApp(admin_settings, listener, self._data_dir / "local")
        self._stack.push_async_callback(admin.stop)
        await scheduler.start()
        clock.note("scheduler and ledger")
        await admin.start()
        clock.note("admin and HTTP")
        server.add([*scheduler.registrations, *admin.registrations])
        settings = ExecutorSettings.load(scheduler=address, blobs=admin_settings.blobs or None, **shared)
        engine = make_engine(settings) if self._settings.executor else None
        await self._start_builder_and_apps(server, shared, settings, engine)
        clock.note("image builder and app serving")
        executor = None
        if engine is not None:
            self.orphan_seconds = settings.orphan_ttl
            executor = ExecutorApp(settings, engine)
            server.add(executor.registrations)
        await server.start()
        self._stack.push_async_callback(server.stop, _GRACE_SECONDS)
        for drain in (*self._drained, admin.drain):
            self._stack.push_async_callback(drain)
        clock.note("gRPC")
        if executor is not None:
            self._stack.push_async_callback(executor.stop)
            await executor.start()
            await _wait_for_node(address, settings.node, self.token)
            clock.note("executor")
        return admin

    async def _start_builder_and_apps(
        self, server: GrpcServer, shared: dict[str, object], executor: ExecutorSettings, engine: Engine | None
    ) -> None:
        # Where tasks run as processes images are environments; Docker is needed when a joined host asks for it.
        environments = EnvironmentMaker(engine) if isinstance(engine, ProcessEngine) else None
        builder = ImageBuilderApp(
            ImageBuilderSettings.load(blobs=executor.blobs_url, scheduler=executor.scheduler, **shared),
            environments,
            check_at_start=executor.engine == "docker",
        )
        self._stack.push_async_callback(builder.stop)
        await builder.start()
        apps = AppServingApp(AppServingSettings.load(**shared))
        self._stack.push_async_callback(apps.stop)
        await apps.start()
        server.add([*builder.registrations, *apps.registrations])
        self._drained.append(builder.drain)

    def _shared(self) -> dict[str, object]:
        settings = self._settings
        return {
            "data_dir": self._data_dir,
            "log_format": settings.log_format,
            "log_level": settings.log_level,
            "otlp_endpoint": settings.otlp_endpoint,
            "token": self.token.reveal() if self.token is not None else "",
            "token_file": "",
        }


class _Timings:
    def __init__(self, found: dict[str, float]) -> None:
        self._found = found
        self._last = time.monotonic()

    def note(self, step: str) -> None:
        now = time.monotonic()
        self._found[step] = round(now - self._last, 3)
        self._last = now


def first_free(given: int | None, usual: int, take: Callable[[int], T]) -> T:
    """Takes the port that was asked for, or else the usual one, or else any.

    Args:
        given: Port that was asked for; None for none in particular.
        usual: Port to try first then.
        take: Takes a port.

    Raises:
        FailedPrecondition: The port that was asked for is in use.
    """
    if given is not None:
        return take(given)
    try:
        return take(usual)
    except FailedPrecondition:
        return take(0)


async def _wait_for_node(address: str, node: str, token: Token | None) -> None:
    """Waits until the scheduler knows the host."""
    deadline = time.monotonic() + _HEALTHY_SECONDS
    async with connect(address, token) as channel:
        stub = SchedulerServiceStub(channel)
        while time.monotonic() < deadline:
            answer = await stub.ListNodes(
                scheduler_messages.ListNodesRequest(), timeout=_HEALTHY_SECONDS, wait_for_ready=True
            )
            for each in answer.nodes:
                if each.name == node and each.state == scheduler_messages.NODE_STATE_READY:
                    return
            await asyncio.sleep(0.005)
    message = (
        f"the executor {node!r} did not open its session within {_HEALTHY_SECONDS:.0f} s: the log says why"
    )
    raise Unavailable(message, reason="EXECUTOR_NOT_READY")


def log_path(data_dir: Path) -> Path:
    """Returns the path of the backend's log; makes its directory."""
    path = data_dir / "logs" / "backend.log"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path

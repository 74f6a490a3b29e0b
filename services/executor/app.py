"""The executor as a service: what it serves, and its beginning and end."""

import asyncio
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import structlog

from hangar.core.v1.resources_pb2 import Inventory
from hangar.executor.v1 import executor_service_pb2, executor_service_pb2_grpc
from hangar.scheduler.v1.node_service_pb2_grpc import NodeServiceStub
from services.common.blobs import BlobStore, check_at_start
from services.common.channel import connect
from services.common.data_directory import prepare_directory
from services.common.errors import FailedPrecondition, Unavailable
from services.common.serve import Registration
from services.executor.engines.base import Engine
from services.executor.gpu.described import DescribedGpus
from services.executor.gpu.nvml import NvmlGpus
from services.executor.gpu.plugin import GpuPlugin
from services.executor.host import Host
from services.executor.inventory import LoadMeter, take_inventory
from services.executor.journal import Journal
from services.executor.outbox import Outbox
from services.executor.outgoing import Outgoing
from services.executor.servicer import ExecutorServicer
from services.executor.session import Session
from services.executor.settings import Settings
from services.executor.workers import Worker

log = structlog.get_logger(__name__)


class ExecutorApp:
    """One executor.

    Args:
        settings: Its settings.
        engine: What runs workers; made for the settings' state directory.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._gpus: GpuPlugin = DescribedGpus(settings.gpus) if settings.gpus is not None else NvmlGpus()
        self._outgoing = Outgoing()
        self._lock = -1
        self._outbox: Outbox | None = None
        self._journal: Journal | None = None
        self._host: Host | None = None
        self._session: Session | None = None
        self._running: asyncio.Task[None] | None = None
        self._is_engine_started = False
        name = executor_service_pb2.DESCRIPTOR.services_by_name["ExecutorService"].full_name
        self._registrations = [
            Registration(
                executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server, ExecutorServicer(self), name
            )
        ]

    @property
    def registrations(self) -> Sequence[Registration]:
        """ExecutorService."""
        return self._registrations

    async def start(self) -> None:
        """Takes over what an earlier executor left, and opens the session in the background.

        Raises:
            FailedPrecondition: The state directory, the outbox, the blob store or the description of GPUs cannot be
                used, or another executor uses the state directory.
        """
        settings = self._settings
        state = prepare_directory(settings.state_dir)
        self._lock = _lock(state / "lock")
        self._outbox = Outbox(state / "outbox.db")
        restored = self._outbox.load()
        self._journal = Journal(self._outbox)
        blobs = BlobStore(settings.blobs_url)
        await check_at_start(blobs)
        await self._engine.start()
        self._is_engine_started = True
        await self._inventory()
        self._host = Host(
            settings, self._engine, self._gpus, blobs, self._journal, self._outgoing, self._inventory
        )
        await self._host.start(restored)
        self._outbox.forget_specs(self._host.drop_unused_specs())
        self._running = asyncio.create_task(self._hold_session(restored.generation), name="session")

    async def _hold_session(self, generation: int) -> None:
        assert self._host is not None
        await self._host.settle()
        async with connect(self._settings.scheduler, self._settings.access_token()) as channel:
            self._host.lookups.ask(NodeServiceStub(channel))
            self._session = Session(
                channel, self._host.orders, LoadMeter().heartbeat, self._outgoing, generation
            )
            await self._session.run()

    async def _inventory(self) -> Inventory:
        return await take_inventory(self._settings, self._engine.inventory, self._gpus)

    async def stop(self) -> None:
        """Ends idle workers, lets go of the others, which go on without it, and closes everything."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        if self._host is not None:
            await self._host.end_idle_workers()
            await self._host.close()
        if self._is_engine_started:
            await self._engine.close()
        if self._journal is not None:
            await self._journal.close()
        if self._outbox is not None:
            self._outbox.close()
        if self._lock >= 0:
            os.close(self._lock)
        self._running = self._host = self._journal = self._outbox = None
        self._is_engine_started, self._lock = False, -1

    async def describe(self) -> executor_service_pb2.GetNodeResponse:
        """Returns what the host offers and how the executor is doing.

        Raises:
            Unavailable: The executor has not started.
        """
        holdings = self._started().holdings
        return executor_service_pb2.GetNodeResponse(
            node=self._settings.node,
            inventory=await self._inventory(),
            engine=self._engine.name,
            connected=self._session is not None and self._session.connected,
            unacknowledged_results=holdings.unacknowledged(),
            leases=len(holdings.held_leases()),
        )

    def workers(self) -> list[Worker]:
        """Returns the workers on the host.

        Raises:
            Unavailable: The executor has not started.
        """
        return list(self._started().holdings.workers.values())

    def _started(self) -> Host:
        if self._host is None:
            raise Unavailable("the executor is starting or stopping: ask again in a moment")
        return self._host


def _lock(path: Path) -> int:
    """Returns the descriptor of a lock that ends with this process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise FailedPrecondition(
            f"another executor uses {path.parent}: stop it, or give HANGAR_EXECUTOR_STATE another directory",
            reason="STATE_DIRECTORY_IN_USE",
        ) from error
    return descriptor

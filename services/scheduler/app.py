"""The scheduler as a service: what it is made of, its beginning and end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from hangar.scheduler.v1.node_service_pb2_grpc import add_NodeServiceServicer_to_server
from hangar.scheduler.v1.scheduler_service_pb2_grpc import add_SchedulerServiceServicer_to_server
from services.common.data_directory import prepare_directory
from services.common.serve import Registration
from services.ledger.queries import events
from services.ledger.queries.events import EventRecord
from services.scheduler.core.machine import Scheduler
from services.scheduler.documents import Payloads
from services.scheduler.feed import EventFeed
from services.scheduler.frames import Frames
from services.scheduler.loading import Loaded
from services.scheduler.node_session_servicer import NodeServicer
from services.scheduler.recorder import Recorder, Recording
from services.scheduler.running import Running, Slot
from services.scheduler.service import Commands
from services.scheduler.servicer import SchedulerServicer
from services.scheduler.sessions import Sessions
from services.scheduler.settings import Settings
from services.scheduler.shell import Shell
from services.scheduler.spans import SpanExporter
from services.scheduler.specs import Specs
from services.scheduler.store import Store

_log = structlog.get_logger(__name__)
_FATAL_EXIT = 70


class SchedulerApp:
    """The scheduler.

    Args:
        settings: Settings.
        on_fatal: Called when it cannot go on: another scheduler took the ledger over, or a defect was found.
            The default ends the process at once; what was not committed was not seen by anybody.
    """

    def __init__(self, settings: Settings, on_fatal: Callable[[BaseException], None] | None = None) -> None:
        self._settings = settings
        self._on_fatal = on_fatal or _end_process
        self._slot = Slot()
        self._store: Store | None = None
        self._running: Running | None = None
        self._spans: SpanExporter | None = None
        self._registrations = (
            Registration(
                add_SchedulerServiceServicer_to_server,
                SchedulerServicer(self._slot),
                "hangar.scheduler.v1.SchedulerService",
            ),
            Registration(
                add_NodeServiceServicer_to_server, NodeServicer(self._slot), "hangar.scheduler.v1.NodeService"
            ),
        )

    @property
    def registrations(self) -> Sequence[Registration]:
        """What it serves on gRPC."""
        return self._registrations

    @property
    def running(self) -> Running:
        """What is running.

        Raises:
            Unavailable: It is not started.
        """
        return self._slot.get()

    async def start(self) -> None:
        """Becomes the ledger's writer and takes over what is live.

        Raises:
            HangarError: The data directory or the database cannot be used.
        """
        data_dir = prepare_directory(self._settings.data_dir)
        store = self._store = Store(self._settings.database or data_dir / "ledger.db")
        specs = Specs()
        loaded = await asyncio.to_thread(_take_over, store, specs)
        running = self._running = self._assemble(store, specs, loaded)
        running.shell.start()
        if self._settings.otlp_endpoint:
            self._spans = SpanExporter(self._settings.otlp_endpoint, store, running.shell)
            self._spans.start()
        self._slot.set(running)
        snapshot = loaded.snapshot
        _log.info(
            "scheduler ready",
            generation=store.generation,
            runs=len(snapshot.runs),
            actions=len(snapshot.actions),
            leases=len(snapshot.leases),
        )

    async def stop(self) -> None:
        """Finishes the commit under way and closes everything."""
        self._slot.set(None)
        if self._spans is not None:
            await self._spans.stop()
        if self._running is not None:
            self._running.feed.close()
            self._running.sessions.close_all()
            await self._running.shell.stop()
        if self._store is not None:
            await asyncio.to_thread(self._store.close)

    def _assemble(self, store: Store, specs: Specs, loaded: Loaded) -> Running:
        settings = self._settings
        scheduler = Scheduler()
        scheduler.restore(loaded.snapshot, time.time_ns() // 1000)
        payloads = Payloads(settings.payload_cache_bytes)
        sessions = Sessions()
        recorder = Recorder(loaded.live, payloads, loaded.next_ids)

        async def release(recording: Recording, effects: list[Any]) -> None:
            feed.publish(recording.changes, recording.cursor)
            await frames.release(effects)

        async def read_events(after: int, limit: int) -> Sequence[EventRecord]:
            return await shell.read(_list_events, store, after, limit)

        shell = Shell(scheduler, recorder, loaded.live, store, release, self._on_fatal)
        feed = EventFeed(loaded.next_ids.cursor - 1, read_events)
        welcome = (store.generation, settings.heartbeat_millis)
        frames = Frames(sessions, specs, payloads, store, shell.read, welcome)
        return Running(shell, Commands(shell, store, specs), sessions, feed, specs)


def _take_over(store: Store, specs: Specs) -> Loaded:
    store.open(time.time_ns() // 1000)
    return store.load(specs)


def _list_events(store: Store, after: int, limit: int) -> list[EventRecord]:
    with store.read() as connection:
        return events.list_events(connection, after, limit=limit)


def _end_process(error: BaseException) -> None:
    _log.critical("the scheduler cannot go on", exc_info=error)
    os._exit(_FATAL_EXIT)

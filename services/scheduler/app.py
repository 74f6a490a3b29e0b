"""The scheduler as a service: what it is made of, its beginning and end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError

from hangar.scheduler.v1.node_service_pb2_grpc import add_NodeServiceServicer_to_server
from hangar.scheduler.v1.scheduler_service_pb2_grpc import add_SchedulerServiceServicer_to_server
from services.common.data_directory import prepare_directory
from services.common.db import database_url, is_sqlite
from services.common.serve import Registration
from services.ledger.queries import events
from services.ledger.queries.events import EventRecord
from services.scheduler.caching import CacheLookup
from services.scheduler.core.machine import Scheduler
from services.scheduler.deployments import Deployments
from services.scheduler.destinations import Destinations
from services.scheduler.documents import Payloads
from services.scheduler.feed import EventFeed
from services.scheduler.file_lock import FileLock
from services.scheduler.frames import Frames
from services.scheduler.loading import Loaded
from services.scheduler.node_session_servicer import NodeServicer
from services.scheduler.notifier import Notifier
from services.scheduler.recorder import Recorder
from services.scheduler.recording import Recording
from services.scheduler.renewal import Renewal
from services.scheduler.running import Running, Slot
from services.scheduler.service import Commands
from services.scheduler.servicer import SchedulerServicer
from services.scheduler.sessions import Sessions
from services.scheduler.settings import Settings
from services.scheduler.shell import NoProof, Proof, Shell, patiently
from services.scheduler.spans import SpanExporter
from services.scheduler.specs import Specs
from services.scheduler.standby import Standby
from services.scheduler.store import Store
from services.scheduler.writer_lease import Superseded, WriterLease

_log = structlog.get_logger(__name__)
_FATAL_EXIT = 70


class SchedulerApp:
    """The scheduler.

    Of several on one PostgreSQL ledger one does the work; the others are standbys that take over when it is gone.

    Args:
        settings: Settings.
        on_fatal: Called when it cannot go on: another scheduler took the ledger over, or a defect was found.
            The default ends the process at once; what was not committed was not seen by anybody.
    """

    def __init__(self, settings: Settings, on_fatal: Callable[[BaseException], None] | None = None) -> None:
        self._settings = settings
        self._on_fatal = on_fatal or _end_process
        self._slot = Slot()
        self._announce: Callable[[bool], Awaitable[None]] | None = None
        self._lock: FileLock | None = None
        self._lease: WriterLease | None = None
        self._store: Store | None = None
        self._renewal: Renewal | None = None
        self._running: Running | None = None
        self._spans: SpanExporter | None = None
        self._destinations = Destinations(settings.notification_destinations)
        self._notifier: Notifier | None = None
        self._waiting: asyncio.Task[None] | None = None
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
            Unavailable: It is not started, or waits as standby.
        """
        return self._slot.get()

    def announce(self, set_serving: Callable[[bool], Awaitable[None]]) -> None:
        """Takes what it calls when it does the work (True) and when it no longer does (False).

        Without it, it does not wait as standby: whoever starts it needs it to do the work.
        """
        self._announce = set_serving

    async def start(self) -> None:
        """Becomes the ledger's writer and takes over what is live, or waits for that as standby.

        Raises:
            HangarError: The data directory or the database cannot be used, or another scheduler does the work and
                nobody listens to when it is this one's turn (reason ``LEDGER_IN_USE``).
        """
        data_dir = prepare_directory(self._settings.data_dir)
        where = self._settings.database or data_dir / "ledger.db"
        shared = not is_sqlite(where)
        if not shared:
            self._lock = FileLock(Path(database_url(where).database or ""))
            self._lock.acquire()
        settings = self._settings
        address = settings.address or f"{settings.host}:{settings.grpc_port}"
        self._store = Store(where)
        lease = self._lease = WriterLease(where, address, settings.lease_seconds if shared else 0.0)
        await asyncio.to_thread(lease.migrate)
        standby = Standby(lease, self._slot.stand_by)
        if await standby.take_now(forced=not shared):
            await self._lead(lease)
        elif self._announce is None:
            await standby.take_within(settings.lease_seconds)
            await self._lead(lease)
        else:
            self._waiting = asyncio.create_task(self._stand_by(standby, lease), name="standby")

    async def drain(self) -> None:
        """Ends sessions and watches, so that the server of its services has nothing to wait for."""
        self._slot.set(None)
        if self._running is not None:
            self._running.feed.close()
            self._running.sessions.close_all()

    async def stop(self) -> None:
        """Finishes the commit under way, closes everything, and lets a standby take over at once."""
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)
        self._slot.set(None)
        if self._spans is not None:
            await self._spans.stop()
        if self._notifier is not None:
            await self._notifier.stop()
        if self._running is not None:
            self._running.feed.close()
            self._running.sessions.close_all()
            await self._running.shell.stop()
        if self._renewal is not None:
            await self._renewal.stop()
        if self._store is not None:
            await asyncio.to_thread(self._store.close)
        if self._lease is not None:
            await asyncio.to_thread(_give_back, self._lease)
        if self._lock is not None:
            self._lock.release()

    async def _stand_by(self, standby: Standby, lease: WriterLease) -> None:
        try:
            await standby.take()
            await self._lead(lease)
        except Exception as error:  # noqa: BLE001  # the caller decides how the process ends
            self._on_fatal(error)

    async def _lead(self, lease: WriterLease) -> None:
        """Does the work: the right to write is this process's."""
        store, settings = self._store, self._settings
        assert store is not None
        store.begin(lease.generation)
        proof: Proof = NoProof()
        if self._lock is None:
            self._renewal = proof = Renewal(lease, settings.lease_seconds, self._lost)
            self._renewal.start()
        specs = Specs()
        loaded = await patiently(store.load, specs)
        running = self._running = self._assemble(store, specs, loaded, proof)
        running.shell.start()
        if settings.otlp_endpoint:
            self._spans = SpanExporter(settings.otlp_endpoint, store, running.shell)
            self._spans.start()
        if settings.notification_destinations:
            key = settings.notification_key.get_secret_value().encode()
            self._notifier = Notifier(store, running.shell, self._destinations, key)
            self._notifier.start()
        self._slot.set(running)
        if self._announce is not None:
            await self._announce(True)
        snapshot = loaded.snapshot
        _log.info(
            "scheduler ready",
            generation=store.generation,
            runs=len(snapshot.runs),
            actions=len(snapshot.actions),
            leases=len(snapshot.leases),
        )

    def _lost(self, error: BaseException) -> None:
        """Ends at once: what is not committed will never be."""
        if self._running is not None:
            self._running.shell.fail(error)
        else:
            self._on_fatal(error)

    def _assemble(self, store: Store, specs: Specs, loaded: Loaded, proof: Proof) -> Running:
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

        shell = Shell(scheduler, recorder, loaded.live, store, release, self._on_fatal, proof)
        feed = EventFeed(loaded.next_ids.cursor - 1, read_events)
        welcome = (store.generation, settings.heartbeat_millis)
        frames = Frames(sessions, specs, payloads, store, shell.read, welcome)
        cache = CacheLookup(shell, store, loaded.live)
        commands = Commands(shell, store, specs, cache, self._destinations)
        deployments = Deployments(shell, store, specs, sessions)
        return Running(shell, commands, deployments, sessions, feed, specs, cache)


def _list_events(store: Store, after: int, limit: int) -> list[EventRecord]:
    with store.read() as connection:
        return events.list_events(connection, after, limit=limit)


def _give_back(lease: WriterLease) -> None:
    try:
        lease.release()
    except Superseded:
        _log.info("another scheduler has taken over already")
    except DBAPIError as error:
        _log.warning("the ledger was not given back: a standby takes over later", error=str(error.orig))
    finally:
        lease.close()


def _end_process(error: BaseException) -> None:
    if isinstance(error, Superseded):
        _log.critical("this scheduler ends: " + error.message)
    else:
        _log.critical("the scheduler cannot go on", exc_info=error)
    os._exit(_FATAL_EXIT)

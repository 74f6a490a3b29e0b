"""A scheduler for tests: it writes the ledger as it is told, and streams the events of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import sqlalchemy as sa

from hangar.core.v1.identifiers_pb2 import ActionIdentifier, RunIdentifier
from hangar.core.v1.payload_pb2 import Payload
from hangar.core.v1.phase_pb2 import Phase
from hangar.scheduler.v1 import scheduler_service_pb2 as messages
from hangar.scheduler.v1.event_pb2 import Event
from hangar.scheduler.v1.scheduler_service_pb2_grpc import (
    SchedulerServiceServicer,
    add_SchedulerServiceServicer_to_server,
)
from services.common.db import migrate, writer_engine
from services.common.errors import AlreadyExists
from services.common.serve import GrpcServer, Registration, build_server
from services.ledger import migrations, tables

START = 1_700_000_000_000_000


class FakeScheduler(SchedulerServiceServicer):
    """The ledger's writer. Its clock moves a second with every event."""

    def __init__(self, ledger: str) -> None:
        self.engine = writer_engine(ledger)
        migrate(self.engine, migrations)
        self.events: list[Event] = []
        self.aborts: list[tuple[str, str]] = []
        self.signals: list[tuple[str, bytes]] = []
        self.subscriptions: list[tuple[int, bool]] = []
        self._committed = asyncio.Condition()
        self._ids = 0
        self._server: GrpcServer | None = None

    async def start(self, port: int = 0) -> int:
        """Serves, and returns the port."""
        add = add_SchedulerServiceServicer_to_server
        self._server = build_server([Registration(add, self, "hangar.scheduler.v1.SchedulerService")])
        bound = self._server.bind("127.0.0.1", port)
        await self._server.start()
        return bound

    async def stop(self) -> None:
        """Breaks all connections."""
        if self._server is not None:
            await self._server.stop(0)

    async def CreateRun(self, request: messages.CreateRunRequest, context: Any) -> Any:
        """Creates a run with its root action."""
        digest = request.task.SerializeToString(deterministic=True) + request.inputs.inline
        with self.engine.begin() as ledger:
            same = self._run(ledger, request.run)
            if same is not None:
                if same.request_digest != digest.hex():
                    raise AlreadyExists(f"run {request.run.name} exists", reason="RUN_ALREADY_EXISTS")
                return messages.CreateRunResponse(created=False)
            run_id, now = self._next(), self.now()
            spec = request.task.SerializeToString(deterministic=True)
            name, version = request.task.name, request.task.code.version
            if self._define(ledger, name, version, spec, now):
                row = {
                    "project": request.run.project,
                    "domain": request.run.domain,
                    "name": name,
                    "version": version,
                    "id": self._next(),
                    "spec_digest": name + version,
                    "created_at": now,
                }
                ledger.execute(tables.TASK_VERSION.insert().values(**row))
            row = {
                "id": run_id,
                "project": request.run.project,
                "domain": request.run.domain,
                "name": request.run.name,
                "request_digest": digest.hex(),
                "spec_digest": name + version,
                "root_id": self._ids + 1,
                "task_name": name,
                "task_version": version,
                "phase": Phase.PHASE_QUEUED,
                "created_at": now,
                "labels": dict(request.context.labels),
                "env_vars": {},
                "settings": request.context.SerializeToString(),
                "trace_id": "ab" * 16,
                "action_count": 0,
                "cursor": 0,
                "failure_kind": 0,
                "failure_non_recoverable": False,
            }
            ledger.execute(tables.RUN.insert().values(**row, **_text(tables.RUN, row)))
            for key, value in request.context.labels.items():
                ledger.execute(tables.RUN_LABEL.insert().values(run_id=run_id, key=key, value=value))
        await self.add_action(request.run, "a0", inputs=request.inputs)
        return messages.CreateRunResponse(created=True)

    def _define(self, ledger: Any, name: str, version: str, spec: bytes, now: int) -> bool:
        """Writes a definition, unless it is there."""
        known = ledger.execute(
            sa.select(tables.TASK_SPEC.c.digest).where(tables.TASK_SPEC.c.digest == name + version)
        )
        if known.first() is not None:
            return False
        row = {"digest": name + version, "spec": spec, "name": name, "version": version, "created_at": now}
        ledger.execute(tables.TASK_SPEC.insert().values(**row, **_text(tables.TASK_SPEC, row)))
        return True

    async def DeployTasks(self, request: messages.DeployTasksRequest, context: Any) -> Any:
        """Writes each task as a new deployment."""
        with self.engine.begin() as ledger:
            for task in request.tasks:
                name, version, now = task.name, task.code.version, self.now()
                self._define(ledger, name, version, task.SerializeToString(deterministic=True), now)
                row = {
                    "project": request.project,
                    "domain": request.domain,
                    "name": name,
                    "version": version,
                    "id": self._next(),
                    "spec_digest": name + version,
                    "entrypoint": task.entrypoint,
                    "created_at": now,
                    "deployed_at": now,
                }
                ledger.execute(tables.DEPLOYED_TASK.insert().values(**row))
        return messages.DeployTasksResponse(changed=[task.name for task in request.tasks])

    async def AbortRun(self, request: messages.AbortRunRequest, context: Any) -> Any:
        """Notes the wish."""
        self.aborts.append((request.run.name, request.reason))
        return messages.AbortRunResponse(accepted=True)

    async def AbortAction(self, request: messages.AbortActionRequest, context: Any) -> Any:
        """Notes the wish."""
        self.aborts.append((request.action.name, request.reason))
        return messages.AbortActionResponse(accepted=True)

    async def PrepareImages(self, request: Any, context: Any) -> Any:
        """It has no hosts."""
        return messages.PrepareImagesResponse()

    async def SignalAction(self, request: messages.SignalActionRequest, context: Any) -> Any:
        """Notes the value."""
        self.signals.append((request.action.name, request.outputs.inline))
        return messages.SignalActionResponse()

    async def WatchEvents(self, request: messages.WatchEventsRequest, context: Any) -> AsyncIterator[Any]:
        """Streams the events."""
        self.subscriptions.append((request.after, request.from_now))
        after = len(self.events) if request.from_now else request.after
        yield messages.WatchEventsResponse(cursor=after)
        while True:
            async with self._committed:
                while len(self.events) <= after:
                    await self._committed.wait()
            fresh = self.events[after:]
            after = len(self.events)
            yield messages.WatchEventsResponse(events=fresh, cursor=after)

    async def ListNodes(self, request: messages.ListNodesRequest, context: Any) -> Any:
        """There are none."""
        return messages.ListNodesResponse()

    async def add_action(
        self,
        run: RunIdentifier,
        name: str,
        *,
        parent: str = "",
        group: str = "",
        inputs: Payload | None = None,
        lineage: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Enqueues an action."""
        with self.engine.begin() as ledger:
            row = self._run(ledger, run)
            action_id = row.root_id if name == "a0" else self._next()
            self._ids = max(self._ids, action_id)
            parent_id = self._action(ledger, row.id, parent).id if parent else None
            values = {
                "id": action_id,
                "run_id": row.id,
                "name": name,
                "key": name,
                "parent_id": parent_id,
                "depth": 0,
                "sequence": row.action_count,
                "task_name": row.task_name,
                "spec_digest": row.spec_digest,
                "group_name": group,
                "phase": Phase.PHASE_QUEUED,
                "state": "QUEUED",
                "created_at": self.now(),
                "failure_kind": 0,
                "failure_non_recoverable": False,
                "round": 0,
                "incarnation": 1,
                "attempts": 0,
                "user_failures": 0,
                "system_failures": 0,
                "ready_at": 0,
            }
            ledger.execute(tables.ACTION.insert().values(**values, **_text(tables.ACTION, values)))
            ledger.execute(
                tables.RUN.update().where(tables.RUN.c.id == row.id).values(action_count=row.action_count + 1)
            )
            for input_name, source in lineage:
                ledger.execute(
                    tables.LINEAGE.insert().values(action_id=action_id, input=input_name, source=source)
                )
            self._document(ledger, tables.ACTION_INPUT, action_id, inputs or Payload(inline=b"{}"))
        await self.move(run, name, Phase.PHASE_QUEUED)

    async def move(self, run: RunIdentifier, name: str, phase: int, **values: Any) -> None:
        """Changes the phase of an action, and of the run when it is the root."""
        outputs = values.pop("outputs", None)
        detail = values.pop("detail", "")
        with self.engine.begin() as ledger:
            row = self._run(ledger, run)
            action = self._action(ledger, row.id, name)
            if phase == Phase.PHASE_RUNNING:
                values.setdefault("started_at", self.now())
            if phase >= Phase.PHASE_SUCCEEDED:
                values.setdefault("ended_at", self.now())
            cursor = len(self.events) + 1
            ledger.execute(
                tables.ACTION.update().where(tables.ACTION.c.id == action.id).values(phase=phase, **values)
            )
            shared: dict[str, Any] = {key: values[key] for key in ("started_at", "ended_at") if key in values}
            root: dict[str, Any] = {"phase": phase, **shared} if name == "a0" else {}
            ledger.execute(tables.RUN.update().where(tables.RUN.c.id == row.id).values(cursor=cursor, **root))
            event = {
                "cursor": cursor,
                "run_id": row.id,
                "action_id": action.id,
                "phase": phase,
                "attempt": 0,
                "occurred_at": self.now(),
                "detail": detail,
            }
            ledger.execute(tables.EVENT.insert().values(**event))
            if outputs is not None:
                self._document(ledger, tables.ACTION_OUTPUT, action.id, outputs)
        identifier = ActionIdentifier(run=run, name=name)
        self.events.append(Event(cursor=cursor, action=identifier, phase=phase, detail=detail))  # type: ignore[arg-type]
        async with self._committed:
            self._committed.notify_all()

    def add_attempt(self, run: RunIdentifier, name: str, number: int = 0, ended: bool = False) -> int:
        """Adds an attempt or ends it, and returns its lease."""
        with self.engine.begin() as ledger:
            action = self._action(ledger, self._run(ledger, run).id, name)
            lease = action.id * 1000 + number
            end = self.now() if ended else None
            changed = ledger.execute(
                tables.ATTEMPT.update().where(tables.ATTEMPT.c.id == lease).values(ended_at=end)
            )
            if not changed.rowcount:
                row = {
                    "id": lease,
                    "action_id": action.id,
                    "number": number,
                    "node": "here",
                    "phase": Phase.PHASE_RUNNING,
                    "assigned_at": self.now(),
                    "started_at": self.now(),
                    "ended_at": end,
                    "gpu_uuids": [],
                    "failure_kind": 0,
                    "failure_non_recoverable": False,
                    "worker_id": 7,
                    "user_attempt": number,
                    "peak_memory_bytes": 0,
                    "cpu_millis": 0,
                }
                ledger.execute(tables.ATTEMPT.insert().values(**row, **_text(tables.ATTEMPT, row)))
                ledger.execute(
                    tables.ACTION.update().where(tables.ACTION.c.id == action.id).values(attempts=number + 1)
                )
        return int(lease)

    def add_chunk(self, lease: int, index: int, key: str, lines: int) -> None:
        """Registers a log chunk."""
        with self.engine.begin() as ledger:
            row = {"lease_id": lease, "index": index, "blob_key": key, "size": 0, "lines": lines}
            ledger.execute(tables.LOG_CHUNK.insert().values(**row))

    def now(self) -> int:
        """Returns the time in microseconds."""
        return START + len(self.events) * 1_000_000

    def close(self) -> None:
        """Closes the ledger."""
        self.engine.dispose()

    def _next(self) -> int:
        self._ids += 1
        return self._ids

    @staticmethod
    def _run(ledger: sa.Connection, run: RunIdentifier) -> Any:
        c = tables.RUN.c
        named = (c.project == run.project) & (c.domain == run.domain) & (c.name == run.name)
        return ledger.execute(sa.select(tables.RUN).where(named)).one_or_none()

    @staticmethod
    def _action(ledger: sa.Connection, run_id: int, name: str) -> Any:
        c = tables.ACTION.c
        return ledger.execute(sa.select(tables.ACTION).where((c.run_id == run_id) & (c.name == name))).one()

    @staticmethod
    def _document(ledger: sa.Connection, table: sa.Table, action_id: int, payload: Payload) -> None:
        inline = None if payload.HasField("reference") else payload.inline
        key, size = payload.reference.key, payload.reference.size or len(payload.inline)
        row = {
            "action_id": action_id,
            "inline": inline,
            "blob_key": key,
            "size": size,
            "digest": payload.digest,
        }
        ledger.execute(table.insert().values(**row))


def _text(table: sa.Table, given: dict[str, Any]) -> dict[str, Any]:
    """Returns empty text for the columns of text that are not given."""
    return {
        column.name: ""
        for column in table.columns
        if column.name not in given and not column.nullable and isinstance(column.type, sa.String)
    }

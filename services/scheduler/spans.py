"""One OTLP span per finished attempt and per action that ended without one, made of what the ledger says.

At least once: the cursor is stored behind what the collector has accepted. Without an endpoint the rows stay
in the ledger, and are exported when one is configured later.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import grpc.aio
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from sqlalchemy import Connection, select

from hangar.core.v1.action_kind_pb2 import ActionKind
from hangar.core.v1.phase_pb2 import Phase
from services.ledger.tables import ACTION, ATTEMPT, EVENT, GENERATION, RUN
from services.scheduler.background import Background
from services.scheduler.convert import FINAL_PHASES
from services.scheduler.shell import Shell
from services.scheduler.store import Store

_log = structlog.get_logger(__name__)
_WINDOW = 1000
"""Most positions of the stream of events that are looked at together."""
_INTERVAL = 0.5
_LONGEST_PAUSE = 30.0
_EXPORT_SECONDS = 10.0
_MICROSECOND = 1000

_ATTEMPTS = (
    select(
        ATTEMPT.c.id,
        ATTEMPT.c.action_id,
        ATTEMPT.c.number,
        ATTEMPT.c.node,
        ATTEMPT.c.worker_id,
        ATTEMPT.c.phase,
        ATTEMPT.c.assigned_at,
        ATTEMPT.c.started_at,
        ATTEMPT.c.ended_at,
        ATTEMPT.c.span_id,
        ATTEMPT.c.parent_span_id,
        ATTEMPT.c.peak_memory_bytes,
        ATTEMPT.c.cpu_millis,
        ATTEMPT.c.ended_cursor,
        ATTEMPT.c.failure_code,
        ATTEMPT.c.failure_message,
        ACTION.c.name.label("action"),
        ACTION.c.task_name,
        ACTION.c.group_name,
        RUN.c.name.label("run"),
        RUN.c.project,
        RUN.c.domain,
        RUN.c.trace_id,
    )
    .join_from(ATTEMPT, ACTION, ACTION.c.id == ATTEMPT.c.action_id)
    .join(RUN, RUN.c.id == ACTION.c.run_id)
    .order_by(ATTEMPT.c.ended_cursor)
)
_UNLEASED = (
    select(
        EVENT.c.cursor,
        ACTION.c.id.label("action_id"),
        ACTION.c.parent_id,
        ACTION.c.kind,
        ACTION.c.phase,
        ACTION.c.created_at,
        ACTION.c.started_at,
        ACTION.c.ended_at,
        ACTION.c.cached_from,
        ACTION.c.failure_code,
        ACTION.c.failure_message,
        ACTION.c.name.label("action"),
        ACTION.c.task_name,
        ACTION.c.group_name,
        RUN.c.name.label("run"),
        RUN.c.project,
        RUN.c.domain,
        RUN.c.trace_id,
        RUN.c.parent_span_id.label("run_parent_span_id"),
    )
    .join_from(EVENT, ACTION, ACTION.c.id == EVENT.c.action_id)
    .join(RUN, RUN.c.id == ACTION.c.run_id)
    .where(ACTION.c.attempts == 0, ACTION.c.ended_at.is_not(None), EVENT.c.phase.in_(FINAL_PHASES))
    .order_by(EVENT.c.cursor)
)
"""What ended without a lease, by the event of its end."""


class SpanExporter(Background):
    """Exports spans in the background.

    Args:
        endpoint: OTLP gRPC endpoint, such as ``"http://127.0.0.1:4317"``.
        store: The ledger.
        shell: Stores how far spans were exported.
    """

    def __init__(self, endpoint: str, store: Store, shell: Shell) -> None:
        super().__init__("span-exporter", "spans are no longer exported; they stay in the ledger")
        self._endpoint = endpoint
        self._store = store
        self._shell = shell

    async def _run(self) -> None:
        cursor = await self._shell.read(self._store.span_cursor)
        pause = _INTERVAL
        async with _channel(self._endpoint) as channel:
            stub: Any = TraceServiceStub(channel)  # type: ignore[no-untyped-call]
            while True:
                spans, upto = await self._shell.read(finished_spans, self._store, cursor)
                if not spans:
                    if upto == cursor:
                        await asyncio.sleep(_INTERVAL)
                    cursor = upto
                    continue
                try:
                    await stub.Export(export_request(spans), timeout=_EXPORT_SECONDS)
                except grpc.aio.AioRpcError as error:
                    _log.warning("spans cannot be exported; trying again", error=error.details(), pause=pause)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
                    continue
                pause = _INTERVAL
                cursor = upto
                self._shell.recorder.record_span_export(cursor)
                self._shell.step_soon()


def finished_spans(store: Store, after: int) -> tuple[list[Span], int]:
    """Returns spans of finished attempts, and of actions that ended without any, in the order in which they finished.

    Args:
        store: The ledger.
        after: Cursor up to which spans were exported.

    Returns:
        Some spans, and the cursor to go on from; the same one when there is nothing new.
    """
    with store.read() as connection:
        newest = connection.execute(select(GENERATION.c.next_cursor)).scalar_one() - 1
        upto = min(newest, after + _WINDOW)
        if upto <= after:
            return [], after
        ended = ATTEMPT.c.ended_cursor
        attempts = connection.execute(_ATTEMPTS.where(ended > after, ended <= upto)).all()
        unleased = connection.execute(_UNLEASED.where(EVENT.c.cursor > after, EVENT.c.cursor <= upto)).all()
        callers = _callers(connection, unleased)
        phases = _phases(connection, {each.action_id for each in (*attempts, *unleased)})
    spans = [(each.ended_cursor, _span(each, phases[each.action_id, each.number])) for each in attempts]
    for each in unleased:
        spans.append((each.cursor, _unleased_span(each, callers[each.action_id], phases[each.action_id, 0])))
    return [span for _, span in sorted(spans, key=lambda pair: pair[0])], upto


def _phases(connection: Connection, action_ids: set[int]) -> defaultdict[tuple[int, int], list[Any]]:
    """Events by action and number of the attempt."""
    query = (
        select(EVENT.c.action_id, EVENT.c.attempt, EVENT.c.phase, EVENT.c.occurred_at, EVENT.c.detail)
        .where(EVENT.c.action_id.in_(action_ids))
        .order_by(EVENT.c.cursor)
    )
    phases: defaultdict[tuple[int, int], list[Any]] = defaultdict(list)
    for action_id, attempt, *event in connection.execute(query):
        phases[action_id, attempt].append(event)
    return phases


def _callers(connection: Connection, unleased: Sequence[Any]) -> dict[int, str]:
    """Spans that actions without an attempt hang below: of the attempt of their parent that asked for them."""
    c = ATTEMPT.c
    query = select(c.action_id, c.assigned_at, c.span_id).where(
        c.action_id.in_({each.parent_id for each in unleased if each.parent_id is not None})
    )
    attempts: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
    for action_id, assigned_at, span_id in connection.execute(query.order_by(c.number)):
        attempts[action_id].append((assigned_at, span_id))
    found: dict[int, str] = {}
    for each in unleased:
        spans = [span for assigned_at, span in attempts[each.parent_id] if assigned_at <= each.created_at]
        found[each.action_id] = spans[-1] if spans else each.run_parent_span_id
    return found


def export_request(spans: list[Span]) -> ExportTraceServiceRequest:
    """Returns the request that exports these spans."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    _set(resource.resource, "service.name", "hangar-scheduler")
    scope = resource.scope_spans.add()
    scope.scope.name = "hangar"
    scope.spans.extend(spans)
    return request


def _span(attempt: Any, phases: list[Any]) -> Span:
    started = min([attempt.assigned_at, *(occurred_at for _, occurred_at, _ in phases)])
    span = Span(
        trace_id=bytes.fromhex(attempt.trace_id),
        span_id=bytes.fromhex(attempt.span_id),
        parent_span_id=bytes.fromhex(attempt.parent_span_id),
        name=attempt.task_name,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=started * _MICROSECOND,
        end_time_unix_nano=attempt.ended_at * _MICROSECOND,
    )
    _describe(
        span,
        attempt,
        {
            "hangar.attempt": attempt.number,
            "hangar.node": attempt.node,
            "hangar.worker": attempt.worker_id,
            "hangar.peak_memory_bytes": attempt.peak_memory_bytes,
            "hangar.cpu_millis": attempt.cpu_millis,
        },
        phases,
    )
    return span


def _unleased_span(action: Any, parent_span_id: str, phases: list[Any]) -> Span:
    """The span of a trace, a condition, a sleep, or of an action whose result was found in the cache."""
    identity = f"{action.trace_id} {action.action_id}".encode()
    span = Span(
        trace_id=bytes.fromhex(action.trace_id),
        span_id=hashlib.blake2b(identity, digest_size=8).digest(),
        parent_span_id=bytes.fromhex(parent_span_id),
        name=action.task_name,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=(action.started_at or action.created_at) * _MICROSECOND,
        end_time_unix_nano=action.ended_at * _MICROSECOND,
    )
    kind = ActionKind.Name(action.kind).removeprefix("ACTION_KIND_").lower()
    cached = 1 if action.cached_from is not None else 0
    _describe(span, action, {"hangar.kind": kind, "hangar.cached": cached}, phases)
    return span


def _describe(span: Span, row: Any, more: Mapping[str, str | int], phases: list[Any]) -> None:
    """Adds what attempts and actions without one have in common."""
    values: dict[str, str | int] = {
        "hangar.project": row.project,
        "hangar.domain": row.domain,
        "hangar.run": row.run,
        "hangar.action": row.action,
        "hangar.group": row.group_name,
        "hangar.phase": _phase_name(row.phase),
        **more,
    }
    for key, value in values.items():
        if value not in {"", 0} or key == "hangar.attempt":
            _set(span, key, value)
    for phase, occurred_at, detail in phases:
        event = span.events.add(time_unix_nano=occurred_at * _MICROSECOND, name=_phase_name(phase))
        if detail:
            _set(event, "hangar.detail", detail)
    if row.phase == Phase.PHASE_SUCCEEDED:
        span.status.code = Status.STATUS_CODE_OK
    else:
        span.status.code = Status.STATUS_CODE_ERROR
        span.status.message = f"{row.failure_code}: {row.failure_message}".strip(": ")


def _phase_name(number: int) -> str:
    return Phase.Name(number).removeprefix("PHASE_").lower()


def _set(target: Any, key: str, value: str | int) -> None:
    attribute = target.attributes.add(key=key)
    if isinstance(value, str):
        attribute.value.string_value = value
    else:
        attribute.value.int_value = value


def _channel(endpoint: str) -> grpc.aio.Channel:
    parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
    address = parts.netloc
    if parts.scheme == "https":
        return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials())
    return grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])

"""Spans: one per finished attempt, at least once, below the span that asked for it."""

from __future__ import annotations

import asyncio
from functools import partial

import grpc
import grpc.aio
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from hangar.core.v1.failure_pb2 import Failure, FailureKind
from services.scheduler.spans import finished_spans
from services.scheduler.store import Store
from services.scheduler.tests.backend import eventually, serving
from services.scheduler.tests.fake_executor import make_spec


class Collector(TraceServiceServicer):
    """Receives spans; refuses the first requests when told to."""

    def __init__(self, refusals: int = 0) -> None:
        self.spans: list[Span] = []
        self.refusals = refusals

    async def Export(self, request, context):
        if self.refusals:
            self.refusals -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return otlp.ExportTraceServiceResponse()


@pytest.fixture
async def collector():
    """A collector that refuses once, and its endpoint."""
    collector = Collector(refusals=1)
    server = grpc.aio.server()
    add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield collector, f"http://127.0.0.1:{port}"
    await server.stop(0)


def is_exported(store: Store) -> bool:
    """Whether nothing is left to export."""
    return not finished_spans(store, store.span_cursor())[0]


async def test_every_attempt_is_one_span_also_after_a_restart(ledger_url: str, collector):
    """Attempts that ended without an endpoint are exported later; a restart repeats none of them."""
    receiver, endpoint = collector
    wrong = Failure(kind=FailureKind.FAILURE_KIND_USER, code="ValueError", message="no")

    def fails(assignment):
        return wrong if assignment.action.name == "child1" and not assignment.attempt else None

    async with serving(ledger_url) as backend:
        child = make_spec("env.child", retries=1)
        executor = backend.executor(fan_out=3, child=child, fails=fails)
        await executor.connect()
        await backend.create_run()
        run = await backend.ended()
        await executor.disconnect()
    for _ in range(2):
        async with serving(ledger_url, otlp_endpoint=endpoint) as backend:
            await eventually(lambda: len(receiver.spans) >= 5)
            store = Store(ledger_url)
            await eventually(partial(is_exported, store))
            store.close()
    assert len(receiver.spans) == 5
    assert {span.trace_id.hex() for span in receiver.spans} == {run.trace_id}
    (root,) = [span for span in receiver.spans if span.name == "env.root"]
    children = [span for span in receiver.spans if span.name == "env.child"]
    assert root.parent_span_id == b""
    assert {span.parent_span_id for span in children} == {root.span_id}
    assert len({span.span_id for span in receiver.spans}) == 5
    failed = [span for span in children if span.status.code == Status.STATUS_CODE_ERROR]
    assert [span.status.message for span in failed] == ["ValueError: no"]
    names = [event.name for event in root.events]
    assert names == ["queued", "initializing", "running", "succeeded"]
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in receiver.spans)
    assert root.end_time_unix_nano >= max(span.end_time_unix_nano for span in children)


async def test_without_an_endpoint_rows_stay(ledger_url: str):
    """Nothing is exported and nothing is lost when no endpoint is configured."""
    async with serving(ledger_url) as backend:
        executor = backend.executor()
        await executor.connect()
        await backend.create_run()
        await backend.ended()
        await executor.disconnect()
    store = Store(ledger_url)
    spans, cursor = await asyncio.to_thread(finished_spans, store, 0)
    assert (len(spans), store.span_cursor()) == (1, 0)
    assert cursor > 0
    assert finished_spans(store, cursor) == ([], cursor)
    store.close()

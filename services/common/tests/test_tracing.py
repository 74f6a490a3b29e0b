import asyncio
from typing import Any

from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from services.common.channel import connect
from services.common.serve import Registration, build_server
from services.common.tests.echo import Echo, add_echo
from services.common.tracing import Tracing


class Collector(TraceServiceServicer):
    """Keeps what is exported."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    async def Export(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return messages.ExportTraceServiceResponse()


def fail(request: bytes) -> bytes:
    """Raises for a request that says so."""
    if request == b"fail":
        raise ValueError(request)
    return request


async def test_calls_become_spans_below_their_caller():
    """Each call is one span with its status, of the caller's trace; health checks are none."""
    collector = Collector()
    name = "opentelemetry.proto.collector.trace.v1.TraceService"
    receiving = build_server([Registration(add_TraceServiceServicer_to_server, collector, name)])
    tracing = Tracing("test", f"http://127.0.0.1:{receiving.bind('127.0.0.1', 0)}")
    server = build_server([Registration(add_echo, Echo(fail), "test.Echo")], tracing=tracing)
    channel: Any = connect(f"127.0.0.1:{server.bind('127.0.0.1', 0)}")
    await receiving.start()
    await server.start()
    caller = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
    try:
        with trace.use_span(trace.NonRecordingSpan(caller)):
            await channel.unary_unary("/test.Echo/Unary")(b"x")
            await asyncio.gather(channel.unary_unary("/test.Echo/Unary")(b"fail"), return_exceptions=True)
            assert len([each async for each in channel.unary_stream("/test.Echo/Stream")(b"y")]) == 2
        await channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
        await asyncio.to_thread(tracing.stop)
    finally:
        await channel.close()
        await server.stop(0)
        await receiving.stop(0)
    resources = [each for request in collector.requests for each in request.resource_spans]
    spans = [span for each in resources for scope in each.scope_spans for span in scope.spans]
    assert sorted(span.name for span in spans) == ["test.Echo/Stream", "test.Echo/Unary", "test.Echo/Unary"]
    assert {span.trace_id.hex() for span in spans} == {f"{0xABC:032x}"}
    assert {span.parent_span_id.hex() for span in spans} == {f"{0xDEF:016x}"}
    statuses = sorted(
        each.value.string_value for span in spans for each in span.attributes if "status" in each.key
    )
    assert statuses == ["INTERNAL", "OK", "OK"]


def test_without_an_endpoint_nothing_is_recorded():
    """Spans are not recorded, and stopping is no work."""
    tracing = Tracing("test")
    assert not tracing.enabled
    assert not tracing.tracer().start_span("x").is_recording()
    tracing.stop()

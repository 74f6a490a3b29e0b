import asyncio
import os
import signal

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
    reflection_pb2,
    reflection_pb2_grpc,
)
from opentelemetry import trace

from services.common.errors import FailedPrecondition
from services.common.serve import build_server, check_address, wait_for_signal
from services.common.tests.echo import start_echo


async def test_calls_are_answered_unary_and_streaming():
    """Both kinds of calls pass all interceptors, with messages of many megabytes."""
    server, channel = await start_echo(lambda request: request)
    try:
        big = b"x" * (20 * 1024 * 1024)
        assert await channel.unary_unary("/test.Echo/Unary")(big) == big
        assert [each async for each in channel.unary_stream("/test.Echo/Stream")(b"y")] == [b"first", b"y"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/test.Echo/Nothing")(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    finally:
        await channel.close()
        await server.stop(0)


async def test_health_and_reflection_know_every_service():
    """Health says SERVING for each service, and reflection lists it."""
    server, channel = await start_echo(lambda request: request)
    try:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "test.Echo"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = reflection.ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="*")])
        )
        listed = [each.name async for answer in call for each in answer.list_services_response.service]
        assert "test.Echo" in listed
    finally:
        await channel.close()
        await server.stop(0)


async def test_a_port_in_use_is_refused_by_name():
    """The second server on a port gets an error that names the address."""
    server, channel = await start_echo(lambda request: request)
    other = build_server([])
    free = build_server([])
    try:
        port = free.bind("127.0.0.1", 0)
        assert port > 0
        await free.start()
        with pytest.raises(FailedPrecondition, match=rf"address 127\.0\.0\.1:{port} is in use") as caught:
            other.bind("127.0.0.1", port)
        assert caught.value.reason == "ADDRESS_UNAVAILABLE"
        with pytest.raises(FailedPrecondition, match="cannot be taken"):
            check_address("192.0.2.1", 0)
    finally:
        await channel.close()
        for each in (server, other, free):
            await each.stop(0)


async def test_the_callers_trace_goes_on_without_an_exporter():
    """The servicer sees the trace id of the caller's span, even when no span is recorded."""
    seen = []

    def note(request: bytes) -> bytes:
        seen.append(trace.get_current_span().get_span_context().trace_id)
        return request

    server, channel = await start_echo(note)
    caller = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
    try:
        with trace.use_span(trace.NonRecordingSpan(caller)):
            await channel.unary_unary("/test.Echo/Unary")(b"x")
            assert [each async for each in channel.unary_stream("/test.Echo/Stream")(b"x")]
        assert seen == [0xABC, 0xABC]
    finally:
        await channel.close()
        await server.stop(0)


async def test_a_signal_ends_the_wait():
    """SIGTERM is waited for and named; afterwards signals have their usual effect again."""
    waiting = asyncio.create_task(wait_for_signal())
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(waiting, 10) is signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGINT, signal.default_int_handler)

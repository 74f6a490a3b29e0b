import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
    reflection_pb2,
    reflection_pb2_grpc,
)
from opentelemetry import trace

from services.common.errors import FailedPrecondition
from services.common.serve import (
    Registration,
    build_server,
    check_address,
    run_until_signal,
    wait_for_signal,
)
from services.common.tests.echo import Echo, add_echo, start_echo


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
    assert await asyncio.wait_for(waiting, 30) is signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Standby:
    """A service that waits for its turn; the test says when that is."""

    def __init__(self) -> None:
        self.registrations = [Registration(add_echo, Echo(lambda request: request), "test.Echo")]
        self.events: list[str] = []
        self.set_serving: Any = None

    def announce(self, set_serving: Callable[[bool], Awaitable[None]]) -> None:
        self.set_serving = set_serving

    async def start(self) -> None:
        self.events.append("start")

    async def drain(self) -> None:
        self.events.append("drain")

    async def stop(self) -> None:
        self.events.append("stop")


async def test_a_standby_answers_before_its_turn():
    """It listens and says NOT_SERVING until it announces itself; a signal drains it, then stops it."""
    app, port = Standby(), free_port()
    running = asyncio.create_task(run_until_signal(app, "127.0.0.1", port))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)

        async def status(name: str) -> int:
            request = health_pb2.HealthCheckRequest(service=name)
            return int((await health.Check(request, wait_for_ready=True, timeout=30)).status)

        no, yes = health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING
        while not app.events:  # noqa: ASYNC110  # until it is started
            await asyncio.sleep(0.01)
        assert [await status(""), await status("test.Echo")] == [no, no]
        await app.set_serving(True)
        assert [await status(""), await status("test.Echo")] == [yes, yes]
        await app.set_serving(False)
        assert [await status(""), await status("test.Echo")] == [no, no]
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 30)
    assert app.events == ["start", "drain", "stop"]
    signal.signal(signal.SIGINT, signal.default_int_handler)


async def test_a_signal_ends_a_start_that_takes_long():
    """A service that cannot finish its start is stopped by the first signal."""
    app = Standby()
    starting = asyncio.Event()

    async def never() -> None:
        starting.set()
        await asyncio.Event().wait()

    app.start = never  # type: ignore[method-assign]
    running = asyncio.create_task(run_until_signal(app, "127.0.0.1", 0))
    await asyncio.wait_for(starting.wait(), 30)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 30)
    assert app.events == ["drain", "stop"]
    signal.signal(signal.SIGINT, signal.default_int_handler)


def free_port() -> int:
    """Returns a port that is free for now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])

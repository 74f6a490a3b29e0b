import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from services.common.channel import connect
from services.common.errors import InvalidArgument
from services.common.serve import GrpcServer, Registration, build_server


class Named:
    """Answers with its name, whatever the kind of call."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    async def unary(self, request: bytes, context: Any) -> bytes:
        return self._name

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield self._name

    async def talk(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield self._name + request


def add_named(servicer: Any, server: grpc.aio.Server) -> None:
    """Adds the service to a server."""
    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(servicer.unary),
        "Stream": grpc.unary_stream_rpc_method_handler(servicer.stream),
        "Talk": grpc.stream_stream_rpc_method_handler(servicer.talk),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Named", handlers),))


async def start(name: bytes, port: int = 0, *, serving: bool = True) -> tuple[GrpcServer, int]:
    """Starts a server that answers with its name."""
    server = build_server([Registration(add_named, Named(name), "test.Named")])
    bound = server.bind("127.0.0.1", port)
    await server.start(serving=serving)
    return server, bound


async def until_answered_by(channel: Any, name: bytes) -> None:
    """Calls until a server answers. Until then only unavailability is an excuse."""
    async with asyncio.timeout(30):
        while await answer_of(channel) != name:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)


async def answer_of(channel: Any) -> Any:
    """Returns who answers, or empty when nobody does."""
    try:
        return await channel.unary_unary("/test.Named/Unary")(b"")
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return b""
        raise


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_calls_go_to_the_server_that_serves(host):
    """Of two that answer, calls of every kind go to the one that says that it serves, also after they changed."""
    first, one = await start(b"one", serving=False)
    second, two = await start(b"two")
    channel: Any = connect(f"{host}:{one},{host}:{two}")
    try:
        await until_answered_by(channel, b"two")
        for _ in range(20):
            assert await channel.unary_unary("/test.Named/Unary")(b"") == b"two"
        assert [each async for each in channel.unary_stream("/test.Named/Stream")(b"")] == [b"two"]
        await second.set_serving(["test.Named"], False)
        await first.set_serving(["test.Named"], True)
        await until_answered_by(channel, b"one")
        call = channel.stream_stream("/test.Named/Talk")()
        await call.write(b"!")
        assert await call.read() == b"one!"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    finally:
        await channel.close()
        await first.stop(0)
        await second.stop(0)


async def test_calls_wait_for_a_server_that_serves():
    """With `wait_for_ready` a call of any kind waits; without it fails at once; with a deadline it ends then."""
    first, one = await start(b"one", serving=False)
    second, two = await start(b"two", serving=False)
    channel: Any = connect(f"127.0.0.1:{one},127.0.0.1:{two}")
    try:
        unary, stream = channel.unary_unary("/test.Named/Unary"), channel.unary_stream("/test.Named/Stream")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asyncio.wait_for(unary(b""), 30)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await asyncio.wait_for(unary(b"", timeout=0.2, wait_for_ready=True), 30)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        call = channel.stream_stream("/test.Named/Talk")()
        with pytest.raises(grpc.aio.AioRpcError, match="backend unhealthy"):
            await asyncio.wait_for(call.read(), 30)
        assert await call.code() is grpc.StatusCode.UNAVAILABLE

        async def streamed() -> list[bytes]:
            return [each async for each in stream(b"", wait_for_ready=True)]

        waiting = [
            asyncio.ensure_future(unary(b"", wait_for_ready=True, timeout=30)),
            asyncio.create_task(streamed()),
        ]
        cancelled = unary(b"", wait_for_ready=True)
        assert cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert (cancelled.done(), cancelled.cancelled()) == (True, True)
        await second.set_serving(["test.Named"], True)
        assert await asyncio.wait_for(waiting[0], 30) == b"two"
        assert await asyncio.wait_for(waiting[1], 30) == [b"two"]
    finally:
        await channel.close()
        await first.stop(0)
        await second.stop(0)


async def test_a_server_that_died_is_replaced_and_found_again():
    """When the one that serves ends, the other is used; back at its address the first is used when it serves."""
    first, one = await start(b"one")
    second, two = await start(b"two", serving=False)
    channel: Any = connect(f"127.0.0.1:{one}, 127.0.0.1:{two}")
    try:
        for name, port in itertools.islice(itertools.cycle([(b"one", one), (b"two", two)]), 4):
            await until_answered_by(channel, name)
            stays, ends = (second, first) if name == b"one" else (first, second)
            await ends.stop(0)
            await stays.set_serving(["test.Named"], True)
            again, _ = await start(name, port, serving=False)
            first, second = (again, second) if name == b"one" else (first, again)
    finally:
        await channel.close()
        await first.stop(0)
        await second.stop(0)


def test_an_address_is_needed():
    """No address is refused by name."""
    with pytest.raises(InvalidArgument, match="HOST:PORT"):
        connect(" , ")

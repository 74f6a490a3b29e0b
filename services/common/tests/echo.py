"""A gRPC service for tests, without stubs: `/test.Echo/Unary` and `/test.Echo/Stream` over bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio

from services.common.channel import connect
from services.common.serve import GrpcServer, Registration, build_server


class Echo:
    """Answers with what a function makes of the request. The function may raise."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer

    async def unary(self, request: bytes, context: Any) -> bytes:
        return self._answer(request)

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        yield self._answer(request)


def add_echo(servicer: Any, server: grpc.aio.Server) -> None:
    """Adds the service to a server."""
    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(servicer.unary),
        "Stream": grpc.unary_stream_rpc_method_handler(servicer.stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))


async def start_echo(answer: Callable[[bytes], bytes]) -> tuple[GrpcServer, Any]:
    """Starts a server with the service, and returns it with a channel to it."""
    server = build_server([Registration(add_echo, Echo(answer), "test.Echo")])
    port = server.bind("127.0.0.1", 0)
    await server.start()
    return server, connect(f"127.0.0.1:{port}")

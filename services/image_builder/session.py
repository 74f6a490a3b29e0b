"""A build's session with BuildKit: while it builds, it asks for files, secrets and what registries want to be shown.

The engine takes over a connection to it and speaks gRPC on that, as the client. So here is a gRPC server of one
connection, reached through a socket that nobody else can open. BuildKit has no client library for Python.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_plus

import grpc
from grpc_health.v1 import health, health_pb2_grpc  # type: ignore[import-untyped]

from hangar.buildkit.v1.buildkit_pb2 import (
    CredentialsRequest,
    CredentialsResponse,
    FilePacket,
    SecretRequest,
    SecretResponse,
)
from services.common.errors import HangarError
from services.image_builder.engine import BuilderEngine
from services.image_builder.engine_streams import Headers, close
from services.image_builder.trees import Entry, Tree

_FILES = "moby.filesync.v1.FileSync"
_SECRETS = "moby.buildkit.secrets.v1.Secrets"
_AUTH = "moby.filesync.v1.Auth"
_METHODS = (f"/{_FILES}/DiffCopy", f"/{_SECRETS}/GetSecret", f"/{_AUTH}/Credentials")
_STAT, _REQUEST, _DATA, _END, _ERROR = range(5)
"""Kinds of packets."""
_CHUNK = 256 * 1024
_OPTIONS = [(f"grpc.{name}_metadata_size", 16 << 20) for name in ("max", "absolute_max")]
"""The paths of each COPY come as metadata, any number of them."""
_LONGEST_SOCKET_PATH = 100
Requests = AsyncIterator[FilePacket]
Call = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Session:
    """What one build may ask for.

    Attributes:
        trees: Build contexts, by the names that BuildKit has for them: "context" and "dockerfile".
        secrets: Contents of build secrets, by identifier.
        credentials: Returns user and password for a registry's host, empty texts for none.
        shared: Which builds send much the same files: they are sent what has changed.
        identity: The session.
    """

    trees: Mapping[str, Tree]
    secrets: Mapping[str, bytes]
    credentials: Callable[[str], Awaitable[tuple[str, str]]]
    shared: str
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)

    @asynccontextmanager
    async def open(self, engine: BuilderEngine, place: Path) -> AsyncIterator[None]:
        """Answers an engine as long as the context lasts.

        Args:
            engine: The engine.
            place: Directory that only this user may enter, for a socket.

        Raises:
            Unavailable: The engine is not reachable.
            FailedPrecondition: It has no BuildKit (reason ``BUILDKIT_MISSING``).
        """
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers(self._handlers())
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
        # `Contexts.clear` removes what begins so, should this process die while there is a socket.
        async with _listening(server, place / f"build-{self.identity}.sock") as (answers, requests):
            asked, asking = await engine.take_over("/session", self._headers())
            pumps = [asyncio.create_task(_pump(*each)) for each in ((asked, requests), (answers, asking))]
            try:
                yield
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
                await close(asking)

    def _headers(self) -> Headers:
        name = "X-Docker-Expose-Session"
        return {
            f"{name}-Uuid": self.identity,
            f"{name}-Name": "hangar",
            f"{name}-Sharedkey": self.shared,
            f"{name}-Grpc-Method": list(_METHODS),
        }

    def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        files = grpc.stream_stream_rpc_method_handler(
            self._send_files, FilePacket.FromString, FilePacket.SerializeToString
        )
        secrets = grpc.unary_unary_rpc_method_handler(
            self._send_secret, SecretRequest.FromString, SecretResponse.SerializeToString
        )
        credentials = grpc.unary_unary_rpc_method_handler(
            self._send_credentials, CredentialsRequest.FromString, CredentialsResponse.SerializeToString
        )
        return (
            grpc.method_handlers_generic_handler(_FILES, {"DiffCopy": files}),
            grpc.method_handlers_generic_handler(_SECRETS, {"GetSecret": secrets}),
            grpc.method_handlers_generic_handler(_AUTH, {"Credentials": credentials}),
        )

    async def _send_files(self, requests: Requests, call: Call) -> AsyncIterator[FilePacket]:
        """Tells what files there are, then sends those that BuildKit lacks."""
        asked = _metadata(call)
        [name] = asked.get("dir-name", [""])
        tree = self.trees.get(name)
        if tree is None:
            await call.abort(grpc.StatusCode.NOT_FOUND, f"this build has no directory {name!r}")
            return
        wanted = [*asked.get("followpaths", ()), *asked.get("include-patterns", ())]
        try:
            # What is in memory needs no thread, whose start would take longer.
            entries = (
                await asyncio.to_thread(tree.entries, wanted) if tree.directories else tree.entries(wanted)
            )
        except UnicodeEncodeError as error:
            problem = f"the name of {error.object!r} is no UTF-8: rename it, or leave it out (.dockerignore)"
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        for entry in entries:
            yield FilePacket(type=_STAT, stat=entry.stat)
        yield FilePacket(type=_STAT)
        async for request in requests:
            if request.type == _END:
                yield FilePacket(type=_END)
                return
            if request.type == _ERROR:
                await call.abort(grpc.StatusCode.ABORTED, request.data.decode(errors="replace"))
            if request.type == _REQUEST:
                async for chunk in _content(entries[request.id]):
                    yield FilePacket(type=_DATA, id=request.id, data=chunk)
                yield FilePacket(type=_DATA, id=request.id)

    async def _send_secret(self, request: SecretRequest, call: Call) -> SecretResponse:
        if request.id not in self.secrets:
            await call.abort(grpc.StatusCode.NOT_FOUND, f"this build has no secret {request.id!r}")
        return SecretResponse(data=self.secrets[request.id])

    async def _send_credentials(self, request: CredentialsRequest, call: Call) -> CredentialsResponse:
        try:
            user, secret = await self.credentials(request.host)
        except HangarError as error:
            await call.abort(grpc.StatusCode.UNAVAILABLE, error.message)
        return CredentialsResponse(username=user, secret=secret)


@asynccontextmanager
async def _listening(
    server: grpc.aio.Server, socket: Path
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Starts a server on a socket, connects to it, and removes the socket: nobody else ever connects."""
    # A path that is too long for a socket is reached through the directory's handle.
    is_long = len(os.fsencode(socket)) > _LONGEST_SOCKET_PATH
    directory = os.open(socket.parent, os.O_RDONLY | os.O_DIRECTORY) if is_long else -1
    address = f"/proc/self/fd/{directory}/{socket.name}" if is_long else str(socket)
    try:
        server.add_insecure_port(f"unix:{quote(address)}")
        await server.start()
        reader, writer = await asyncio.open_unix_connection(address)
        socket.unlink()
        try:
            yield reader, writer
        finally:
            await close(writer)
    finally:
        await server.stop(None)
        socket.unlink(missing_ok=True)
        if is_long:
            os.close(directory)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes on what comes, to its end."""
    with suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def _content(entry: Entry) -> AsyncIterator[bytes]:
    """Iterates over the pieces of a file."""
    content = entry.content
    if isinstance(content, Path) and entry.stat.size <= _CHUNK:
        content = content.read_bytes()  # a thread for each would take longer than all the rest
    if isinstance(content, Path):
        with content.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, _CHUNK):
                yield chunk
    elif content is not None:
        for start in range(0, len(content), _CHUNK):
            yield content[start : start + _CHUNK]


def _metadata(call: Call) -> dict[str, Sequence[str]]:
    """Returns what a call carries; what is no ASCII comes percent-encoded, and says so."""
    found: dict[str, list[str]] = {}
    for key, value in call.invocation_metadata() or ():
        found.setdefault(key, []).append(value if isinstance(value, str) else value.decode())
    return {
        key: [unquote_plus(value) for value in values] if f"{key}-encoded" in found else values
        for key, values in found.items()
    }

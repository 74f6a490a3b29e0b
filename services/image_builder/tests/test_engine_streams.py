"""What the engine tells for minutes: read to its end or given up at once, whatever the engine does."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.common.errors import FailedPrecondition, Unavailable
from services.common.registry_credentials import RegistryCredentials
from services.image_builder import engine as engine_module
from services.image_builder.engine import NO_CREDENTIALS, BuilderEngine
from services.image_builder.engine_streams import Address, Streams, close, events, in_thread

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def listening(tmp_path: Path, answer: Answer) -> AsyncIterator[Address]:
    """An engine that answers every request in one way."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await answer(reader, writer)
        finally:
            await close(writer)

    path = str(tmp_path / "engine.sock")
    async with await asyncio.start_unix_server(serve, path):
        yield Address(f"unix://{path}")


def saying(*pieces: bytes) -> Answer:
    """Writes pieces and closes the connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
        writer.write_eof()
        await reader.read()

    return answer


def silent(gone: asyncio.Event, *pieces: bytes) -> Answer:
    """Writes pieces and waits until the other side is gone."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
        await reader.read()
        gone.set()

    return answer


class Engine(BuilderEngine):
    """An engine at an address, whose version is known."""

    def __init__(self, address: Address, credentials: RegistryCredentials = NO_CREDENTIALS) -> None:
        super().__init__("", credentials)
        self._address = address

    async def _connected(self) -> Any:
        return SimpleNamespace(api=SimpleNamespace(api_version="1.41"))


def chunk(content: bytes) -> bytes:
    """A piece of a body."""
    return b"%x\r\n%b\r\n" % (len(content), content)


@pytest.mark.parametrize(
    "answer",
    [
        [CHUNKED, chunk(b'{"a":'), chunk(b'1}\r\n\n{"b"'), chunk(b":2}"), b"0\r\n\r\n"],
        [CHUNKED, chunk(b'{"a":1}\n{"b":2}\n')[:12], chunk(b'{"a":1}\n{"b":2}\n')[12:], b"0\r\n\r\n"],
        [b'HTTP/1.1 500 No\r\ncontent-length: 16\r\n\r\n{"a":1}\n{"b":2}\n'],
        [b'HTTP/1.0 200 OK\r\n\r\n{"a":1}\n', b'{"b":2}'],
    ],
)
async def test_objects_come_however_they_are_cut(tmp_path: Path, answer: list[bytes]) -> None:
    """Objects may come in pieces of any length, and bodies may end in each way that HTTP has."""
    async with listening(tmp_path, saying(*answer)) as address:
        assert [each async for each in events(address, "/")] == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ([], "closed the connection"),
        ([CHUNKED, chunk(b'{"a":1}\n'), b"5\r\n{"], "before the end of its answer"),
        ([b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>"], "502 Bad Gateway.*<html>"),
    ],
)
async def test_an_answer_without_its_end_is_an_outage(
    tmp_path: Path, answer: list[bytes], problem: str
) -> None:
    """An engine that dies in the middle, or a proxy that speaks for it, is no answer that ended."""
    async with listening(tmp_path, saying(*answer)) as address:
        with pytest.raises(ConnectionError, match=problem):
            [each async for each in events(address, "/")]
        with pytest.raises(Unavailable, match=problem):
            await Engine(address).build({"buildid": "1"}, lambda event: None)


async def test_silence_is_not_waited_for(tmp_path: Path) -> None:
    """Where silence has a limit, its end names it."""
    async with listening(tmp_path, silent(asyncio.Event(), CHUNKED)) as address:
        with pytest.raises(TimeoutError, match=r"nothing came for 0\.05 s"):
            [each async for each in events(address, "/", longest_silence=0.05)]


async def test_who_stops_listening_closes_the_connection(tmp_path: Path) -> None:
    """A push that is cancelled is one that the engine ends: nobody waits for its answer."""
    gone, said = asyncio.Event(), asyncio.Event()
    line = chunk(b'{"status":"Preparing"}\n')
    async with listening(tmp_path, silent(gone, CHUNKED, line)) as address:
        async with aclosing(events(address, "/")) as told:
            assert await anext(told) == {"status": "Preparing"}
        await gone.wait()
        gone.clear()
        push = asyncio.create_task(Engine(address).push("registry.example/x:1", lambda line: said.set()))
        await said.wait()
        push.cancel()
        await gone.wait()
        with pytest.raises(asyncio.CancelledError):
            await push


async def test_an_engine_that_hangs_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled build waits some seconds for an engine that does not end it, and closes its connection."""
    monkeypatch.setattr(engine_module, "_CANCEL_SECONDS", 0.05)
    gone, begun = asyncio.Event(), asyncio.Event()
    async with listening(tmp_path, silent(gone, CHUNKED, chunk(b"{}\n"))) as address:
        build = asyncio.create_task(Engine(address).build({"buildid": "1"}, lambda event: begun.set()))
        await begun.wait()
        build.cancel()
        with pytest.raises(asyncio.CancelledError):
            await build
        await gone.wait()


async def test_what_nobody_reads_is_not_waited_for() -> None:
    """A connection is closed at once, also while the other side reads nothing of what was sent to it."""
    accepted: asyncio.Future[Streams] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(
        lambda reader, writer: accepted.set_result((reader, writer)), "127.0.0.1", 0
    )
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        _, other = await accepted
        other.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(bytes(64 << 20))
        await asyncio.wait_for(close(writer), 30)
        await close(other)


async def test_a_registry_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a push nor a look waits for ever, and it is not the engine that is called unreachable."""
    monkeypatch.setattr(engine_module, "_TRANSFER_SECONDS", 0.05)
    monkeypatch.setattr(engine_module, "_REGISTRY_SECONDS", 0.05)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    async with listening(tmp_path, silent(asyncio.Event(), CHUNKED)) as address:
        _, problem = await Engine(address).push("registry.example/x:1", lambda line: None)
        assert problem.startswith("the registry registry.example does not answer")
        engine, answered = Engine(address), threading.Event()
        monkeypatch.setattr(engine, "_call", lambda ask: in_thread(answered.wait))
        with pytest.raises(Unavailable, match=r"the registry registry.example did not answer") as failed:
            await engine.registry_digest("registry.example/x:1")
        assert failed.value.reason == "REGISTRY_UNAVAILABLE"
        answered.set()


@pytest.mark.parametrize(
    ("script", "problem"), [("exit 1", "exited with"), ("exec sleep 60", "did not answer for 0.2 s")]
)
async def test_a_credential_helper_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str
) -> None:
    """One that fails or hangs is the operator's to mend, and no failure of the engine."""
    helper = tmp_path / "docker-credential-test"
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(engine_module, "_HELPER_SECONDS", 0.2)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"credHelpers": {"registry.example": "test"}}))
    credentials = RegistryCredentials(config, "HANGAR_IMAGE_BUILDER_REGISTRY_CREDENTIALS")
    engine = Engine(Address("unix:///none"), credentials)
    with pytest.raises(FailedPrecondition, match=f"registry.example cannot be had: .*{problem}") as refused:
        await engine.push("registry.example/x:1", lambda line: None)
    assert refused.value.reason == "REGISTRY_CREDENTIALS_INVALID"
    assert await engine.login("other.example") == {}

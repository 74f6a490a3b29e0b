"""Long conversations with a Docker engine: answers that go on for minutes, and connections that it takes over."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import h11

_ANSWER_SECONDS = 60.0
_TAKEN_OVER = 101
_PIECE = 64 * 1024
T = TypeVar("T")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Headers = Mapping[str, str | list[str]]
Answer = h11.Response | h11.InformationalResponse


class NotTakenOverError(Exception):
    """The engine answered something else than that it takes a connection over."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine listens.

    Attributes:
        url: ``unix:///path`` or ``tcp://host:port``.
        tls: What its connections are encrypted with, None for plain ones.
    """

    url: str
    tls: ssl.SSLContext | None = None

    async def connect(self) -> Streams:
        """Opens a connection.

        Raises:
            OSError: Nothing listens there.
        """
        parts = urlsplit(self.url)
        if "unix" in parts.scheme:
            return await asyncio.open_unix_connection(parts.path)
        return await asyncio.open_connection(parts.hostname, parts.port, ssl=self.tls)


async def take_over(address: Address, path: str, headers: Headers) -> Streams:
    """Opens a connection on which an engine speaks HTTP/2 as the client (`POST` with ``Upgrade: h2c``).

    Args:
        address: The engine.
        path: What is asked for.
        headers: Headers of the request, some of them more than once.

    Raises:
        OSError: The engine does not answer.
        NotTakenOverError: It answers with something else.
    """
    upgrade: dict[str, str | list[str]] = {"Connection": "Upgrade", "Upgrade": "h2c"}
    reader, writer, _, answer = await _asked(address, path, upgrade | dict(headers), _ANSWER_SECONDS)
    if answer.status_code != _TAKEN_OVER:
        await close(writer)
        raise NotTakenOverError(_status(answer))
    return reader, writer


async def events(
    address: Address,
    path: str,
    headers: Headers | None = None,
    longest_silence: float | None = None,
) -> AsyncGenerator[dict[str, Any], None]:
    """Asks an engine for something (`POST`), and iterates over the objects of its answer, errors among them.

    Who stops iterating closes the connection, and an engine ends what nobody waits for.

    Args:
        address: The engine.
        path: What is asked for.
        headers: Headers of the request.
        longest_silence: Seconds in which something has to come; None for any.

    Raises:
        TimeoutError: Nothing has come for so long.
        OSError: The engine does not answer, or not to the end.
    """
    reader, writer, http, answer = await _asked(address, path, headers or {}, longest_silence)
    try:
        rest = b""
        while True:
            async with _patience(longest_silence):
                event = await _next(http, reader)
            is_over = isinstance(event, h11.EndOfMessage)
            *lines, rest = (rest + (b"\n" if is_over else bytes(event.data))).split(b"\n")
            for line in filter(None, map(bytes.strip, lines)):
                try:
                    yield json.loads(line)
                except ValueError:
                    raise ConnectionError(f"it answers {_status(answer)!r}: {line[:200]!r}") from None
            if is_over:
                return
    finally:
        await close(writer)


async def fetch(address: Address, path: str, seconds: float) -> tuple[int, bytes]:
    """Asks an engine for one thing (`GET`). Returns the status of its answer, and the whole of it.

    Args:
        address: The engine.
        path: What is asked for.
        seconds: Longest wait.

    Raises:
        TimeoutError: It took longer.
        OSError: The engine does not answer.
    """
    async with _patience(seconds):
        reader, writer, http, answer = await _asked(address, path, {}, None, method="GET")
        try:
            pieces = []
            while not isinstance(event := await _next(http, reader), h11.EndOfMessage):
                pieces.append(bytes(event.data))
            return answer.status_code, b"".join(pieces)
        finally:
            await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    """Closes a connection at once, whatever became of it: what an engine that hangs does not read is not waited for."""
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


async def in_thread(ask: Callable[[], T]) -> T:
    """Calls what blocks, perhaps for long, in a thread of its own: threads that others share are not used up.

    Cancelled, it leaves the thread to go on to its end, which the end of the process does not wait for.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    def end(outcome: T | None, failure: Exception | None) -> None:
        if ended.done():
            return
        if failure is not None:
            ended.set_exception(failure)
        else:
            ended.set_result(cast("T", outcome))

    def call() -> None:
        outcome = failure = None
        try:
            outcome = ask()
        except Exception as error:  # noqa: BLE001  # raised where it is awaited
            failure = error
        with suppress(RuntimeError):  # the loop has ended: nobody waits
            loop.call_soon_threadsafe(end, outcome, failure)

    threading.Thread(target=call, name="docker-engine", daemon=True).start()
    return await ended


async def _asked(
    address: Address, path: str, headers: Headers, seconds: float | None, method: str = "POST"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, h11.Connection, Answer]:
    """Sends a request, and returns the connection with the head of the answer, whose body comes next."""
    async with _patience(_ANSWER_SECONDS):
        reader, writer = await address.connect()
    fields = [("Host", "docker"), ("Content-Length", "0")]
    for name, values in headers.items():
        fields += [(name, value) for value in ([values] if isinstance(values, str) else values)]
    http = h11.Connection(h11.CLIENT)
    request = http.send(h11.Request(method=method, target=path, headers=fields))
    try:
        async with _patience(seconds):
            writer.write((request or b"") + (http.send(h11.EndOfMessage()) or b""))
            # No further: what comes behind it on a connection that is taken over is somebody else's.
            http.receive_data(await reader.readuntil(b"\r\n\r\n"))
            return reader, writer, http, await _next(http, reader)
    except asyncio.IncompleteReadError as error:
        await close(writer)
        raise ConnectionError("it closed the connection") from error
    except BaseException:
        await close(writer)
        raise


async def _next(http: h11.Connection, reader: asyncio.StreamReader) -> Any:
    """Returns the next part of an answer.

    Raises:
        ConnectionError: It is none, or has no end.
    """
    try:
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(await reader.read(_PIECE))
    except h11.RemoteProtocolError as error:
        raise ConnectionError(f"it closed the connection before the end of its answer ({error})") from error
    return event


def _status(answer: Answer) -> str:
    return f"{answer.status_code} {bytes(answer.reason).decode(errors='replace')}"


@asynccontextmanager
async def _patience(seconds: float | None) -> AsyncIterator[None]:
    """Waits for so long, and says so in its error."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        if error.errno is not None:  # the network's own
            raise
        raise TimeoutError(f"nothing came for {seconds} s") from error

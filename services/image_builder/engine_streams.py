"""Long conversations with a Docker engine: answers that go on for minutes, and connections that it takes over."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

_ANSWER_SECONDS = 60
T = TypeVar("T")


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

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Opens a connection.

        Raises:
            OSError: Nothing listens there.
        """
        parts = urlsplit(self.url)
        if "unix" in parts.scheme:
            return await asyncio.open_unix_connection(parts.path)
        return await asyncio.open_connection(parts.hostname, parts.port, ssl=self.tls)


async def take_over(
    address: Address, path: str, headers: Sequence[tuple[str, str]]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Opens a connection on which an engine speaks HTTP/2 as the client (`POST` with ``Upgrade: h2c``).

    Raises:
        OSError: The engine does not answer.
        NotTakenOverError: It answers with something else.
    """
    reader, writer = await address.connect()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: docker",
        "Connection: Upgrade",
        "Upgrade: h2c",
        "Content-Length: 0",
    ]
    lines += [f"{name}: {value}" for name, value in headers]
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            writer.write("\r\n".join([*lines, "", ""]).encode())
            answer = await reader.readuntil(b"\r\n\r\n")
        status = answer.partition(b"\r\n")[0].decode(errors="replace")
        if status.split()[1:2] != ["101"]:
            raise NotTakenOverError(status)
    except asyncio.IncompleteReadError as error:
        await close(writer)
        raise ConnectionError("it closed the connection") from error
    except BaseException:
        await close(writer)
        raise
    return reader, writer


async def close(writer: asyncio.StreamWriter) -> None:
    """Closes a connection, whatever became of it."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def in_thread(ask: Callable[[], Iterable[T]], on_each: Callable[[T], None]) -> None:
    """Reads what takes long to come, in a thread of its own. Cancelled, it leaves the thread to go on to its end.

    Args:
        ask: Begins to read; may block. Its errors are raised here.
        on_each: Called in the event loop with each thing that comes.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end(error: Exception | None) -> None:
        if ended.cancelled():
            return
        if error is not None:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    def read() -> None:
        failure = None
        try:
            for each in ask():
                loop.call_soon_threadsafe(on_each, each)
        except Exception as error:  # noqa: BLE001  # raised where it is awaited
            failure = error
        with suppress(RuntimeError):  # the loop has ended: nobody waits
            loop.call_soon_threadsafe(end, failure)

    threading.Thread(target=read, name="docker-answer", daemon=True).start()
    await ended

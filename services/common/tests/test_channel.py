import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from flyte._client._channel import Endpoint, open_channel
from services.common.channel import connect
from services.common.serve import Registration, build_server
from services.common.tests.echo import Echo, add_echo

SLOW_SECONDS = 0.5


async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies a stream to its end."""
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
    writer.close()


@pytest.mark.parametrize(
    "open_to",
    [connect, lambda address: open_channel(Endpoint.parse(address, insecure=True))],
    ids=["services", "sdk"],
)
async def test_a_server_that_is_slow_to_greet_is_waited_for(open_to: Callable[[str], Any]):
    """The first call to a server that is far away, or busy, takes longer and does not fail."""
    server = build_server([Registration(add_echo, Echo(lambda request: request), "test.Echo")])
    port = server.bind("127.0.0.1", 0)
    await server.start()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(SLOW_SECONDS)
        from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(passed_on(reader, to_server), passed_on(from_server, writer))

    between = await asyncio.start_server(slow, "127.0.0.1", 0)
    channel = open_to(f"127.0.0.1:{between.sockets[0].getsockname()[1]}")
    try:
        assert await channel.unary_unary("/test.Echo/Unary")(b"hello", timeout=30) == b"hello"
    finally:
        await channel.close(None)
        await server.stop(0)
        between.close()
        await between.wait_closed()

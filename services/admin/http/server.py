"""Serves the HTTP application inside a process that does more than that."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from services.common.auth import Token, check_exposure
from services.common.errors import FailedPrecondition
from services.common.serve import check_address

_PATIENCE_SECONDS = 3
"""How long a stop waits for requests that run. Those that watch end at once; on a busy machine that takes a second."""


def listen(host: str, port: int, token: Token | None = None) -> socket.socket:
    """Returns a listening socket.

    Args:
        host: Address of this machine; one that others can reach needs a token.
        port: Port, or 0 for any that is free.
        token: What callers have to show.

    Raises:
        InvalidArgument: Others can reach the address, and there is no token (reason ``TOKEN_REQUIRED``).
        FailedPrecondition: It is in use (reason ``ADDRESS_UNAVAILABLE``).
    """
    check_exposure(host, token)
    check_address(host, port)
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:  # taken since it was checked
        message = f"address {host}:{port} cannot be taken: {error.strerror}"
        raise FailedPrecondition(message, reason="ADDRESS_UNAVAILABLE") from error


def reachable_host(host: str) -> str:
    """Returns how others reach this machine when it listens on a host.

    For all of its addresses at once that is the one from which it would reach the outside itself.
    """
    if host not in ("0.0.0.0", "::"):  # noqa: S104  # compared, not listened on
        return f"[{host}]" if ":" in host else host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # chooses a route; nothing is sent
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals belong to the process, which stops this server itself


class HttpServer:
    """An HTTP server on a socket.

    Args:
        app: The application.
        listener: A listening socket; it is closed with the server.
    """

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self._listener = listener
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            loop="none",
            server_header=False,
            timeout_graceful_shutdown=_PATIENCE_SECONDS,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serves in the background."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="http server")
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise FailedPrecondition("the HTTP server did not start; the log says why")
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Takes no new requests, and ends those that still run after some seconds."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._listener.close()

"""Serves the HTTP application inside a process that does more than that."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from services.common.errors import FailedPrecondition, InvalidArgument
from services.common.serve import check_address


def check_loopback(host: str) -> None:
    """Accepts an address of this machine only.

    Raises:
        InvalidArgument: Others could reach the address (reason ``AUTHENTICATION_MISSING``).
    """
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        message = (
            f"host {host!r} can be reached by others, and this version has no authentication yet: "
            "listen on 127.0.0.1, and reach it through an SSH tunnel"
        )
        raise InvalidArgument(message, reason="AUTHENTICATION_MISSING", field="host")


def listen(host: str, port: int) -> socket.socket:
    """Returns a listening socket on loopback.

    Args:
        host: Address of this machine.
        port: Port, or 0 for any that is free.

    Raises:
        InvalidArgument: The address is not of loopback.
        FailedPrecondition: It is in use (reason ``ADDRESS_UNAVAILABLE``).
    """
    check_loopback(host)
    check_address(host, port)
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:  # taken since it was checked
        message = f"address {host}:{port} cannot be taken: {error.strerror}"
        raise FailedPrecondition(message, reason="ADDRESS_UNAVAILABLE") from error


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
            timeout_graceful_shutdown=1,
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
        """Takes no new requests, and ends those that run after a second."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._listener.close()

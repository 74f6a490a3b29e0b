"""Serving: what a service offers, one gRPC server for any number of them, and the end of a process."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

from services.common.auth import Token, TokenInterceptor, check_exposure
from services.common.channel import MESSAGE_BYTES
from services.common.errors import FailedPrecondition
from services.common.grpc_errors import ErrorInterceptor
from services.common.interceptor import CallInterceptor, Context, code_name
from services.common.tracing import SpanInterceptor, Tracing

_log = structlog.get_logger(__name__)
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Registration(NamedTuple):
    """One gRPC service that a `ServiceApp` offers."""

    add: Callable[[Any, grpc.aio.Server], None]
    """The generated ``add_…Servicer_to_server``."""
    servicer: object
    """Its implementation, with coroutine and async generator methods."""
    service: str
    """Full name, such as ``"hangar.admin.v1.RunService"``."""


class ServiceApp(Protocol):
    """A service as its process sees it: what it serves, and its beginning and end.

    The order is: make it, `start`, serve `registrations`, stop serving, `stop`. Connections to other services are
    made in the background: `start` must not wait for another service to be there.
    """

    @property
    def registrations(self) -> Sequence[Registration]:
        """What it serves on gRPC. Servicers exist before `start`."""

    async def start(self) -> None:
        """Opens what it needs and starts its background work. Raises a `HangarError` when it cannot."""

    async def stop(self) -> None:
        """Ends its background work and closes what it opened. Safe when `start` failed or never ran."""


@runtime_checkable
class StandbyApp(ServiceApp, Protocol):
    """A service that may have to wait for its turn. Its health says NOT_SERVING until it announces itself."""

    def announce(self, set_serving: Callable[[bool], Awaitable[None]]) -> None:
        """Takes what it calls when its turn begins (True) and ends (False). Called before `start`."""


@runtime_checkable
class DrainingApp(ServiceApp, Protocol):
    """A service with calls that last until they are told to end."""

    async def drain(self) -> None:
        """Ends them. Called before its server stops."""


class GrpcServer:
    """A gRPC server of any number of services, with health and reflection for all of them.

    Args:
        registrations: What it serves.
        tracing: Where spans of calls go. None: nowhere.
        interceptors: Further interceptors, inside those of the platform.
        token: What every call has to show, but those of health. None: nothing, then it listens on loopback only.
    """

    def __init__(
        self,
        registrations: Sequence[Registration],
        *,
        tracing: Tracing | None = None,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        token: Token | None = None,
    ) -> None:
        self._token = token
        self._names: list[str] = []
        self._waiting: set[str] = set()
        self._health = health.aio.HealthServicer()
        self.server: grpc.aio.Server = grpc.aio.server(
            interceptors=[
                SpanInterceptor(tracing or Tracing("none")),
                LoggingInterceptor(),
                ErrorInterceptor(),
                *([TokenInterceptor(token)] if token is not None else []),
                *interceptors,
            ],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_send_message_length", MESSAGE_BYTES),
                ("grpc.max_receive_message_length", MESSAGE_BYTES),
                ("grpc.keepalive_time_ms", 20_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.http2.max_ping_strikes", 0),
            ],
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        self.add(registrations)

    def add(self, registrations: Sequence[Registration]) -> None:
        """Serves more services. Before `start`; after `bind` when their makers have to know the port."""
        for registration in registrations:
            registration.add(registration.servicer, self.server)
            self._names.append(registration.service)

    def bind(self, host: str, port: int) -> int:
        """Takes a port and returns it.

        Args:
            host: Address to listen on, such as ``"127.0.0.1"``.
            port: Port, or 0 for any that is free.

        Raises:
            FailedPrecondition: The address is in use or cannot be taken (reason ``ADDRESS_UNAVAILABLE``).
            InvalidArgument: Others can reach it, and there is no token (reason ``TOKEN_REQUIRED``).
        """
        check_exposure(host, self._token)
        check_address(host, port)
        try:
            bound: int = self.server.add_insecure_port(join_address(host, port))
        except RuntimeError as error:
            raise _unavailable(host, port, "cannot be taken") from error
        return bound

    async def start(self, *, serving: bool = True) -> None:
        """Takes calls, and says in health which services do their work.

        Args:
            serving: False when none does yet: `set_serving` says when.
        """
        shown = [*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(shown, self.server)
        await self.server.start()
        await self.set_serving(self._names, serving)

    async def set_serving(self, names: Iterable[str], serving: bool) -> None:
        """Says in health whether services do their work. The server as a whole does when all of them do.

        Args:
            names: Full names of services.
            serving: False for a standby that waits for its turn.
        """
        named = list(names)
        self._waiting = self._waiting.difference(named) if serving else self._waiting.union(named)
        for name in ["", *self._names]:
            waits = name in self._waiting if name else bool(self._waiting)
            await self._health.set(name, _NOT_SERVING if waits else _SERVING)

    async def stop(self, grace: float = 3.0) -> None:
        """Takes no new calls, waits up to `grace` seconds for those that run, then cancels them."""
        await self._health.enter_graceful_shutdown()
        await self.server.stop(grace)


def build_server(
    registrations: Sequence[Registration],
    *,
    tracing: Tracing | None = None,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    token: Token | None = None,
) -> GrpcServer:
    """Returns a server for these services: `bind` it, `start` it, `stop` it."""
    return GrpcServer(registrations, tracing=tracing, interceptors=interceptors, token=token)


def join_address(host: str, port: int) -> str:
    """Returns host and port as one text."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_address(host: str, port: int) -> None:
    """Finds out whether a TCP address can be listened on.

    Raises:
        FailedPrecondition: It is in use, or not to be had (reason ``ADDRESS_UNAVAILABLE``).
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        cause = (
            "is in use by another program"
            if error.errno == errno.EADDRINUSE
            else f"cannot be taken ({error})"
        )
        raise _unavailable(host, port, cause) from error


def _unavailable(host: str, port: int, cause: str) -> FailedPrecondition:
    message = f"address {join_address(host, port)} {cause}: choose another port, or 0 for any that is free"
    return FailedPrecondition(message, reason="ADDRESS_UNAVAILABLE", host=host, port=port)


async def wait_for_signal() -> signal.Signals:
    """Waits for SIGINT or SIGTERM and returns which it was. A second one then ends the process at once."""
    loop = asyncio.get_running_loop()
    received: asyncio.Future[signal.Signals] = loop.create_future()

    def on_signal(number: signal.Signals) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        if not received.done():
            received.set_result(number)

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, on_signal, each)
    return await received


async def run_until_signal(
    app: ServiceApp,
    host: str,
    port: int,
    *,
    tracing: Tracing | None = None,
    token: Token | None = None,
    grace: float = 3.0,
) -> None:
    """Runs one service by itself, as a process: start, serve, wait for SIGINT or SIGTERM, stop.

    A signal while it starts ends it as well; a second signal ends the process at once.

    Raises:
        HangarError: It could not start; nothing is left behind.
    """
    signalled = asyncio.create_task(wait_for_signal())
    server = build_server(app.registrations, tracing=tracing, token=token)
    try:
        bound = server.bind(host, port)
        starting = asyncio.create_task(_start(app, server))
        await asyncio.wait([signalled, starting], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            names = [each.service for each in app.registrations]
            _log.info("serving", grpc=join_address(host, bound), services=names, token=token is not None)
        else:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        _log.info("stopping", signal=(await signalled).name)
    finally:
        signalled.cancel()
        if isinstance(app, DrainingApp):
            await app.drain()
        await server.stop(grace)
        await app.stop()


async def _start(app: ServiceApp, server: GrpcServer) -> None:
    names = [each.service for each in app.registrations]
    if isinstance(app, StandbyApp):
        app.announce(lambda serving: server.set_serving(names, serving))
        await server.start(serving=False)
        await app.start()
    else:
        await app.start()
        await server.start()


class LoggingInterceptor(CallInterceptor):
    """Logs every call with its time, at debug level."""

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: Context) -> AsyncIterator[None]:
        """Returns what logs one call."""
        started = time.monotonic()
        try:
            yield
        finally:
            millis = round((time.monotonic() - started) * 1000, 1)
            _log.debug("call", method=details.method, status=code_name(context), milliseconds=millis)

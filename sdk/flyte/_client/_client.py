"""The client of a backend: its services, with retries and with the SDK's own errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from flyte import errors
from flyte._client._channel import Endpoint, open_channel
from flyte._client._errors import from_rpc_error
from flyte._client._loop import LOOP
from flyte._client._retry import Backoff, Patience
from hangar.admin.v1 import (
    data_service_pb2_grpc,
    log_service_pb2_grpc,
    project_service_pb2_grpc,
    run_service_pb2_grpc,
    task_service_pb2_grpc,
)
from hangar.image.v1 import image_service_pb2_grpc

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)
S = TypeVar("S")

_CALL_TIMEOUT_SECONDS = 30.0
_RETRIED = frozenset({grpc.StatusCode.UNAVAILABLE})
# A server that stops cancels its streams. Our own cancellation arrives as asyncio.CancelledError.
_RETRIED_STREAMS = _RETRIED | {grpc.StatusCode.CANCELLED}


class Client:
    """One backend. Its methods are awaited on the SDK's own loop.

    Args:
        endpoint: Where the backend listens.
        patience: How long calls are tried again while it does not answer.
        locate: Where it listens now, for a backend that may come back at another address; asked when it
            does not answer. None when that is not known.
        token: What is shown with every call; empty for nothing.
        auth_type: Way to sign in that the configuration asks for, named when the backend demands a token.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        patience: Patience | None = None,
        locate: Callable[[], Endpoint | None] | None = None,
        *,
        token: str = "",
        auth_type: str | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._auth_type = auth_type
        self.patience = patience or Patience()
        self._locate = locate
        self._answered = False
        self._channel = open_channel(endpoint)
        self._made: dict[Any, Any] = {}
        self.runs = self._follow(run_service_pb2_grpc.RunServiceStub)
        self.projects = self._follow(project_service_pb2_grpc.ProjectServiceStub)
        self.tasks = self._follow(task_service_pb2_grpc.TaskServiceStub)
        self.logs = self._follow(log_service_pb2_grpc.LogServiceStub)
        self.data = self._follow(data_service_pb2_grpc.DataServiceStub)
        self.images = self._follow(image_service_pb2_grpc.ImageServiceStub)
        self._kept: set[asyncio.Task[None]] = set()
        self.asked_images: set[str] = set()
        """Digests of definitions that this process has asked for already."""
        LOOP.on_close(self.close)

    @property
    def shows_token(self) -> bool:
        """True when a token is shown with every call."""
        return bool(self._metadata)

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Lets something go on in the background until it ends, or this process does."""
        task = asyncio.create_task(work)
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)

    async def close(self) -> None:
        """Closes the channel."""
        for task in self._kept:
            task.cancel()
        await asyncio.gather(*self._kept, return_exceptions=True)
        await self._channel.close(None)

    def _follow(self, make: Callable[[grpc.aio.Channel], S]) -> S:
        """A stub whose calls go through the channel that the client has at the time of the call."""
        return cast("S", _Stub(lambda: self._stub(make)))

    def _stub(self, make: Callable[[grpc.aio.Channel], Any]) -> Any:
        if make not in self._made:
            self._made[make] = make(self._channel)
        return self._made[make]

    async def _look_around(self) -> None:
        """Changes to the address that the backend has now, when it has another one."""
        endpoint = self._locate() if self._locate is not None else None
        if endpoint is None or endpoint == self.endpoint:
            return
        before, self._channel = self._channel, open_channel(endpoint)
        self.endpoint = endpoint
        self._made = {}
        await before.close(None)

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Q, A],
        request: Q,
        *,
        retried: bool = True,
        on_retry: Callable[[], None] | None = None,
        timeout: float = _CALL_TIMEOUT_SECONDS,
    ) -> A:
        """Makes one call.

        Args:
            method: The RPC, such as ``client.runs.GetRun``.
            request: What to send.
            retried: False when repeating the call could take effect twice: then it is tried once.
            on_retry: Called before each further try.
            timeout: Seconds for one try.

        Raises:
            flyte.errors.RuntimeUserError: When the backend refuses the request.
            flyte.errors.RuntimeSystemError: When it fails, or nothing answers.
        """
        backoff = Backoff(self._patience_seconds() if retried else 0.0)
        while True:
            try:
                answer = await method(request, timeout=timeout, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                if error.code() in _RETRIED and await backoff.wait():
                    await self._look_around()
                    if on_retry is not None:
                        on_retry()
                    continue
                raise self._error(error) from None
            self._answered = True
            return answer

    async def stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Q, A],
        make_request: Callable[[A | None], Q],
        *,
        on_reconnect: Callable[[], None] | None = None,
    ) -> AsyncGenerator[A, None]:
        """Reads a stream to its end, and connects again when it breaks.

        Args:
            method: The RPC, such as ``client.runs.WatchActions``.
            make_request: Makes the request; gets the last answer, whose cursor says where to go on, or None.
            on_reconnect: Called when the connection is lost, once until it is back.

        Raises:
            flyte.errors.BaseRuntimeError: As `call`.
        """
        last: A | None = None
        lost = False
        backoff = Backoff(self._watching_seconds())
        while True:
            stream = method(make_request(last), metadata=self._metadata)
            try:
                async for answer in stream:
                    self._answered = True
                    backoff = Backoff(self._watching_seconds())
                    last, lost = answer, False
                    yield answer
            except grpc.aio.AioRpcError as error:
                if error.code() not in _RETRIED_STREAMS:
                    raise self._error(error) from None
                if on_reconnect is not None and not lost:
                    on_reconnect()
                lost = True
                if not await backoff.wait():
                    raise self._error(error) from None
                await self._look_around()
            else:
                return
            finally:
                stream.cancel()

    def _error(self, error: grpc.aio.AioRpcError) -> errors.BaseRuntimeError:
        found = from_rpc_error(error, self.endpoint.address)
        if isinstance(found, errors.AuthenticationError) and self._auth_type and not self._metadata:
            return errors.AuthenticationError(
                found.code,
                f"authType {self._auth_type!r} is not available, and the backend at {self.endpoint.address} demands "
                "a token: set FLYTE_API_KEY to it, or give flyte.init(api_key=…). The operator gets it with "
                "`hangar token`.",
            )
        return found

    def _patience_seconds(self) -> float:
        return self.patience.later if self._answered else self.patience.first

    def _watching_seconds(self) -> float:
        return self.patience.watching if self._answered else self.patience.first


class _Stub:
    """Looks up each method when it is called."""

    def __init__(self, current: Callable[[], Any]) -> None:
        self._current = current

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: getattr(self._current(), name)(*args, **kwargs)  # noqa: PLW0108 - late

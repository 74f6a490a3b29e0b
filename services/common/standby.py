"""Choosing, call by call, which of several addresses of one service serves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from typing import Any

import grpc
import grpc.aio

_READY = grpc.ChannelConnectivity.READY
_FAILED = grpc.ChannelConnectivity.TRANSIENT_FAILURE
_LOOK_SECONDS = 0.02


class Choice:
    """Which of some channels is used. It stays with one as long as that is ready.

    Args:
        channels: Channels to the addresses; one that is connected to a server that does not serve is not ready.
    """

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._channels = channels
        self.current = 0
        """Number of the channel that was used last."""

    @property
    def is_needed(self) -> bool:
        """False when there is nothing to choose from."""
        return len(self._channels) > 1

    def look(self) -> bool:
        """Turns to a channel that is ready, and says whether there is one. All are told to connect."""
        states = [channel.get_state(try_to_connect=True) for channel in self._channels]
        if states[self.current] is _READY:
            return True
        if _READY not in states:
            return False
        self.current = states.index(_READY)
        return True

    def have_failed(self) -> bool:
        """Says whether no channel is ready, and none may become so at once."""
        return all(channel.get_state() is _FAILED for channel in self._channels)

    async def ready(self, *, wait: bool = True, until: float | None = None) -> bool:
        """Waits for a channel that is ready.

        Args:
            wait: False to give up as soon as all have failed.
            until: When to give up, on the monotonic clock.

        Returns:
            False when it gave up.
        """
        while not self.look():
            if not wait and self.have_failed():
                return False
            if until is not None and time.monotonic() >= until:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True


class ChosenMethod:
    """A method of a service, called at the address that serves.

    Args:
        methods: The method of each channel.
        choice: Chooses the channel.
        metadata: Makes what is sent with every call.
    """

    def __init__(
        self, methods: Sequence[Any], choice: Choice, metadata: Callable[[], list[tuple[str, str]]]
    ) -> None:
        self._methods = methods
        self._choice = choice
        self._metadata = metadata

    def __call__(self, *args: Any, metadata: Any = None, timeout: float | None = None, **kwargs: Any) -> Any:
        """Makes a call. While no address serves it waits for one, as far as `wait_for_ready` and timeout say."""
        sent = grpc.aio.Metadata(*(metadata or ()), *self._metadata())
        if not self._choice.is_needed or self._choice.look():
            return self._methods[self._choice.current](*args, metadata=sent, timeout=timeout, **kwargs)

        async def call() -> Any:
            until = None if timeout is None else time.monotonic() + timeout
            await self._choice.ready(wait=bool(kwargs.get("wait_for_ready")), until=until)
            left = None if until is None else max(0.0, until - time.monotonic())
            # Whoever gave up learns from the call itself why the address cannot be used.
            return self._methods[self._choice.current](*args, metadata=sent, timeout=left, **kwargs)

        return LaterCall(asyncio.ensure_future(call()))


class LaterCall:
    """A call that is made once an address serves. It is used like the one that it becomes.

    Args:
        call: Becomes the call.
    """

    def __init__(self, call: asyncio.Future[Any]) -> None:
        self._call = call

    def __await__(self) -> Generator[Any, None, Any]:
        return self._answer().__await__()

    async def _answer(self) -> Any:
        return await (await self._call)

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for response in await self._call:
            yield response

    async def read(self) -> Any:
        """Reads one response."""
        return await (await self._call).read()

    async def write(self, request: Any) -> None:
        """Writes one request."""
        await (await self._call).write(request)

    async def done_writing(self) -> None:
        """Says that there are no more requests."""
        await (await self._call).done_writing()

    async def initial_metadata(self) -> Any:
        """Returns what the server sent first."""
        return await (await self._call).initial_metadata()

    async def trailing_metadata(self) -> Any:
        """Returns what the server sent last."""
        return await (await self._call).trailing_metadata()

    async def code(self) -> Any:
        """Returns the status code."""
        return await (await self._call).code()

    async def details(self) -> Any:
        """Returns the message of the status."""
        return await (await self._call).details()

    def cancel(self) -> bool:
        """Cancels the call, also when it has not been made yet."""
        if self._call.done() and not self._call.cancelled() and self._call.exception() is None:
            return bool(self._call.result().cancel())
        return self._call.cancel()

    def cancelled(self) -> bool:
        """Says whether it was cancelled."""
        if self._call.cancelled():
            return True
        return self._call.done() and bool(self._call.result().cancelled())

    def done(self) -> bool:
        """Says whether it has ended."""
        if not self._call.done():
            return False
        return self._call.cancelled() or bool(self._call.result().done())

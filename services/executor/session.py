"""The session with the scheduler: one stream, opened again for ever, batched in both directions."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Protocol

import grpc
import grpc.aio
import structlog

from hangar.scheduler.v1.node_service_pb2 import (
    Heartbeat,
    Hello,
    NodeSessionRequest,
    NodeSessionResponse,
    Welcome,
)
from hangar.scheduler.v1.node_service_pb2_grpc import NodeServiceStub
from services.executor.outgoing import Outgoing

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
WELCOME_SECONDS = 30.0


class SessionListener(Protocol):
    """Who says what the host holds and carries out what the scheduler asks."""

    async def hello(self) -> Hello:
        """Returns what the host offers and holds now."""
        ...

    def welcomed(self, welcome: Welcome) -> None:
        """A session is open: drop what the scheduler does not know, and send again what is unanswered."""
        ...

    def received(self, frame: NodeSessionResponse) -> None:
        """The scheduler sent a frame. Called for the first one as well, after `welcomed`."""
        ...


class StaleSchedulerError(Exception):
    """A scheduler answered that was replaced by a newer one already."""


class Session:
    """Keeps a session open.

    Args:
        channel: Connection to the scheduler.
        listener: Says what the host holds and does what is asked.
        heartbeat: Makes heartbeats.
        outgoing: What is to be sent.
        generation: Newest generation of a scheduler that this host has seen.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        listener: SessionListener,
        heartbeat: Callable[[], Heartbeat],
        outgoing: Outgoing,
        generation: int = 0,
    ) -> None:
        self._stub = NodeServiceStub(channel)
        self._listener = listener
        self._heartbeat = heartbeat
        self._outgoing = outgoing
        self.generation = generation
        """Newest generation of a scheduler that was welcomed."""
        self.connected = False
        """True while a session is open."""

    async def run(self) -> None:
        """Opens a session, and another one when it breaks, until cancelled."""
        pause = FIRST_PAUSE_SECONDS
        silent = False
        while True:
            try:
                await self._hold_session()
                log.info("session.ended", hint="the scheduler closed it; connecting again")
                silent = False
            except grpc.aio.AioRpcError as error:
                if self.connected or not silent:
                    hint = "connecting again until the scheduler is there"
                    log.warning("session.broken", code=error.code().name, detail=error.details(), hint=hint)
                silent = True
            except StaleSchedulerError as error:
                log.error("session.refused", reason=str(error))
            except TimeoutError:
                log.warning("session.no_welcome", seconds=WELCOME_SECONDS)
            except Exception:
                # A frame that cannot be handled ends its session; in the next one all is settled again.
                log.exception("session.failed")
            if self.connected:
                pause = FIRST_PAUSE_SECONDS
            self.connected = False
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _hold_session(self) -> None:
        call = self._stub.NodeSession()
        helpers: list[asyncio.Task[None]] = []
        first: Any
        try:
            # What happens from here on is either in this Hello or sent again once the session is open.
            await _send(call, NodeSessionRequest(hello=await self._listener.hello()))
            async with asyncio.timeout(WELCOME_SECONDS):
                first = await call.read()
            if first is grpc.aio.EOF:
                await _raise_status(call)
                return
            self._check(first)
            self._outgoing.open()
            self.connected = True
            self._listener.welcomed(first.welcome)
            helpers = [
                asyncio.create_task(self._write(call)),
                asyncio.create_task(self._beat(first.welcome.heartbeat_interval_millis / 1000)),
            ]
            for helper in helpers:
                helper.add_done_callback(lambda _: call.cancel())  # Wakes the reader.
            await self._read(call, first)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            await _raise_failure(helpers)
        finally:
            self._outgoing.close()
            for helper in helpers:
                helper.cancel()
            call.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    def _check(self, first: NodeSessionResponse) -> None:
        if not first.HasField("welcome"):
            raise StaleSchedulerError(
                "the first frame of the scheduler has no welcome: it speaks another protocol"
            )
        if first.welcome.generation < self.generation:
            raise StaleSchedulerError(
                f"the scheduler has generation {first.welcome.generation}, but {self.generation} was here "
                "already: an old scheduler is still running"
            )
        self.generation = max(self.generation, first.welcome.generation)
        log.info("session.open", generation=self.generation)

    async def _read(self, call: Any, first: Any) -> None:
        frame = first
        while frame is not grpc.aio.EOF:
            self._listener.received(frame)
            frame = await call.read()
        await _raise_status(call)

    async def _write(self, call: Any) -> None:
        while True:
            await _send(call, await self._outgoing.take())

    async def _beat(self, seconds: float) -> None:
        while True:
            self._outgoing.heartbeat(self._heartbeat())
            await asyncio.sleep(seconds or 2.0)


async def _send(call: Any, request: NodeSessionRequest) -> None:
    try:
        await call.write(request)
    except asyncio.InvalidStateError:  # the call has ended already: its status says why
        await _raise_status(call)
        raise


async def _raise_failure(helpers: list[asyncio.Task[None]]) -> None:
    """Raises why writing or beating ended; they go on for ever otherwise."""
    for helper in helpers:
        if helper.done() and not helper.cancelled():
            await helper


async def _raise_status(call: Any) -> None:
    if await call.code() is not grpc.StatusCode.OK:
        raise grpc.aio.AioRpcError(
            await call.code(),
            await call.initial_metadata(),
            await call.trailing_metadata(),
            await call.details(),
        )

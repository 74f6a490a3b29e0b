"""`hangar.scheduler.v1.NodeService`: the sessions of executors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc.aio
import structlog

from hangar.scheduler.v1.node_service_pb2 import (
    FindTaskRequest,
    FindTaskResponse,
    Hello,
    NodeSessionRequest,
    NodeSessionResponse,
)
from hangar.scheduler.v1.node_service_pb2_grpc import NodeServiceServicer
from services.common.errors import FailedPrecondition, InvalidArgument
from services.scheduler.caching import Requests
from services.scheduler.core.events import NodeDisconnected, NodeHeartbeat
from services.scheduler.frame_decoder import FrameDecoder
from services.scheduler.running import Running, Slot
from services.scheduler.sessions import Session

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_log = structlog.get_logger(__name__)
_LONGEST_NAME = 253
_HEARTBEAT_SECONDS = 2.0


class NodeServicer(NodeServiceServicer):
    """Sessions of executors.

    Args:
        slot: What runs between start and stop.
    """

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    async def NodeSession(
        self, request_iterator: AsyncIterator[NodeSessionRequest], context: Context
    ) -> AsyncIterator[NodeSessionResponse]:
        """Holds the session of one host until it ends or a newer one replaces it."""
        running = self._slot.get()
        first = await anext(aiter(request_iterator), None)
        if first is None:
            return
        hello = _checked_hello(first)
        session = running.sessions.open(hello.node)
        decoder = FrameDecoder(hello.node, session.number, running.specs)
        log = _log.bind(node=hello.node, session=session.number)
        log.info("node connected", leases=len(hello.leases), workers=len(hello.workers))
        running.shell.submit([decoder.decode_hello(hello)])
        await _take_in(running, decoder, first, session)
        reading = asyncio.create_task(_read(running, decoder, request_iterator, session))
        try:
            while (frame := await session.next_frame()) is not None:
                yield frame
            if reading.done():
                reading.result()
            elif running.sessions.of(hello.node) is not None:
                raise FailedPrecondition(
                    f"node {hello.node!r} opened a newer session", reason="SESSION_REPLACED", node=hello.node
                )
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            running.sessions.close(session)
            running.shell.submit([NodeDisconnected(hello.node, session.number)])
            log.info("node disconnected")

    async def FindTask(self, request: FindTaskRequest, context: Context) -> FindTaskResponse:
        """Finds a deployed task."""
        found = await self._slot.get().deployments.find(
            request.project, request.domain, request.name, request.version
        )
        return FindTaskResponse(spec=found)


async def _read(
    running: Running,
    decoder: FrameDecoder,
    frames: AsyncIterator[NodeSessionRequest],
    session: Session,
) -> None:
    """Takes frames in until the executor ends the stream. Stops reading while the ledger is behind."""
    try:
        async for frame in frames:
            if frame.HasField("hello"):
                raise InvalidArgument("hello belongs into the first frame of a session only", field="hello")
            if running.sessions.of(session.node) is not session:
                return  # a newer one has said what the host holds: what is older than that is past
            await _take_in(running, decoder, frame, session)
            while not await running.shell.has_room(_HEARTBEAT_SECONDS):
                # Its frames wait here: that the host is not heard of is this end's doing.
                running.shell.submit([NodeHeartbeat(session.node, session.number)])
    finally:
        running.sessions.close(session)


async def _take_in(
    running: Running, decoder: FrameDecoder, frame: NodeSessionRequest, session: Session
) -> None:
    """Hands a frame whole to the core and the recorder, unless a newer session began meanwhile."""
    shell = running.shell
    now = shell.now()
    decoded = decoder.decode(frame, now)
    children = running.cache.concerned(decoded.children)
    if children:
        await _look_up(running, children, session)
        if running.sessions.of(session.node) is not session:
            return
    for chunk in decoded.log_chunks:
        shell.recorder.record_log_chunk(chunk)
    for worker_id, image in decoded.images.items():
        shell.recorder.hosts.image(worker_id, image)
    for lease_id, detail in decoded.progress:
        shell.recorder.attempts.progress(lease_id, detail, now)
    for lease_id, progress in decoded.user_progress:
        shell.recorder.attempts.user_progress(lease_id, progress, now)
    shell.submit(decoded.events, decoded.released)


async def _look_up(running: Running, children: Requests, session: Session) -> None:
    """Looks up what there is of requested children. Frames behind this one wait, and the host counts as heard."""
    looking = asyncio.create_task(running.cache.fill(children))
    try:
        while not (await asyncio.wait([looking], timeout=_HEARTBEAT_SECONDS))[0]:
            running.shell.submit([NodeHeartbeat(session.node, session.number)])
        await looking
    finally:
        looking.cancel()


def _checked_hello(first: NodeSessionRequest) -> Hello:
    if not first.HasField("hello"):
        raise InvalidArgument("the first frame of a session must have hello", reason="HELLO_MISSING")
    hello = first.hello
    if not 0 < len(hello.node) <= _LONGEST_NAME:
        raise InvalidArgument(
            f"hello.node is {hello.node[:80]!r}: give a name of 1 to {_LONGEST_NAME} characters",
            field="hello.node",
        )
    if not hello.boot_id:
        raise InvalidArgument(
            "hello.boot_id is empty: give what changes with every start", field="hello.boot_id"
        )
    return hello

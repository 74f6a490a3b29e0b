"""Commands to the scheduler, and its event stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

import grpc
import grpc.aio

from hangar.core.v1.identifiers_pb2 import ActionIdentifier, RunIdentifier
from hangar.core.v1.payload_pb2 import Payload
from hangar.scheduler.v1 import scheduler_service_pb2 as messages
from hangar.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from services.common.errors import Unavailable
from services.common.grpc_errors import from_rpc_error

T = TypeVar("T")
_COMMAND_SECONDS = 15.0


class SchedulerClient:
    """The scheduler as admin sees it. Commands wait a while for a scheduler that restarts.

    Args:
        channel: A channel to it.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: Any = SchedulerServiceStub(channel)

    async def create_run(self, request: messages.CreateRunRequest) -> bool:
        """Creates a run durably. False when one of this name and content existed already."""
        answer = await _answer(self._stub.CreateRun(request, timeout=_COMMAND_SECONDS, wait_for_ready=True))
        return bool(answer.created)

    async def abort_run(self, run: RunIdentifier, reason: str) -> bool:
        """Aborts a run. False when it had ended already."""
        request = messages.AbortRunRequest(run=run, reason=reason)
        answer = await _answer(self._stub.AbortRun(request, timeout=_COMMAND_SECONDS, wait_for_ready=True))
        return bool(answer.accepted)

    async def abort_action(self, action: ActionIdentifier, reason: str) -> bool:
        """Aborts an action and everything below it. False when it had ended already."""
        request = messages.AbortActionRequest(action=action, reason=reason)
        answer = await _answer(self._stub.AbortAction(request, timeout=_COMMAND_SECONDS, wait_for_ready=True))
        return bool(answer.accepted)

    async def deploy_tasks(self, request: messages.DeployTasksRequest) -> list[str]:
        """Makes versions of tasks known durably. Returns the names of those whose newest deployment changed."""
        answer = await _answer(self._stub.DeployTasks(request, timeout=_COMMAND_SECONDS, wait_for_ready=True))
        return list(answer.changed)

    async def signal_action(self, action: ActionIdentifier, outputs: Payload) -> None:
        """Gives a condition its value."""
        request = messages.SignalActionRequest(action=action, outputs=outputs)
        await _answer(self._stub.SignalAction(request, timeout=_COMMAND_SECONDS, wait_for_ready=True))

    async def watch_events(self, after: int | None) -> AsyncIterator[messages.WatchEventsResponse]:
        """Yields committed events, without an end unless the connection breaks.

        Args:
            after: Cursor of the last event that is known; None to start at the end.

        Raises:
            Unavailable: The connection broke or could not be made.
        """
        request = messages.WatchEventsRequest(after=after or 0, from_now=after is None)
        try:
            async for response in self._stub.WatchEvents(request, wait_for_ready=True):
                yield response
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error


async def _answer(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        lost = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        known = from_rpc_error(error)
        if lost and known.reason == "UNAVAILABLE":  # not the scheduler's own words
            message = (
                f"the scheduler did not answer ({error.details()}); the request can be sent again safely"
            )
            raise Unavailable(message, reason="SCHEDULER_UNAVAILABLE") from error
        raise known from error

"""`hangar.scheduler.v1.SchedulerService`: proto in, call, proto out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc.aio

from hangar.scheduler.v1 import scheduler_service_pb2 as messages
from hangar.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceServicer
from services.scheduler.running import Slot

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class SchedulerServicer(SchedulerServiceServicer):
    """Commands and the event stream.

    Args:
        slot: What runs between start and stop.
    """

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    async def CreateRun(
        self, request: messages.CreateRunRequest, context: Context
    ) -> messages.CreateRunResponse:
        """Creates a run durably."""
        return messages.CreateRunResponse(created=await self._slot.get().commands.create_run(request))

    async def AbortRun(
        self, request: messages.AbortRunRequest, context: Context
    ) -> messages.AbortRunResponse:
        """Aborts all actions of a run."""
        accepted = await self._slot.get().commands.abort_run(request.run, request.reason)
        return messages.AbortRunResponse(accepted=accepted)

    async def AbortAction(
        self, request: messages.AbortActionRequest, context: Context
    ) -> messages.AbortActionResponse:
        """Aborts an action and everything below it."""
        accepted = await self._slot.get().commands.abort_action(request.action, request.reason)
        return messages.AbortActionResponse(accepted=accepted)

    async def DeployTasks(
        self, request: messages.DeployTasksRequest, context: Context
    ) -> messages.DeployTasksResponse:
        """Makes versions of tasks known."""
        return messages.DeployTasksResponse(changed=await self._slot.get().deployments.deploy(request))

    async def PrepareImages(
        self, request: messages.PrepareImagesRequest, context: Context
    ) -> messages.PrepareImagesResponse:
        """Tells hosts of images that are being built."""
        return messages.PrepareImagesResponse(hosts=self._slot.get().deployments.prepare(request.images))

    async def SignalAction(
        self, request: messages.SignalActionRequest, context: Context
    ) -> messages.SignalActionResponse:
        """Gives a condition the value that it waits for."""
        await self._slot.get().commands.signal_action(request.action, request.outputs)
        return messages.SignalActionResponse()

    async def WatchEvents(
        self, request: messages.WatchEventsRequest, context: Context
    ) -> AsyncIterator[messages.WatchEventsResponse]:
        """Streams committed events after a cursor, without an end."""
        async for response in self._slot.get().feed.watch(None if request.from_now else request.after):
            yield response

    async def ListNodes(
        self, request: messages.ListNodesRequest, context: Context
    ) -> messages.ListNodesResponse:
        """Lists the hosts."""
        return messages.ListNodesResponse(nodes=self._slot.get().commands.list_nodes())

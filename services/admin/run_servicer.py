"""RunService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from hangar.admin.v1 import run_service_pb2 as messages
from hangar.admin.v1.run_service_pb2_grpc import RunServiceServicer
from services.admin.actions import Actions
from services.admin.reports import Reports
from services.admin.runs import Runs


class RunServicer(RunServiceServicer):
    """Runs and actions over gRPC."""

    def __init__(self, runs: Runs, actions: Actions, reports: Reports) -> None:
        self._runs = runs
        self._actions = actions
        self._reports = reports

    async def CreateRun(self, request: messages.CreateRunRequest, context: Any) -> Any:
        """Creates a run."""
        return await self._runs.create(request)

    async def RerunRun(self, request: messages.RerunRunRequest, context: Any) -> Any:
        """Creates a run like an earlier one."""
        return await self._runs.rerun(request)

    async def GetRun(self, request: messages.GetRunRequest, context: Any) -> Any:
        """Returns a run."""
        return messages.GetRunResponse(run=await self._runs.get(request.id))

    async def ListRuns(self, request: messages.ListRunsRequest, context: Any) -> Any:
        """Lists runs."""
        return await self._runs.list(request)

    async def WatchRuns(self, request: messages.WatchRunsRequest, context: Any) -> AsyncIterator[Any]:
        """Streams runs and their changes."""
        async for response in self._runs.watch(request):
            yield response

    async def AbortRun(self, request: messages.AbortRunRequest, context: Any) -> Any:
        """Aborts a run."""
        return messages.AbortRunResponse(accepted=await self._runs.abort(request.id, request.reason))

    async def GetAction(self, request: messages.GetActionRequest, context: Any) -> Any:
        """Returns an action."""
        return messages.GetActionResponse(action=await self._actions.get(request.id))

    async def ListActions(self, request: messages.ListActionsRequest, context: Any) -> Any:
        """Lists actions."""
        return await self._actions.list(request)

    async def WatchActions(self, request: messages.WatchActionsRequest, context: Any) -> AsyncIterator[Any]:
        """Streams actions and their changes."""
        async for response in self._actions.watch(request):
            yield response

    async def AbortAction(self, request: messages.AbortActionRequest, context: Any) -> Any:
        """Aborts an action."""
        return messages.AbortActionResponse(accepted=await self._actions.abort(request.id, request.reason))

    async def SignalAction(self, request: messages.SignalActionRequest, context: Any) -> Any:
        """Gives a condition its value."""
        return messages.SignalActionResponse(id=await self._actions.signal(request))

    async def GetActionData(self, request: messages.GetActionDataRequest, context: Any) -> Any:
        """Returns inputs and outputs of an action."""
        return await self._actions.data(request.id)

    async def GetReport(self, request: messages.GetReportRequest, context: Any) -> Any:
        """Returns where to read the report of an action."""
        attempt = request.attempt if request.HasField("attempt") else None
        return await self._reports.describe(request.id, attempt)

"""TaskService."""

from __future__ import annotations

from typing import Any

from hangar.admin.v1 import task_service_pb2 as messages
from hangar.admin.v1.task_service_pb2_grpc import TaskServiceServicer
from services.admin.tasks import Tasks


class TaskServicer(TaskServiceServicer):
    """Tasks over gRPC."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    async def DeployTasks(self, request: messages.DeployTasksRequest, context: Any) -> Any:
        """Deploys versions of tasks."""
        return await self._tasks.deploy(request)

    async def GetTask(self, request: messages.GetTaskRequest, context: Any) -> Any:
        """Returns a task."""
        return messages.GetTaskResponse(task=await self._tasks.get(request))

    async def ListTasks(self, request: messages.ListTasksRequest, context: Any) -> Any:
        """Lists tasks."""
        return await self._tasks.list(request)

    async def ListTaskVersions(self, request: messages.ListTaskVersionsRequest, context: Any) -> Any:
        """Lists the versions of a task."""
        return await self._tasks.list_versions(request)

"""ProjectService."""

from __future__ import annotations

from typing import Any

from hangar.admin.v1 import project_service_pb2 as messages
from hangar.admin.v1.project_service_pb2_grpc import ProjectServiceServicer
from services.admin.projects import Projects


class ProjectServicer(ProjectServiceServicer):
    """Projects over gRPC."""

    def __init__(self, projects: Projects) -> None:
        self._projects = projects

    async def CreateProject(self, request: messages.CreateProjectRequest, context: Any) -> Any:
        """Creates a project."""
        return messages.CreateProjectResponse(project=await self._projects.create(request.project))

    async def GetProject(self, request: messages.GetProjectRequest, context: Any) -> Any:
        """Returns a project."""
        return messages.GetProjectResponse(project=await self._projects.get(request.id))

    async def ListProjects(self, request: messages.ListProjectsRequest, context: Any) -> Any:
        """Lists projects."""
        return await self._projects.list(request)

    async def UpdateProject(self, request: messages.UpdateProjectRequest, context: Any) -> Any:
        """Changes a project."""
        return messages.UpdateProjectResponse(project=await self._projects.update(request))

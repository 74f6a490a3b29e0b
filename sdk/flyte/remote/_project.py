"""Projects."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime, timezone

from flyte._client._twins import twin, twin_iterator, twin_method
from flyte._initialize import Session, require_session
from flyte.remote._pages import check_limit, listed
from hangar.admin.v1 import project_pb2, project_service_pb2


class Project:
    """A project: the scope that runs and tasks belong to. Each method has an ``.aio`` twin."""

    def __init__(self, session: Session, message: project_pb2.Project) -> None:
        self._session = session
        self._message = message

    @property
    def pb(self) -> project_pb2.Project:
        """The backend's message."""
        return self._message

    @property
    def id(self) -> str:
        """Identifier."""
        return self._message.id

    @property
    def name(self) -> str:
        """Name for people."""
        return self._message.name

    @property
    def description(self) -> str:
        """What it is for."""
        return self._message.description

    @property
    def labels(self) -> dict[str, str]:
        """Labels."""
        return dict(self._message.labels)

    @property
    def archived(self) -> bool:
        """True when it takes no new runs."""
        return self._message.archived

    @property
    def domains(self) -> tuple[str, ...]:
        """Its domains."""
        return tuple(self._message.domains)

    @property
    def created_at(self) -> datetime:
        """When it was created."""
        created: datetime = self._message.created_at.ToDatetime(tzinfo=timezone.utc)
        return created

    def __repr__(self) -> str:
        return f"Project(id={self.id!r}, name={self.name!r}, archived={self.archived})"

    @twin
    @staticmethod
    async def get(id: str) -> Project:
        """Finds a project.

        Raises:
            flyte.errors.RuntimeUserError: When there is none.
        """
        session = require_session()
        client = await session.client()
        answer = await client.call(client.projects.GetProject, project_service_pb2.GetProjectRequest(id=id))
        return Project(session, answer.project)

    @twin_iterator
    @staticmethod
    async def listall(
        limit: int = 1000,
        include_archived: bool = False,
    ) -> AsyncGenerator[Project, None]:
        """Lists projects ordered by identifier.

        Args:
            limit: Most projects.
            include_archived: True to list archived ones too.

        Raises:
            TypeError, ValueError: The limit has no meaning.
        """
        check_limit(limit)
        session = require_session()
        client = await session.client()

        async def page(size: int, token: str) -> project_service_pb2.ListProjectsResponse:
            request = project_service_pb2.ListProjectsRequest(
                page_size=size, page_token=token, include_archived=include_archived
            )
            return await client.call(client.projects.ListProjects, request)

        async for message in listed(page, "projects", limit):
            yield Project(session, message)

    @twin
    @staticmethod
    async def create(
        id: str,
        name: str = "",
        description: str = "",
        labels: dict[str, str] | None = None,
    ) -> Project:
        """Creates a project.

        Args:
            id: Identifier: lower case letters, digits and hyphens, up to 63 characters.
            name: Name for people; the identifier unless given.
            description: What it is for.
            labels: Labels.

        Raises:
            flyte.errors.RuntimeUserError: When the identifier is taken or not valid.
        """
        session = require_session()
        client = await session.client()
        message = project_pb2.Project(id=id, name=name or id, description=description, labels=labels)
        request = project_service_pb2.CreateProjectRequest(project=message)
        answer = await client.call(client.projects.CreateProject, request, retried=False)
        return Project(session, answer.project)

    @twin_method
    async def update(
        self,
        name: str | None = None,
        description: str | None = None,
        labels: dict[str, str] | None = None,
        archived: bool | None = None,
    ) -> Project:
        """Changes what is given, and returns it.

        Args:
            name: New name.
            description: New description.
            labels: New labels, instead of all that it has.
            archived: True to take no new runs.
        """
        client = await self._session.client()
        request = project_service_pb2.UpdateProjectRequest(
            id=self.id,
            name=name,
            description=description,
            labels=labels,
            replace_labels=labels is not None,
            archived=archived,
        )
        answer = await client.call(client.projects.UpdateProject, request)
        self._message = answer.project
        return self

    async def _set_archived(self, archived: bool) -> Project:
        client = await self._session.client()
        request = project_service_pb2.UpdateProjectRequest(id=self.id, archived=archived)
        self._message = (await client.call(client.projects.UpdateProject, request)).project
        return self

    @twin_method
    async def archive(self) -> Project:
        """Makes it take no new runs."""
        return await self._set_archived(True)

    @twin_method
    async def unarchive(self) -> Project:
        """Makes it take new runs again."""
        return await self._set_archived(False)

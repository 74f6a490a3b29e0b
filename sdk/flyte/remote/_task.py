"""Tasks that were run in a project and domain."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime, timezone

from flyte._client._twins import twin, twin_iterator
from flyte._initialize import require_session
from hangar.admin.v1 import task_service_pb2


class Task:
    """A task in one version. Each method has an ``.aio`` twin."""

    def __init__(self, message: task_service_pb2.Task) -> None:
        self._message = message

    @property
    def pb(self) -> task_service_pb2.Task:
        """The backend's message."""
        return self._message

    @property
    def name(self) -> str:
        """Fully qualified name: environment, a dot, function."""
        return self._message.spec.name

    @property
    def version(self) -> str:
        """Version of its code."""
        return self._message.spec.code.version

    @property
    def environment(self) -> str:
        """Name of its task environment."""
        return self._message.spec.environment

    @property
    def description(self) -> str:
        """What it does."""
        return self._message.spec.description

    @property
    def inputs(self) -> dict[str, str]:
        """Types of its inputs by name."""
        return {variable.name: variable.type_name for variable in self._message.spec.interface.inputs}

    @property
    def outputs(self) -> dict[str, str]:
        """Types of its outputs by name."""
        return {variable.name: variable.type_name for variable in self._message.spec.interface.outputs}

    @property
    def created_at(self) -> datetime:
        """When this version was first seen."""
        created: datetime = self._message.created_at.ToDatetime(tzinfo=timezone.utc)
        return created

    def __repr__(self) -> str:
        return f"Task(name={self.name!r}, version={self.version!r})"

    @twin
    @staticmethod
    async def get(
        name: str,
        version: str | None = None,
        project: str | None = None,
        domain: str | None = None,
    ) -> Task:
        """Finds a task.

        Args:
            name: Fully qualified name.
            version: Version; the newest unless given.
            project: Project, the configured one unless given.
            domain: Domain, the configured one unless given.

        Raises:
            flyte.errors.RemoteTaskNotFoundError: When there is none.
        """
        session = require_session()
        client = await session.client()
        request = task_service_pb2.GetTaskRequest(
            project=project or session.project,
            domain=domain or session.domain,
            name=name,
            version=version or "",
        )
        return Task((await client.call(client.tasks.GetTask, request)).task)

    @twin_iterator
    @staticmethod
    async def listall(
        project: str | None = None,
        domain: str | None = None,
        limit: int = 100,
    ) -> AsyncGenerator[Task, None]:
        """Lists tasks, each in its newest version, ordered by name.

        Args:
            project: Project, the configured one unless given.
            domain: Domain, the configured one unless given.
            limit: Most tasks.
        """
        session = require_session()
        client = await session.client()
        token = ""
        while limit > 0:
            request = task_service_pb2.ListTasksRequest(
                project=project or session.project,
                domain=domain or session.domain,
                page_size=min(limit, 1000),
                page_token=token,
            )
            answer = await client.call(client.tasks.ListTasks, request)
            for message in answer.tasks[:limit]:
                yield Task(message)
            limit -= len(answer.tasks)
            token = answer.next_page_token
            if not token:
                return

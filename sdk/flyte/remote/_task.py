"""Deployed tasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from flyte import errors
from flyte._client._twins import immediate_twin, twin_iterator, twin_method
from flyte._context import ctx
from flyte._initialize import Session, refuse, require_session
from flyte.remote._call import DeployedCall
from flyte.remote._pages import check_limit, listed

if TYPE_CHECKING:
    from pathlib import Path

    from flyte._context import Controller
    from hangar.admin.v1 import task_service_pb2

AutoVersion = Literal["latest", "current"]


class TaskHandle(DeployedCall):
    """Names a deployed task that is looked up when it is called: what `Task.get` gives."""

    def __init__(
        self,
        name: str,
        project: str | None,
        domain: str | None,
        version: str | None,
        auto_version: AutoVersion | None,
    ) -> None:
        self._name = name
        self.project = project
        self.domain = domain
        self.version = version
        self.auto_version = auto_version

    @property
    def name(self) -> str:
        """Fully qualified name: environment, a dot, function."""
        return self._name

    def __repr__(self) -> str:
        which = f"version={self.version!r}" if self.version else f"auto_version={self.auto_version!r}"
        return f"TaskHandle(name={self.name!r}, {which})"

    @twin_method
    async def fetch(self) -> Task:
        """Asks the backend for the task.

        Raises:
            flyte.errors.RemoteTaskNotFoundError: There is none.
            flyte.errors.RemoteTaskUsageError: `auto_version` is "current", which means something in a task only.
        """
        session = require_session()
        task = Task(await self._message(session))
        task._settings = self._settings
        return task

    def _wanted_version(self) -> str:
        if self.auto_version != "current":
            return self.version or ""
        context = ctx()
        if context is None or not context.version:
            raise errors.RemoteTaskUsageError(
                f'auto_version="current" of {self.name} means the version of the calling task: outside of one use '
                'auto_version="latest" or version="…"'
            )
        return context.version

    async def _message(self, session: Session) -> task_service_pb2.Task:
        from hangar.admin.v1 import task_service_pb2  # a task that calls another one has no protobuf

        client = await session.client()
        request = task_service_pb2.GetTaskRequest(
            project=self.project or session.project,
            domain=self.domain or session.domain,
            name=self.name,
            version=self._wanted_version(),
        )
        return (await client.call(client.tasks.GetTask, request)).task

    async def _find(self, controller: Controller) -> dict[str, Any]:
        version = self._wanted_version() if ctx() is not None else self.version or ""
        return await controller.find_task(self.name, self.project or "", self.domain or "", version)

    async def _fetch(self, session: Session) -> dict[str, Any]:
        return spec_of(await self._message(session))


class Task(DeployedCall):
    """A deployed task in one version. Each method has an ``.aio`` twin.

    Example:
        ```python
        score = flyte.remote.Task.get("models.score", auto_version="latest")
        run = flyte.run(score, text="hello")     # from a program
        value = await score(text="hello")        # inside a task
        ```
    """

    def __init__(self, message: task_service_pb2.Task) -> None:
        self._task = message

    @property
    def pb(self) -> task_service_pb2.Task:
        """The backend's message."""
        return self._task

    @property
    def name(self) -> str:
        """Fully qualified name: environment, a dot, function."""
        return self._task.spec.name

    @property
    def version(self) -> str:
        """Version of its code."""
        return self._task.spec.code.version

    @property
    def project(self) -> str:
        """Project."""
        return self._task.project

    @property
    def domain(self) -> str:
        """Domain."""
        return self._task.domain

    @property
    def environment(self) -> str:
        """Name of its task environment."""
        return self._task.spec.environment

    @property
    def description(self) -> str:
        """What it does."""
        return self._task.spec.description

    @property
    def entrypoint(self) -> bool:
        """True when people are meant to start it themselves."""
        return self._task.spec.entrypoint

    @property
    def inputs(self) -> dict[str, str]:
        """Types of its inputs by name."""
        return {variable.name: variable.type_name for variable in self._task.spec.interface.inputs}

    @property
    def outputs(self) -> dict[str, str]:
        """Types of its outputs by name."""
        return {variable.name: variable.type_name for variable in self._task.spec.interface.outputs}

    @property
    def created_at(self) -> datetime:
        """When this version was first seen."""
        created: datetime = self._task.created_at.ToDatetime(tzinfo=timezone.utc)
        return created

    @property
    def deployed_at(self) -> datetime | None:
        """When this version was last deployed, None when it was run only."""
        if not self._task.HasField("deployed_at"):
            return None
        deployed: datetime = self._task.deployed_at.ToDatetime(tzinfo=timezone.utc)
        return deployed

    def __repr__(self) -> str:
        return f"Task(name={self.name!r}, version={self.version!r})"

    @twin_method
    async def fetch(self) -> Task:
        """Itself: nothing is left to be asked for."""
        return self

    @twin_method
    async def get_code(self, destination: Path | str) -> list[Path]:
        """Writes its code, as it was sent, below a directory that is empty or does not exist.

        Returns:
            The files.

        Raises:
            ValueError: The directory has files already.
            flyte.errors.RuntimeUserError: The code is in the image, or is not stored any more.
        """
        from flyte.remote._code import download_code  # see above

        return await download_code(require_session(), self._task, destination)

    @immediate_twin
    @staticmethod
    async def get(
        name: str,
        project: str | None = None,
        domain: str | None = None,
        version: str | None = None,
        auto_version: AutoVersion | None = None,
    ) -> TaskHandle:
        """Names a deployed task. Asks nobody yet: a task that does not exist is an error when it is called.

        Args:
            name: Fully qualified name, such as "my_env.greet".
            project: Its project. Unless given that of the calling task, or the configured one.
            domain: Its domain. Unless given as for `project`.
            version: Its version.
            auto_version: "latest" for the version that was deployed last, "current" for that of the calling task.

        Raises:
            ValueError: Neither version nor auto_version is given, or both are, or the name is none.
        """
        if not isinstance(name, str) or "." not in name:
            raise ValueError(f'name={name!r} must be environment and task, such as "my_env.greet"')
        if (version is None) == (auto_version is None):
            raise ValueError(f'Task.get({name!r}) needs exactly one of version="…" and auto_version="latest"')
        if auto_version not in {None, "latest", "current"}:
            raise ValueError(f'auto_version={auto_version!r} must be "latest" or "current"')
        if version == "":
            raise ValueError(f'version="" of {name!r} is empty: give one, or auto_version="latest"')
        return TaskHandle(name, project, domain, version, auto_version)

    @twin_iterator
    @staticmethod
    async def listall(
        by_task_name: str | None = None,
        by_task_env: str | None = None,
        project: str | None = None,
        domain: str | None = None,
        sort_by: tuple[str, str] | None = None,
        limit: int = 100,
        entrypoint: bool | None = None,
    ) -> AsyncGenerator[Task, None]:
        """Lists deployed tasks by name, each in the version that was deployed last; or the versions of one.

        Args:
            by_task_name: Only the versions of this task, last deployed first.
            by_task_env: Only tasks of this environment.
            project: Project, the configured one unless given.
            domain: Domain, the configured one unless given.
            sort_by: Refused: sort the list.
            limit: Most tasks.
            entrypoint: True for those only that people are meant to start.

        Raises:
            flyte.errors.RemoteTaskNotFoundError: There is no task of this name.
            TypeError, ValueError: The limit has no meaning.
        """
        check_limit(limit)
        refuse(sort_by=(sort_by, "tasks come by name, versions newest first; sort the list"))
        from hangar.admin.v1 import task_service_pb2  # see above

        session = require_session()
        client = await session.client()
        scope: dict[str, Any] = {"project": project or session.project, "domain": domain or session.domain}

        async def page(size: int, token: str) -> Any:
            part = {**scope, "page_size": size, "page_token": token}
            if by_task_name:
                versions = task_service_pb2.ListTaskVersionsRequest(name=by_task_name, **part)
                return await client.call(client.tasks.ListTaskVersions, versions)
            tasks = task_service_pb2.ListTasksRequest(entrypoint=bool(entrypoint), **part)
            return await client.call(client.tasks.ListTasks, tasks)

        def matches(task: task_service_pb2.Task) -> bool:
            if by_task_env is not None and task.spec.environment != by_task_env:
                return False
            return entrypoint is None or task.spec.entrypoint is entrypoint

        every = by_task_env is None and entrypoint is None
        async for message in listed(page, "tasks", limit, None if every else matches):
            yield Task(message)

    async def _find(self, controller: Controller) -> dict[str, Any]:
        return self._made[0] if self._made is not None else spec_of(self._task)

    async def _fetch(self, session: Session) -> dict[str, Any]:
        return spec_of(self._task)


def spec_of(task: task_service_pb2.Task) -> dict[str, Any]:
    """The definition of a task as proto-JSON with snake_case names."""
    from google.protobuf import json_format  # see above

    return json_format.MessageToDict(task.spec, preserving_proto_field_name=True)

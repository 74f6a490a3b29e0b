"""Tasks: deployed ones, and what was only run, in a project and domain."""

from __future__ import annotations

from collections.abc import Iterable

from hangar.admin.v1 import task_service_pb2 as messages
from hangar.core.v1.task_spec_pb2 import TaskSpec
from hangar.scheduler.v1 import scheduler_service_pb2 as scheduler
from services.admin import convert
from services.admin.data import Data
from services.admin.projects import Projects
from services.admin.reader import LedgerReader
from services.admin.scheduler_client import SchedulerClient
from services.common.errors import InvalidArgument, NotFound
from services.common.pages import last_entry, page_size, page_token
from services.ledger.queries import tasks as queries


class Tasks:
    """Use cases of tasks.

    Args:
        reader: Reads the ledger.
        scheduler_client: Changes it.
        projects: Knows what projects there are.
        data: Knows what was uploaded.
    """

    def __init__(
        self, reader: LedgerReader, scheduler_client: SchedulerClient, projects: Projects, data: Data
    ) -> None:
        self._reader = reader
        self._scheduler = scheduler_client
        self._projects = projects
        self._data = data

    async def deploy(self, request: messages.DeployTasksRequest) -> messages.DeployTasksResponse:
        """Deploys versions of tasks, all or none."""
        project, domain = request.project, request.domain
        await self._projects.check_open(project, domain)
        await check_definitions(self._data, request.tasks)
        command = scheduler.DeployTasksRequest(project=project, domain=domain, tasks=request.tasks)
        changed = await self._scheduler.deploy_tasks(command)
        found = await self._reader.read(
            lambda ledger: [
                queries.get_task(ledger, project, domain, task.name, task.code.version)
                for task in request.tasks
            ]
        )
        tasks = [convert.task(record, project, domain) for record in found if record is not None]
        return messages.DeployTasksResponse(tasks=tasks, changed=changed)

    async def get(self, request: messages.GetTaskRequest) -> messages.Task:
        """Returns a task in the version that was deployed last, or in a given one. `NotFound` when there is none."""
        project, domain, name, version = request.project, request.domain, request.name, request.version
        await self._projects.check(project, domain)
        record = await self._reader.read(
            lambda ledger: queries.get_task(ledger, project, domain, name, version)
        )
        if record is None:
            raise _not_found(project, domain, name, version)
        return convert.task(record, project, domain)

    async def list(self, request: messages.ListTasksRequest) -> messages.ListTasksResponse:
        """Lists deployed tasks by name, each in the version that was deployed last."""
        project, domain = request.project, request.domain
        await self._projects.check(project, domain)
        size = page_size(request.page_size)
        after = str(last_entry(request, request.page_token, str) or "")
        records = await self._reader.read(
            lambda ledger: queries.list_tasks(
                ledger, project, domain, entrypoint=request.entrypoint, after_name=after, limit=size + 1
            )
        )
        page = records[:size]
        more = page_token(request, page[-1].name) if len(records) > size else ""
        tasks = [convert.task(record, project, domain) for record in page]
        return messages.ListTasksResponse(tasks=tasks, next_page_token=more)

    async def list_versions(
        self, request: messages.ListTaskVersionsRequest
    ) -> messages.ListTaskVersionsResponse:
        """Lists the deployed versions of a task, last deployed first. `NotFound` when there is none."""
        project, domain, name = request.project, request.domain, request.name
        await self._projects.check(project, domain)
        size = page_size(request.page_size)
        before = last_entry(request, request.page_token, int)
        records = await self._reader.read(
            lambda ledger: queries.list_versions(
                ledger,
                project,
                domain,
                name,
                before_id=None if before is None else int(before),
                limit=size + 1,
            )
        )
        if not records and before is None:
            raise _not_found(project, domain, name, "")
        page = records[:size]
        more = page_token(request, page[-1].id) if len(records) > size else ""
        tasks = [convert.task(record, project, domain) for record in page]
        return messages.ListTaskVersionsResponse(tasks=tasks, next_page_token=more)


async def check_definitions(data: Data, tasks: Iterable[TaskSpec]) -> None:
    """Checks that definitions say what they are of, and that their code was uploaded.

    Raises:
        InvalidArgument: One does not.
    """
    bundles: set[str] = set()
    for task in tasks:
        for field in ("name", "environment"):
            if not getattr(task, field):
                raise InvalidArgument(
                    f"task.{field} must not be empty", reason="TASK_INVALID", field=f"task.{field}"
                )
        bundles.add(task.code.bundle_digest)
    for digest in sorted(bundles - {""}):
        await data.check_bundle(digest)


def _not_found(project: str, domain: str, name: str, version: str) -> NotFound:
    which = f"task {name!r}" + (f" in version {version!r}" if version else "")
    message = (
        f"{which} is not deployed in project {project!r}, domain {domain!r}: check the name (see "
        "flyte get task), or deploy it with `flyte deploy`"
    )
    return NotFound(message, reason="TASK_NOT_FOUND", task=name)

"""Tasks: what was run in a project and domain."""

from __future__ import annotations

from hangar.admin.v1 import task_service_pb2 as messages
from services.admin import convert
from services.admin.projects import Projects
from services.admin.reader import LedgerReader
from services.common.errors import NotFound
from services.common.pages import last_entry, page_size, page_token
from services.ledger.queries import tasks as queries


class Tasks:
    """Use cases of tasks.

    Args:
        reader: Reads the ledger.
        projects: Knows what projects there are.
    """

    def __init__(self, reader: LedgerReader, projects: Projects) -> None:
        self._reader = reader
        self._projects = projects

    async def get(self, request: messages.GetTaskRequest) -> messages.Task:
        """Returns a task in its newest or a given version. `NotFound` when there is none."""
        project, domain, name, version = request.project, request.domain, request.name, request.version
        await self._projects.check(project, domain)
        record = await self._reader.read(
            lambda ledger: queries.get_task(ledger, project, domain, name, version)
        )
        if record is None:
            which = f"task {name!r}" + (f" in version {version!r}" if version else "")
            message = f"{which} was never run in project {project!r}, domain {domain!r}: check the name"
            raise NotFound(message, reason="TASK_NOT_FOUND", task=name)
        return convert.task(record, project, domain)

    async def list(self, request: messages.ListTasksRequest) -> messages.ListTasksResponse:
        """Lists tasks by name, each in its newest version."""
        project, domain = request.project, request.domain
        await self._projects.check(project, domain)
        size = page_size(request.page_size)
        after = str(last_entry(request, request.page_token, str) or "")
        records = await self._reader.read(
            lambda ledger: queries.list_tasks(ledger, project, domain, after_name=after, limit=size + 1)
        )
        page = records[:size]
        more = page_token(request, page[-1].name) if len(records) > size else ""
        tasks = [convert.task(record, project, domain) for record in page]
        return messages.ListTasksResponse(tasks=tasks, next_page_token=more)

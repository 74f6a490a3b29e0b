"""Projects: create, show, change, and refuse what is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from hangar.admin.v1 import project_service_pb2 as messages
from hangar.admin.v1.project_pb2 import Project
from services.admin import convert
from services.admin.store import ProjectRecord, Store
from services.common.clock import Clock
from services.common.errors import FailedPrecondition, InvalidArgument
from services.common.names import check_domain, check_name
from services.common.pages import last_entry, page_size, page_token
from services.ledger.timestamps import to_micros

DEFAULT_PROJECT = "default"
_LONGEST_NAME, _LONGEST_DESCRIPTION = 200, 10_000


class Projects:
    """Use cases of projects.

    Args:
        store: Admin's rows.
        clock: Tells the time.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def ensure_default(self) -> None:
        """Makes the default project unless it exists."""
        record = ProjectRecord(DEFAULT_PROJECT, "Default", "", {}, False, to_micros(self._clock.now()))
        await asyncio.to_thread(self._store.ensure_project, record)

    async def create(self, project: Project) -> Project:
        """Creates a project."""
        record = ProjectRecord(
            id=check_name("project id", project.id),
            name=_text("name", project.name or project.id, _LONGEST_NAME),
            description=_text("description", project.description, _LONGEST_DESCRIPTION),
            labels=check_labels(project.labels),
            archived=project.archived,
            created_at=to_micros(self._clock.now()),
        )
        await asyncio.to_thread(self._store.create_project, record)
        return convert.project(record)

    async def get(self, project: str) -> Project:
        """Returns a project. `NotFound` when there is none."""
        return convert.project(await self._record(project))

    async def list(self, request: messages.ListProjectsRequest) -> messages.ListProjectsResponse:
        """Lists projects by identifier."""
        size = page_size(request.page_size)
        after = last_entry(request, request.page_token, str) or ""
        records = await asyncio.to_thread(
            self._store.list_projects, after=str(after), archived=request.include_archived, limit=size + 1
        )
        page = records[:size]
        more = page_token(request, page[-1].id) if len(records) > size else ""
        return messages.ListProjectsResponse(projects=map(convert.project, page), next_page_token=more)

    async def update(self, request: messages.UpdateProjectRequest) -> Project:
        """Changes what is set in a request."""
        await self._record(request.id)
        changes: dict[str, Any] = {}
        if request.HasField("name"):
            if not request.name:
                raise InvalidArgument("name must not be empty: leave it out to keep it", field="name")
            changes["name"] = _text("name", request.name, _LONGEST_NAME)
        if request.HasField("description"):
            changes["description"] = _text("description", request.description, _LONGEST_DESCRIPTION)
        if request.replace_labels:
            changes["labels"] = check_labels(request.labels)
        elif request.labels:
            raise InvalidArgument(
                "labels are given but replace_labels is not set: set it", field="replace_labels"
            )
        if request.HasField("archived"):
            changes["archived"] = request.archived
        return convert.project(await asyncio.to_thread(self._store.update_project, request.id, changes))

    async def check(self, project: str, domain: str) -> None:
        """Accepts a project and domain that exist.

        Raises:
            InvalidArgument: The domain is none, or the project is not named.
            NotFound: There is no such project.
        """
        check_domain(domain)
        await self._record(project)

    async def check_open(self, project: str, domain: str) -> None:
        """Accepts a project and domain that take new runs.

        Raises:
            FailedPrecondition: The project is archived (reason ``PROJECT_ARCHIVED``).
        """
        check_domain(domain)
        if (await self._record(project)).archived:
            message = (
                f"project {project!r} is archived and takes no new runs: unarchive it, or use another project"
            )
            raise FailedPrecondition(message, reason="PROJECT_ARCHIVED", project=project)

    async def _record(self, project: str) -> ProjectRecord:
        check_name("project", project)
        return await asyncio.to_thread(self._store.get_project, project)


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Returns labels that are fit to be some: up to 64, of bounded length, without NUL."""
    if len(labels) > 64:
        raise InvalidArgument(f"{len(labels)} labels are given: use up to 64", field="labels")
    for key, value in labels.items():
        if not 1 <= len(key) <= 128 or len(value) > 256:
            message = f"label {key[:40]!r} is not valid: keys have 1 to 128 characters, values up to 256"
            raise InvalidArgument(message, field="labels")
        if "\0" in key + value:
            raise InvalidArgument(f"label {key[:40]!r} has the character NUL: leave it out", field="labels")
    return dict(labels)


def _text(field: str, value: str, longest: int) -> str:
    if len(value) > longest:
        raise InvalidArgument(f"{field} has {len(value)} characters: use up to {longest}", field=field)
    return value

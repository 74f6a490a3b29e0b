"""Tasks that were run in a project and domain."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from services.ledger.tables import TASK_SPEC, TASK_VERSION


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task in one version."""

    name: str
    """Fully qualified name: what pages of tasks go by."""
    version: str
    spec_digest: str
    spec: bytes
    """Serialised `hangar.core.v1.TaskSpec`."""
    created_at: int
    """When this version was first seen."""


_TASKS = select(
    TASK_VERSION.c.name,
    TASK_VERSION.c.version,
    TASK_VERSION.c.spec_digest,
    TASK_SPEC.c.spec,
    TASK_VERSION.c.created_at,
).join_from(TASK_VERSION, TASK_SPEC, TASK_SPEC.c.digest == TASK_VERSION.c.spec_digest)


def get_task(
    connection: Connection, project: str, domain: str, name: str, version: str = ""
) -> TaskRecord | None:
    """Return a task.

    Args:
        connection: Where to read.
        project: Its project.
        domain: Its domain.
        name: Its fully qualified name, such as "my_env.greet".
        version: Its version; empty for the newest, which is the one that was first seen last.

    Returns:
        The task, None when it was never run there.
    """
    c = TASK_VERSION.c
    query = _TASKS.where((c.project == project) & (c.domain == domain) & (c.name == name))
    if version:
        query = query.where(c.version == version)
    row = connection.execute(query.order_by(c.id.desc()).limit(1)).one_or_none()
    return None if row is None else _record(row)


def list_tasks(
    connection: Connection, project: str, domain: str, *, after_name: str = "", limit: int = 100
) -> list[TaskRecord]:
    """List tasks, each in its newest version, ordered by name.

    Args:
        connection: Where to read.
        project: Their project.
        domain: Their domain.
        after_name: Name of the last task of the page before; empty for the first page.
        limit: Most tasks in the answer.

    Returns:
        The tasks; fewer than `limit` only at the end.
    """
    c = TASK_VERSION.c
    newest = (
        select(func.max(c.id))
        .where((c.project == project) & (c.domain == domain) & (c.name > after_name))
        .group_by(c.name)
    )
    query = _TASKS.where((c.project == project) & (c.domain == domain) & c.id.in_(newest))
    return [_record(row) for row in connection.execute(query.order_by(c.name).limit(limit))]


def get_spec(connection: Connection, digest: str) -> bytes | None:
    """Return the serialised `hangar.core.v1.TaskSpec` of a digest, None when there is none."""
    query = select(TASK_SPEC.c.spec).where(TASK_SPEC.c.digest == digest)
    spec: bytes | None = connection.execute(query).scalar_one_or_none()
    return spec


def _record(row: Sequence[Any]) -> TaskRecord:
    return TaskRecord(*row)

"""Tasks that were deployed, or only run, in a project and domain."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, null, select

from services.ledger.tables import DEPLOYED_TASK, TASK_SPEC, TASK_VERSION


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
    deployed_at: int | None
    """When it was last deployed, None when it was run only."""
    id: int
    """Order of deployments: what pages of versions go by."""


def get_task(
    connection: Connection, project: str, domain: str, name: str, version: str = ""
) -> TaskRecord | None:
    """Return a task.

    Args:
        connection: Where to read.
        project: Its project.
        domain: Its domain.
        name: Its fully qualified name, such as "my_env.greet".
        version: Its version, deployed or only run; empty for the one that was deployed last.

    Returns:
        The task, None when there is none.
    """
    c = DEPLOYED_TASK.c
    query = _DEPLOYED.where((c.project == project) & (c.domain == domain) & (c.name == name))
    if version:
        query = query.where(c.version == version)
    row = connection.execute(query.order_by(c.id.desc()).limit(1)).one_or_none()
    if row is None and version:
        v = TASK_VERSION.c
        run_only = (v.project == project) & (v.domain == domain) & (v.name == name) & (v.version == version)
        row = connection.execute(_RUN_ONLY.where(run_only)).one_or_none()
    return None if row is None else _record(row)


def list_tasks(
    connection: Connection,
    project: str,
    domain: str,
    *,
    entrypoint: bool = False,
    after_name: str = "",
    limit: int = 100,
) -> list[TaskRecord]:
    """List deployed tasks, each in the version that was deployed last, ordered by name.

    Args:
        connection: Where to read.
        project: Their project.
        domain: Their domain.
        entrypoint: True for those only whose newest version is an entrypoint.
        after_name: Name of the last task of the page before; empty for the first page.
        limit: Most tasks in the answer.

    Returns:
        The tasks; fewer than `limit` only at the end.
    """
    c = DEPLOYED_TASK.c
    newest = (
        select(func.max(c.id))
        .where((c.project == project) & (c.domain == domain) & (c.name > after_name))
        .group_by(c.name)
    )
    query = _DEPLOYED.where((c.project == project) & (c.domain == domain) & c.id.in_(newest))
    if entrypoint:
        query = query.where(c.entrypoint)
    return [_record(row) for row in connection.execute(query.order_by(c.name).limit(limit))]


def list_versions(
    connection: Connection,
    project: str,
    domain: str,
    name: str,
    *,
    before_id: int | None = None,
    limit: int = 100,
) -> list[TaskRecord]:
    """List the deployed versions of a task, last deployed first.

    Args:
        connection: Where to read.
        project: Its project.
        domain: Its domain.
        name: Its fully qualified name.
        before_id: `id` of the last version of the page before; None for the first page.
        limit: Most versions in the answer.

    Returns:
        The versions; fewer than `limit` only at the end.
    """
    c = DEPLOYED_TASK.c
    query = _DEPLOYED.where((c.project == project) & (c.domain == domain) & (c.name == name))
    if before_id is not None:
        query = query.where(c.id < before_id)
    return [_record(row) for row in connection.execute(query.order_by(c.id.desc()).limit(limit))]


def deployed_versions(
    connection: Connection, project: str, domain: str, names: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    """Return version and digest of the definition of each deployment of some tasks, last deployed first."""
    c = DEPLOYED_TASK.c
    query = select(c.name, c.version, c.spec_digest).where((c.project == project) & (c.domain == domain))
    found: dict[str, list[tuple[str, str]]] = {}
    for start in range(0, len(names), _PAGE):
        page = query.where(c.name.in_(names[start : start + _PAGE])).order_by(c.id.desc())
        for name, version, digest in connection.execute(page):
            found.setdefault(name, []).append((version, digest))
    return found


def get_spec(connection: Connection, digest: str) -> bytes | None:
    """Return the serialised `hangar.core.v1.TaskSpec` of a digest, None when there is none."""
    query = select(TASK_SPEC.c.spec).where(TASK_SPEC.c.digest == digest)
    spec: bytes | None = connection.execute(query).scalar_one_or_none()
    return spec


_PAGE = 500


def _joined(table: Any, deployed_at: Any) -> Select[Any]:
    c = table.c
    return select(
        c.name, c.version, c.spec_digest, TASK_SPEC.c.spec, c.created_at, deployed_at, c.id
    ).join_from(table, TASK_SPEC, TASK_SPEC.c.digest == c.spec_digest)


_DEPLOYED = _joined(DEPLOYED_TASK, DEPLOYED_TASK.c.deployed_at)
_RUN_ONLY = _joined(TASK_VERSION, null())


def _record(row: Sequence[Any]) -> TaskRecord:
    return TaskRecord(*row)

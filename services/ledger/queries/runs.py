"""Runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, exists, func, select

from hangar.core.v1.task_spec_pb2 import RunContext
from services.ledger.queries.failures import FailureRecord, failure_columns, failure_of
from services.ledger.queries.payloads import PayloadRecord, get_inputs
from services.ledger.run_context import run_context
from services.ledger.tables import ACTION, EVENT, RUN, RUN_LABEL, TASK_SPEC


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run."""

    id: int
    """Identity inside the ledger, in the order of creation: what pages of runs go by."""
    project: str
    domain: str
    name: str
    task_name: str
    task_version: str
    spec_digest: str
    request_digest: str
    phase: int
    created_at: int
    started_at: int | None
    ended_at: int | None
    labels: Mapping[str, str]
    env_vars: Mapping[str, str]
    trace_id: str
    """32 hex digits."""
    abort_reason: str
    action_count: int
    cursor: int
    """Cursor of the newest event of the run: what watches of runs go by."""
    context: RunContext
    """What its caller set for all its actions."""
    recovered_from: str
    """Name of the run whose succeeded children and traces it takes over, empty for none."""
    counted_failures: int
    """Failures of the root action that count for the retries of the user."""
    failure: FailureRecord | None


@dataclass(frozen=True, slots=True)
class RunOrigin:
    """What a run was made of besides its settings."""

    spec: bytes
    """Serialised `hangar.core.v1.TaskSpec`."""
    inputs: PayloadRecord
    cache_key: str
    """What the result of its root action is kept under, without the scope; empty when it is not."""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """What runs to return. An empty field filters nothing."""

    phases: Sequence[int] = ()
    task_name: str = ""
    task_version: str = ""
    created_after: int | None = None
    """Only runs created at or after this time."""
    created_before: int | None = None
    """Only runs created before this time."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Only runs that have all of these."""
    updated_after: int | None = None
    """Only runs that last changed at or after this time."""
    updated_before: int | None = None
    """Only runs that last changed before this time."""


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What a list of runs is sorted by."""

    by_change: bool = False
    """By the newest change instead of the creation."""
    descending: bool = True

    def key(self, run: RunRecord) -> int:
        """What pages in this order go by."""
        return run.cursor if self.by_change else run.id


EVERY_RUN = RunFilter()
NEWEST_FIRST = RunOrder()
_ROOT = "a0"
_COLUMNS = (
    RUN.c.id,
    RUN.c.project,
    RUN.c.domain,
    RUN.c.name,
    RUN.c.task_name,
    RUN.c.task_version,
    RUN.c.spec_digest,
    RUN.c.request_digest,
    RUN.c.phase,
    RUN.c.created_at,
    RUN.c.started_at,
    RUN.c.ended_at,
    RUN.c.labels,
    RUN.c.env_vars,
    RUN.c.trace_id,
    RUN.c.abort_reason,
    RUN.c.action_count,
    RUN.c.cursor,
)
_SOURCE = RUN.alias("source")
_SETTINGS = (RUN.c.settings, RUN.c.overwrite_cache, RUN.c.disable_cache, RUN.c.cache_scope)
_RUNS: Select[Any] = select(
    *_COLUMNS,
    *failure_columns(ACTION),
    *_SETTINGS,
    ACTION.c.user_failures,
    func.coalesce(_SOURCE.c.name, "").label("recovered_from"),
).select_from(
    RUN.join(ACTION, (ACTION.c.run_id == RUN.c.id) & (ACTION.c.name == _ROOT)).outerjoin(
        _SOURCE, _SOURCE.c.id == RUN.c.recovers
    )
)


def get_run(connection: Connection, project: str, domain: str, name: str) -> RunRecord | None:
    """Return one run, None when there is none of this name."""
    named = (RUN.c.project == project) & (RUN.c.domain == domain) & (RUN.c.name == name)
    row = connection.execute(_RUNS.where(named)).one_or_none()
    return None if row is None else _record(row)


def get_origin(connection: Connection, run_id: int) -> RunOrigin:
    """Return what a run was made of."""
    query = select(ACTION.c.id, ACTION.c.cache_key, TASK_SPEC.c.spec).join_from(
        ACTION, TASK_SPEC, TASK_SPEC.c.digest == ACTION.c.spec_digest
    )
    row = connection.execute(query.where((ACTION.c.run_id == run_id) & (ACTION.c.name == _ROOT))).one()
    inputs = get_inputs(connection, row.id)
    if inputs is None:
        raise LookupError(f"the root action of run {run_id} has no inputs: the ledger is damaged")
    return RunOrigin(row.spec, inputs, row.cache_key.rpartition("/")[2])


def list_runs(
    connection: Connection,
    project: str,
    domain: str,
    *,
    filter: RunFilter = EVERY_RUN,
    order: RunOrder = NEWEST_FIRST,
    after_key: int | None = None,
    limit: int = 100,
) -> list[RunRecord]:
    """List runs.

    Args:
        connection: Where to read.
        project: Only runs of this project.
        domain: Only runs of this domain.
        filter: What else to ask of them.
        order: What comes first.
        after_key: The order's `key` of the last run of the page before; None for the first page.
        limit: Most runs in the answer.

    Returns:
        The runs; fewer than `limit` only at the end.
    """
    query = _filtered(_RUNS.where((RUN.c.project == project) & (RUN.c.domain == domain)), filter)
    column = RUN.c.cursor if order.by_change else RUN.c.id  # either has an index with project and domain
    if after_key is not None:
        query = query.where(column < after_key if order.descending else column > after_key)
    query = query.order_by(column.desc() if order.descending else column).limit(limit)
    return [_record(row) for row in connection.execute(query)]


def runs_changed_since(
    connection: Connection,
    project: str,
    domain: str,
    cursor: int,
    *,
    filter: RunFilter = EVERY_RUN,
    limit: int = 1000,
) -> list[RunRecord]:
    """Return runs with events after a cursor, in their latest state.

    Args:
        connection: Where to read.
        project: Only runs of this project.
        domain: Only runs of this domain.
        cursor: Cursor of the event stream.
        filter: What else to ask of them. A run that left the filter is not returned.
        limit: Most runs in the answer.

    Returns:
        The runs in the order of their `cursor`; go on after that of the last one.
    """
    query = _filtered(_RUNS.where((RUN.c.project == project) & (RUN.c.domain == domain)), filter)
    query = query.where(RUN.c.cursor > cursor).order_by(RUN.c.cursor).limit(limit)
    return [_record(row) for row in connection.execute(query)]


def _filtered(query: Select[Any], filter: RunFilter) -> Select[Any]:
    if filter.phases:
        query = query.where(RUN.c.phase.in_(filter.phases))
    if filter.task_name:
        query = query.where(RUN.c.task_name == filter.task_name)
    if filter.task_version:
        query = query.where(RUN.c.task_version == filter.task_version)
    if filter.created_after is not None:
        query = query.where(RUN.c.created_at >= filter.created_after)
    if filter.created_before is not None:
        query = query.where(RUN.c.created_at < filter.created_before)
    if filter.updated_after is not None:
        query = query.where(_updated_at() >= filter.updated_after)
    if filter.updated_before is not None:
        query = query.where(_updated_at() < filter.updated_before)
    for key, value in filter.labels.items():
        label = RUN_LABEL.alias()
        has_label = (label.c.run_id == RUN.c.id) & (label.c.key == key) & (label.c.value == value)
        query = query.where(exists().where(has_label))
    return query


def _updated_at() -> ColumnElement[int]:
    """When a run last changed: the time of its newest event. A column of its own would be written with every event."""
    newest = select(EVENT.c.occurred_at).where(EVENT.c.cursor == RUN.c.cursor).scalar_subquery()
    return func.coalesce(newest, RUN.c.ended_at, RUN.c.created_at)


def _record(row: Any) -> RunRecord:
    width = len(_COLUMNS)
    failure = failure_of(row[width : width + len(failure_columns(ACTION))])
    values = [*row[:width], run_context(row), row.recovered_from, row.user_failures, failure]
    return RunRecord(*values)

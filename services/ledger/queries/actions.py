"""Actions of a run."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, case, func, select

from services.ledger.queries.failures import FailureRecord, failure_columns, failure_of
from services.ledger.tables import ACTION, EVENT, LINEAGE, RUN, TASK_SPEC


@dataclass(frozen=True, slots=True)
class LineageRecord:
    """An edge of the execution graph."""

    input: str
    """Name of the input."""
    source: str
    """Name of the action whose output it is."""


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """One action."""

    id: int
    """Identity inside the ledger."""
    run_id: int
    name: str
    parent: str
    """Name of the parent action, empty for the root."""
    task_name: str
    short_name: str
    spec_digest: str
    group: str
    phase: int
    wait_reason: str
    sequence: int
    """Order of enqueueing within the run, from 0: what pages of actions go by."""
    created_at: int
    started_at: int | None
    ended_at: int | None
    abort_reason: str
    attempt_count: int
    cache_status: int
    cached_from: int | None
    """Identity of the action whose outputs it has from the cache."""
    kind: int
    """A number of `hangar.core.v1.ActionKind`."""
    ready_at: int
    """When a sleep or condition ends by itself, 0 for never."""
    progress: str
    """How far its newest attempt is: a `hangar.core.v1.Progress` as JSON, empty for nothing."""
    condition: bytes | None
    """Serialised `hangar.core.v1.TaskSpec` of a condition: what is asked for. None for other kinds."""
    cache_reason: str
    custom_context: str
    """Custom context as a JSON object; empty when it is the run's."""
    counted_failures: int
    """Failures that count for the retries of the user."""
    failure: FailureRecord | None
    lineage: tuple[LineageRecord, ...]


@dataclass(frozen=True, slots=True)
class ActionChanges:
    """Actions that changed, and where to go on."""

    actions: list[ActionRecord]
    """In their latest state, in the order of enqueueing."""
    cursor: int
    """Changes up to this one are in `actions`."""
    complete: bool
    """False when more changes are waiting behind `cursor`."""


@dataclass(frozen=True, slots=True)
class ActionFilter:
    """What actions to return. An empty field filters nothing."""

    phases: Sequence[int] = ()
    parent: str = ""
    """Only children of the action of this name."""
    names: Sequence[str] = ()
    """Only actions of these names."""


EVERY_ACTION = ActionFilter()
CONDITION = 3
"""Number of the kind in `hangar.core.v1.ActionKind`."""
_PARENT = ACTION.alias("parent")
_COLUMNS = (
    ACTION.c.id,
    ACTION.c.run_id,
    ACTION.c.name,
    func.coalesce(_PARENT.c.name, ""),
    ACTION.c.task_name,
    TASK_SPEC.c.short_name,
    ACTION.c.spec_digest,
    ACTION.c.group_name,
    ACTION.c.phase,
    ACTION.c.wait_reason,
    ACTION.c.sequence,
    ACTION.c.created_at,
    ACTION.c.started_at,
    ACTION.c.ended_at,
    ACTION.c.abort_reason,
    ACTION.c.attempts,
    ACTION.c.cache_status,
    ACTION.c.cached_from,
    ACTION.c.kind,
    ACTION.c.ready_at,
    ACTION.c.progress,
    case((ACTION.c.kind == CONDITION, TASK_SPEC.c.spec)),
    ACTION.c.cache_reason,
    ACTION.c.custom_context,
    ACTION.c.user_failures,
)
_ACTIONS: Select[Any] = select(*_COLUMNS, *failure_columns(ACTION)).select_from(
    ACTION.join(TASK_SPEC, TASK_SPEC.c.digest == ACTION.c.spec_digest).outerjoin(
        _PARENT, _PARENT.c.id == ACTION.c.parent_id
    )
)


def get_action(connection: Connection, run_id: int, name: str) -> ActionRecord | None:
    """Return one action of a run, None when there is none of this name."""
    query = _ACTIONS.where((ACTION.c.run_id == run_id) & (ACTION.c.name == name))
    records = _records(connection, query)
    return records[0] if records else None


def locate(connection: Connection, action_id: int) -> tuple[str, str, str, str] | None:
    """Return project, domain, run and name of an action, None when there is none."""
    query = select(RUN.c.project, RUN.c.domain, RUN.c.name, ACTION.c.name).join_from(
        ACTION, RUN, RUN.c.id == ACTION.c.run_id
    )
    row = connection.execute(query.where(ACTION.c.id == action_id)).one_or_none()
    return None if row is None else (row[0], row[1], row[2], row[3])


def list_actions(
    connection: Connection,
    run_id: int,
    *,
    filter: ActionFilter = EVERY_ACTION,
    after_sequence: int = -1,
    limit: int = 100,
) -> list[ActionRecord]:
    """List the actions of a run in the order of enqueueing.

    Args:
        connection: Where to read.
        run_id: The run.
        filter: What to ask of the actions.
        after_sequence: The `sequence` of the last action of the page before; -1 for the first page.
        limit: Most actions in the answer.

    Returns:
        The actions; fewer than `limit` only at the end.
    """
    query = _filtered(_ACTIONS.where(ACTION.c.run_id == run_id), filter)
    query = query.where(ACTION.c.sequence > after_sequence).order_by(ACTION.c.sequence).limit(limit)
    return _records(connection, query)


def actions_changed_since(
    connection: Connection,
    run_id: int,
    cursor: int,
    *,
    filter: ActionFilter = EVERY_ACTION,
    limit: int = 2000,
) -> ActionChanges:
    """Return actions of a run with events after a cursor, in their latest state.

    Args:
        connection: Where to read.
        run_id: The run.
        cursor: Cursor of the event stream.
        filter: What to ask of the actions. An action that left the filter is not returned.
        limit: Most events to look at.

    Returns:
        The actions and the cursor to go on from.
    """
    newer = select(EVENT.c.cursor, EVENT.c.action_id).where(EVENT.c.cursor > cursor)
    if filter.names:
        named = select(ACTION.c.id).where(ACTION.c.run_id == run_id, ACTION.c.name.in_(filter.names))
        newer = newer.where(EVENT.c.action_id.in_(named.scalar_subquery()))
    else:
        newer = newer.where(EVENT.c.run_id == run_id)
    events = connection.execute(newer.order_by(EVENT.c.cursor).limit(limit)).all()
    if not events:
        return ActionChanges([], cursor, complete=True)
    changed = {action_id for _, action_id in events}
    query = _filtered(_ACTIONS.where(ACTION.c.id.in_(changed)), filter).order_by(ACTION.c.sequence)
    return ActionChanges(_records(connection, query), events[-1].cursor, complete=len(events) < limit)


def waiting_conditions(
    connection: Connection, run_id: int, name: str = "", *, limit: int = 100
) -> list[ActionRecord]:
    """Return conditions of a run that wait for a signal, in the order of enqueueing.

    Args:
        connection: Where to read.
        run_id: The run.
        name: Only the action or conditions of this name; empty for all.
        limit: Most actions in the answer.
    """
    c = ACTION.c
    query = _ACTIONS.where(c.run_id == run_id, c.kind == CONDITION, c.ended_at.is_(None))
    if name:
        query = query.where((c.name == name) | (c.task_name == name))
    return _records(connection, query.order_by(c.sequence).limit(limit))


def _filtered(query: Select[Any], filter: ActionFilter) -> Select[Any]:
    if filter.phases:
        query = query.where(ACTION.c.phase.in_(filter.phases))
    if filter.parent:
        query = query.where(_PARENT.c.name == filter.parent)
    if filter.names:
        query = query.where(ACTION.c.name.in_(filter.names))
    return query


def _records(connection: Connection, query: Select[Any]) -> list[ActionRecord]:
    rows = connection.execute(query).all()
    lineage = _lineage(connection, [row.id for row in rows])
    return [_record(row, tuple(lineage.get(row.id, ()))) for row in rows]


def _record(row: Sequence[Any], lineage: tuple[LineageRecord, ...]) -> ActionRecord:
    width = len(_COLUMNS)
    values = [*row[:width], failure_of(row[width:]), lineage]
    return ActionRecord(*values)


def _lineage(connection: Connection, action_ids: Sequence[int]) -> dict[int, list[LineageRecord]]:
    edges: defaultdict[int, list[LineageRecord]] = defaultdict(list)
    if not action_ids:
        return edges
    c = LINEAGE.c
    query = select(c.action_id, c.input, c.source).where(c.action_id.in_(action_ids)).order_by(*c)
    for action_id, input_name, source in connection.execute(query):
        edges[action_id].append(LineageRecord(input_name, source))
    return edges

"""What a scheduler loads from the ledger when it starts: live runs and actions, not history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Table, select

from hangar.core.v1.identifiers_pb2 import RunIdentifier
from services.ledger.queries.recovery import recovered_runs
from services.ledger.run_context import run_context
from services.ledger.tables import ACTION, ATTEMPT, GENERATION, NODE, RUN, TASK_SPEC, WORKER
from services.scheduler.convert import KIND
from services.scheduler.core.model import (
    DEFAULT_QUEUE,
    TERMINAL_STATES,
    Action,
    CacheUse,
    Child,
    Gpu,
    Inventory,
    Lease,
    NodeRecord,
    NodeState,
    Run,
    Snapshot,
    State,
    Worker,
    WorkerState,
)
from services.scheduler.live import Live, LiveAction, LiveRun
from services.scheduler.recording import NextIds
from services.scheduler.rows import RUN_COLUMNS
from services.scheduler.specs import Spec, Specs

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Loaded:
    """The live state of the ledger."""

    snapshot: Snapshot
    live: Live
    next_ids: NextIds


def load(connection: Connection, specs: Specs) -> Loaded:
    """Loads everything that is live.

    Args:
        connection: Where to read.
        specs: Gets the definitions that are in use.
    """
    rows = {row.id: row for row in connection.execute(select(ACTION).where(ACTION.c.ended_at.is_(None)))}
    _add_ancestors(connection, rows)
    workers = list(connection.execute(select(WORKER).where(WORKER.c.ended_at.is_(None))))
    digests = {row.spec_digest for row in rows.values()} | {worker.spec_digest for worker in workers}
    definitions = _definitions(connection, specs, digests)
    counters = connection.execute(select(GENERATION)).one()
    next_ids = NextIds(
        counters.next_run_id,
        counters.next_action_id,
        counters.next_lease_id,
        counters.next_worker_id,
        counters.next_cursor,
    )
    run_rows = {row.id: row for row in _by_id(connection, RUN, {row.run_id for row in rows.values()})}
    leases = list(
        connection.execute(select(ATTEMPT).where(ATTEMPT.c.ended_at.is_(None)).order_by(ATTEMPT.c.id))
    )
    snapshot = Snapshot(
        next_run_id=next_ids.run,
        next_action_id=next_ids.action,
        next_lease_id=next_ids.lease,
        next_worker_id=next_ids.worker,
        runs=[_run(row) for _, row in sorted(run_rows.items())],
        actions=[
            _action(row, definitions[row.spec_digest], run_rows[row.run_id])
            for _, row in sorted(rows.items())
        ],
        ended_children=_ended_children(connection, rows),
        leases=[_lease(row) for row in leases],
        workers=[_worker(row) for row in workers],
        pool_tasks={worker.spec_digest: definitions[worker.spec_digest].task for worker in workers},
        nodes=[_node(row) for row in connection.execute(select(NODE))],
    )
    return Loaded(snapshot, _live(connection, rows, run_rows), next_ids)


def _add_ancestors(connection: Connection, rows: dict[int, Any]) -> None:
    """Adds ended actions that have live ones below them."""
    missing = {row.parent_id for row in rows.values() if row.parent_id is not None} - set(rows)
    while missing:
        found = {row.id: row for row in _by_id(connection, ACTION, missing)}
        rows.update(found)
        missing = {row.parent_id for row in found.values() if row.parent_id is not None} - set(rows)


def _ended_children(connection: Connection, rows: dict[int, Any]) -> list[tuple[int, str, Child]]:
    """The newest ended child of each key of each live parent."""
    parent = ACTION.alias("parent")
    c = ACTION.c
    query = (
        select(c.id, c.parent_id, c.key, c.name, c.state, c.round, c.incarnation, c.withdrawn_by, c.kind)
        .join_from(ACTION, parent, parent.c.id == c.parent_id)
        .where(parent.c.ended_at.is_(None), c.ended_at.is_not(None))
        .order_by(c.id)
    )
    newest: dict[tuple[int, str], Child] = {}
    for row in connection.execute(query):
        if row.id not in rows:
            state = State(row.state)
            kind = KIND[row.kind]
            child = Child(row.id, row.name, state, row.round, row.incarnation, row.withdrawn_by, kind)
            newest[row.parent_id, row.key] = child
    return [(parent_id, key, child) for (parent_id, key), child in newest.items()]


def _live(connection: Connection, rows: dict[int, Any], run_rows: dict[int, Any]) -> Live:
    live = Live()
    for row in run_rows.values():
        identifier = RunIdentifier(project=row.project, domain=row.domain, name=row.name)
        context = run_context(row)
        run = LiveRun(row.id, identifier, context, row.trace_id, row.parent_span_id, row.root_id)
        run.sources = recovered_runs(connection, row.recovers)
        run.row = {name: row._mapping[name] for name in RUN_COLUMNS}
        live.runs[run.id] = run
    for row in rows.values():
        if row.ended_at is None:
            run = live.runs[row.run_id]
            run.live_count += 1
            live.actions[row.id] = LiveAction(
                row.id, run, row.name, row.spec_digest, row.parent_id, row.attempts, row.phase
            )
            live.actions[row.id].cache_status = row.cache_status
            live.actions[row.id].custom_context = row.custom_context
    columns = ATTEMPT.c
    query = select(columns.id, columns.action_id, columns.span_id, columns.ended_at)
    for attempt in _paged(connection, query, columns.action_id, live.actions, columns.id):
        action = live.actions[attempt.action_id]
        action.span_id = attempt.span_id
        if attempt.ended_at is None:
            action.lease_id = attempt.id
            live.leases[attempt.id] = action
    return live


def _definitions(connection: Connection, specs: Specs, digests: set[str]) -> dict[str, Spec]:
    c = TASK_SPEC.c
    found = (specs.add_serialised(row.spec) for row in _paged(connection, select(c.spec), c.digest, digests))
    return {spec.digest: spec for spec in found}


def _by_id(connection: Connection, table: Table, ids: Iterable[int]) -> Iterator[Any]:
    return _paged(connection, select(table), table.c.id, ids)


def _paged(
    connection: Connection, query: Select[Any], column: Any, keys: Iterable[Any], *order: Any
) -> Iterator[Any]:
    """Yields the rows of these keys in their order."""
    ordered = sorted(keys)
    for start in range(0, len(ordered), _PAGE):
        page = query.where(column.in_(ordered[start : start + _PAGE]))
        yield from connection.execute(page.order_by(column, *order))


def _run(row: Any) -> Run:
    context = run_context(row)
    return Run(
        row.id,
        row.project,
        row.domain,
        row.name,
        row.request_digest,
        row.root_id,
        row.action_count,
        context.queue,
        context.interruptible if context.HasField("interruptible") else None,
    )


def _action(row: Any, spec: Spec, run: Any) -> Action:
    return Action(
        row.id,
        row.run_id,
        row.name,
        row.key,
        row.parent_id,
        row.depth,
        spec.task,
        row.created_at,
        kind=KIND[row.kind],
        round=row.round,
        incarnation=row.incarnation,
        state=State(row.state),
        attempts=row.attempts,
        user_failures=row.user_failures,
        system_failures=row.system_failures,
        ready_at=row.ready_at,
        wait_reason=row.wait_reason if State(row.state) not in TERMINAL_STATES else "",
        abort_reason=row.abort_reason,
        started_at=row.started_at or 0,
        cache=CacheUse(row.cache_key, spec.message.cache.serialize, run.overwrite_cache)
        if row.cache_key
        else None,
        cached_from=row.cached_from or 0,
        withdrawn_by=row.withdrawn_by,
    )


def _lease(row: Any) -> Lease:
    return Lease(
        row.id,
        row.action_id,
        row.node,
        row.number,
        row.user_attempt,
        row.assigned_at,
        pool_key=row.pool_key,
        worker_id=row.worker_id,
        gpu_uuids=tuple(row.gpu_uuids),
        started_at=row.started_at or 0,
    )


def _worker(row: Any) -> Worker:
    return Worker(
        row.id,
        row.node,
        row.pool_key,
        row.spec_digest,
        tuple(row.gpu_uuids),
        row.started_at,
        WorkerState(row.state),
    )


def _node(row: Any) -> NodeRecord:
    given = row.inventory
    gpus = tuple(Gpu(*gpu) for gpu in given["gpus"])
    inventory = Inventory(
        given["cpu"],
        given["memory"],
        given["disk"],
        gpus,
        given["platform"],
        given.get("engine", ""),
        tuple(given.get("queues") or (DEFAULT_QUEUE,)),
        given.get("interruptible", False),
    )
    return NodeRecord(row.name, row.boot_id, inventory, NodeState(row.state), dict(row.labels))

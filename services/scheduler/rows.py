"""The changes of one transaction, by table, merged so that every row is written once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    Connection,
    Insert,
    Table,
    Update,
    bindparam,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from services.ledger.tables import (
    ACTION,
    ACTION_INPUT,
    ACTION_OUTPUT,
    ATTEMPT,
    CACHE_ENTRY,
    DEPLOYED_TASK,
    EVENT,
    LINEAGE,
    LOG_CHUNK,
    NODE,
    NOTIFICATION,
    RUN,
    RUN_LABEL,
    SPAN_EXPORT,
    TASK_SPEC,
    TASK_VERSION,
    WORKER,
    WORKER_IMAGE,
)

Row: TypeAlias = dict[str, Any]

FAILURE_COLUMNS = (
    "failure_kind",
    "failure_code",
    "failure_message",
    "failure_traceback",
    "failure_non_recoverable",
    "failure_worker",
)
MOVED_COLUMNS = (
    "phase",
    "state",
    "wait_reason",
    "started_at",
    "ended_at",
    "abort_reason",
    "attempts",
    "user_failures",
    "system_failures",
    "ready_at",
    "cache_status",
    "cached_from",
    "withdrawn_by",
    *FAILURE_COLUMNS,
)
RUN_COLUMNS = (
    "phase",
    "started_at",
    "ended_at",
    "abort_reason",
    "action_count",
    "cursor",
    *FAILURE_COLUMNS,
)
CLOSED_COLUMNS = ("phase", "ended_at", "ended_cursor", "peak_memory_bytes", "cpu_millis", *FAILURE_COLUMNS)

_MANY = 30
"""Rows from which on PostgreSQL's COPY is faster than single statements."""


@dataclass(slots=True)
class Rows:
    """What one transaction changes. Changes of a row that is new in it are merged into the new row."""

    next_ids: Row = field(default_factory=dict)
    """The identities to hand out next, columns of `generation`."""
    runs: dict[int, Row] = field(default_factory=dict)
    run_changes: dict[int, Row] = field(default_factory=dict)
    run_labels: list[Row] = field(default_factory=list)
    specs: list[Row] = field(default_factory=list)
    versions: list[Row] = field(default_factory=list)
    deployments: list[Row] = field(default_factory=list)
    actions: dict[int, Row] = field(default_factory=dict)
    action_changes: dict[int, Row] = field(default_factory=dict)
    rounds: dict[int, Row] = field(default_factory=dict)
    wait_reasons: dict[int, Row] = field(default_factory=dict)
    progress: dict[int, Row] = field(default_factory=dict)
    replaced_events: list[Row] = field(default_factory=list)
    """Events of progress that a later one of `events` says anew: `cursor_`."""
    notifications: list[Row] = field(default_factory=list)
    notification_changes: list[Row] = field(default_factory=list)
    cache_reasons: dict[int, Row] = field(default_factory=dict)
    inputs: list[Row] = field(default_factory=list)
    outputs: list[Row] = field(default_factory=list)
    output_copies: list[Row] = field(default_factory=list)
    """Actions that have the outputs of another one: `action_id_` and `source_`."""
    cache_entries: dict[str, Row] = field(default_factory=dict)
    lineage: list[Row] = field(default_factory=list)
    attempts: dict[int, Row] = field(default_factory=dict)
    attempt_starts: dict[int, Row] = field(default_factory=dict)
    attempt_ends: dict[int, Row] = field(default_factory=dict)
    workers: dict[int, Row] = field(default_factory=dict)
    nodes: dict[str, Row] = field(default_factory=dict)
    events: list[Row] = field(default_factory=list)
    log_chunks: list[Row] = field(default_factory=list)
    worker_images: list[Row] = field(default_factory=list)
    span_export: Row | None = None
    weight: int = 0
    """Roughly the bytes that it holds."""

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to write."""
        return not self.weight


def parameters(columns: Iterable[str]) -> tuple[str, ...]:
    """Returns the names that values for these columns have in an update."""
    return tuple(f"{column}_" for column in columns)


class Statements:
    """The statements that write `Rows`, made once per database.

    Args:
        dialect: Name of the database's dialect: ``"sqlite"`` or ``"postgresql"``.
    """

    def __init__(self, dialect: str) -> None:
        insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
        self._spec = insert(TASK_SPEC).on_conflict_do_nothing()
        self._version = insert(TASK_VERSION).on_conflict_do_nothing()
        deployment = insert(DEPLOYED_TASK)
        self._deployment = deployment.on_conflict_do_update(
            index_elements=["project", "domain", "name", "version"],
            set_={"id": deployment.excluded.id, "deployed_at": deployment.excluded.deployed_at},
        )
        self._log_chunk = insert(LOG_CHUNK).on_conflict_do_nothing()
        self._worker_image = insert(WORKER_IMAGE).on_conflict_do_nothing()
        lineage = insert(LINEAGE).on_conflict_do_nothing()
        self._lineage = lineage
        worker = insert(WORKER)
        self._worker = worker.on_conflict_do_update(
            index_elements=["id"],
            set_={"state": worker.excluded.state, "ended_at": worker.excluded.ended_at},
        )
        node = insert(NODE)
        changed = {column.name: node.excluded[column.name] for column in NODE.c if column.name != "name"}
        self._node = node.on_conflict_do_update(index_elements=["name"], set_=changed)
        export = insert(SPAN_EXPORT)
        self._span_export = export.on_conflict_do_update(
            index_elements=["id"], set_={"cursor": export.excluded.cursor}
        )
        entry = insert(CACHE_ENTRY)
        self._cache_entry = entry.on_conflict_do_update(
            index_elements=["key"],
            set_={"action_id": entry.excluded.action_id, "stored_at": entry.excluded.stored_at},
        )
        names = [column.name for column in ACTION_OUTPUT.c if column.name != "action_id"]
        source = select(bindparam("action_id_", type_=BigInteger), *(ACTION_OUTPUT.c[name] for name in names))
        self._output_copy = ACTION_OUTPUT.insert().from_select(
            ["action_id", *names], source.where(ACTION_OUTPUT.c.action_id == bindparam("source_"))
        )
        self._run = _update(RUN, RUN_COLUMNS)
        # What is written for every action goes to the driver as it is: preparing its rows would take
        # longer than writing them. Their values are numbers, text and bytes only.
        self._action = _text(ACTION.insert(), dialect)
        self._input = _text(ACTION_INPUT.insert(), dialect)
        self._output = _text(ACTION_OUTPUT.insert(), dialect)
        self._attempt = _text(ATTEMPT.insert(), dialect)
        self._event = _text(EVENT.insert(), dialect)
        self._action_change = _text(_update(ACTION, MOVED_COLUMNS), dialect)
        self._round = _update(ACTION, ("round",))
        self._wait_reason = _update(ACTION, ("wait_reason",))
        self._progress = _update(ACTION, ("progress",))
        self._replaced_event = EVENT.delete().where(EVENT.c.cursor == bindparam("cursor_"))
        c = NOTIFICATION.c
        changed = {name: bindparam(f"{name}_") for name in ("tries", "due_at", "ended_at", "error")}
        named = (c.cursor == bindparam("cursor_")) & (c.number == bindparam("number_"))
        self._notification_change = NOTIFICATION.update().where(named).values(changed)
        self._cache_reason = _update(ACTION, ("cache_reason",))
        self._attempt_start = _text(_update(ATTEMPT, ("phase", "started_at", "worker_id")), dialect)
        attempt_end = _update(ATTEMPT, CLOSED_COLUMNS).values(
            started_at=func.coalesce(bindparam("started_at_"), ATTEMPT.c.started_at),
            worker_id=func.coalesce(
                func.nullif(bindparam("worker_id_"), literal_column("0")), ATTEMPT.c.worker_id
            ),
        )
        self._attempt_end = _text(attempt_end, dialect)
        self._copies = {
            _text(table.insert(), dialect): _copy(table)
            for table in (ACTION, ACTION_INPUT, ACTION_OUTPUT, ATTEMPT, EVENT)
            if dialect == "postgresql"
        }

    def write(self, connection: Connection, rows: Rows) -> None:
        """Writes everything, one `executemany` per kind of change."""
        for statement, values in (
            (self._spec, rows.specs),
            (self._version, rows.versions),
            (self._deployment, rows.deployments),
            (RUN.insert(), list(rows.runs.values())),
            (RUN_LABEL.insert(), rows.run_labels),
            (self._run, list(rows.run_changes.values())),
            (self._action, list(rows.actions.values())),
            (self._input, rows.inputs),
            (self._lineage, rows.lineage),
            (self._round, list(rows.rounds.values())),
            (self._wait_reason, list(rows.wait_reasons.values())),
            (self._progress, list(rows.progress.values())),
            (self._cache_reason, list(rows.cache_reasons.values())),
            (self._action_change, list(rows.action_changes.values())),
            (self._output, rows.outputs),
            (self._output_copy, rows.output_copies),
            (self._cache_entry, list(rows.cache_entries.values())),
            (self._attempt, list(rows.attempts.values())),
            (self._attempt_start, list(rows.attempt_starts.values())),
            (self._attempt_end, list(rows.attempt_ends.values())),
            (self._worker, list(rows.workers.values())),
            (self._node, list(rows.nodes.values())),
            (self._event, rows.events),
            (self._replaced_event, rows.replaced_events),
            (self._log_chunk, rows.log_chunks),
            (self._worker_image, rows.worker_images),
            (NOTIFICATION.insert(), rows.notifications),
            (self._notification_change, rows.notification_changes),
            (self._span_export, [rows.span_export] if rows.span_export else []),
        ):
            if not values:
                continue
            if isinstance(statement, str):
                many = len(values) >= _MANY
                connection.exec_driver_sql(
                    self._copies.get(statement, statement) if many else statement, values
                )
            else:
                connection.execute(statement, values)


def _update(table: Any, columns: tuple[str, ...]) -> Update:
    """An update by id; parameters are named like the columns with an underscore behind (`parameters`)."""
    changed: dict[str, Any] = {name: bindparam(f"{name}_") for name in columns}
    update: Update = table.update().where(table.c.id == bindparam("id_")).values(changed)
    return update


def _copy(table: Table) -> str:
    """PostgreSQL's statement for many new rows at once."""
    names = ", ".join(f'"{name}"' for name in table.c.keys())  # noqa: SIM118  # a column collection
    return f"COPY {table.name} ({names}) FROM STDIN"


def _text(statement: Insert | Update, dialect: str) -> str:
    """The text of a statement with the driver's own named parameters."""
    target = sqlite.dialect(paramstyle="named") if dialect == "sqlite" else postgresql.dialect()  # type: ignore[no-untyped-call]
    return str(statement.compile(dialect=target))

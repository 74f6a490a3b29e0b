"""The ledger's tables.

One class per table, for people and for Alembic; the scheduler writes through the tables themselves
(`ACTION.insert()`), never through objects. What all of them share:

- Times are whole microseconds since the epoch, UTC (`services.ledger.timestamps`), and end in `_at`.
- Phases are the numbers of `hangar.core.v1.Phase`, failure kinds those of `hangar.core.v1.FailureKind`.
- Identities are integers that the scheduler hands out and never uses twice. `attempt.id` is the lease id.
- No type, default or constraint is special to one database: SQLite and PostgreSQL hold the same.
- Text is empty rather than NULL when there is none; NULL means "not yet".
"""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Index, Integer, LargeBinary, MetaData, String, Table, Text, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

# SQLite knows an automatic row identity only by the type INTEGER; its integers have 64 bits all the same.
Int64 = BigInteger().with_variant(Integer(), "sqlite")

# Pages go by these columns: they are ordered by their bytes, whatever the database's collation is.
Ordered = String().with_variant(String(collation="C"), "postgresql")

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class LedgerModel(SQLModel, registry=registry(metadata=MetaData(naming_convention=_NAMES))):
    """Base of the ledger's tables: a metadata of its own, apart from admin's."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=_NAMES)


def _identity() -> Any:
    return Field(primary_key=True, sa_type=Int64, sa_column_kwargs={"autoincrement": False})


def _int64(default: int | None = 0, *, nullable: bool = False) -> Any:
    return Field(default=default, sa_type=Int64, nullable=nullable)


def _ordered_key() -> Any:
    return Field(primary_key=True, sa_type=Ordered)


def _moment() -> Any:
    return Field(default=None, sa_type=Int64, nullable=True)


def _words() -> Any:
    return Field(default="", sa_type=Text, nullable=False)


def _mapping() -> Any:
    return Field(default_factory=dict, sa_type=JSON, nullable=False)


def _live(name: str) -> Index:
    """Return an index of the few rows that have not ended."""
    condition = text("ended_at IS NULL")
    return Index(name, "id", sqlite_where=condition, postgresql_where=condition)


class Failed(SQLModel):
    """Columns of what failed. `failure_kind` is 0 when nothing did."""

    failure_kind: int = 0
    failure_code: str = _words()
    failure_message: str = _words()
    failure_traceback: str = _words()
    failure_non_recoverable: bool = False
    failure_worker: str = ""


class Run(Failed, LedgerModel, table=True):
    """A run. Its phase, times and failure are those of its root action, written in the same transaction."""

    __tablename__ = "run"
    __table_args__ = (
        Index("uq_run_name", "project", "domain", "name", unique=True),
        Index("ix_run_newest", "project", "domain", "id"),
        Index("ix_run_changed", "project", "domain", "cursor"),
        _live("ix_run_live"),
    )

    id: int = _identity()
    project: str
    domain: str
    name: str
    request_digest: str
    """Digest of task, inputs and context: creating the run again with the same content is no error."""
    spec_digest: str
    root_id: int = Field(sa_type=Int64)
    task_name: str
    task_version: str = ""
    phase: int
    created_at: int = Field(sa_type=Int64)
    started_at: int | None = _moment()
    ended_at: int | None = _moment()
    labels: dict[str, str] = _mapping()
    env_vars: dict[str, str] = _mapping()
    overwrite_cache: bool = False
    """Results are computed anew and replace those that are kept."""
    disable_cache: bool = False
    """Results are neither used nor kept."""
    cache_scope: int = 0
    """Among whose actions the cache looks, a number of `hangar.core.v1.CacheScope`."""
    settings: bytes | None = Field(default=None, sa_type=LargeBinary, nullable=True)
    """Serialised `hangar.core.v1.RunContext`: all that its caller set. NULL of runs that are older than this column."""
    recovers: int | None = _moment()
    """The run whose succeeded children and traces it takes over."""
    trace_id: str = Field(default="", sa_type=String(32))
    parent_span_id: str = Field(default="", sa_type=String(16))
    """Span of the caller that the root action's spans nest below, empty for none."""
    abort_reason: str = _words()
    action_count: int = _int64()
    cursor: int = _int64()
    """Cursor of the newest event of the run: what a watch of runs goes by."""


class RunLabel(LedgerModel, table=True):
    """A label of a run, for filters. The run's own row has all of them together."""

    __tablename__ = "run_label"
    __table_args__ = (Index("ix_run_label_value", "key", "value", "run_id"),)

    run_id: int = _identity()
    key: str = Field(primary_key=True)
    value: str


class TaskSpec(LedgerModel, table=True):
    """A task definition, stored once per content."""

    __tablename__ = "task_spec"

    digest: str = Field(primary_key=True)
    """Hex SHA-256 of the deterministic serialisation."""
    spec: bytes = Field(sa_type=LargeBinary)
    """Serialised `hangar.core.v1.TaskSpec`."""
    name: str
    short_name: str = ""
    environment: str = ""
    version: str = ""
    module: str = ""
    created_at: int = Field(sa_type=Int64)


class TaskVersion(LedgerModel, table=True):
    """A version of a task that was run in a project and domain, with the definition first seen."""

    __tablename__ = "task_version"
    __table_args__ = (Index("ix_task_version_newest", "project", "domain", "name", "id"),)

    project: str = _ordered_key()
    domain: str = _ordered_key()
    name: str = _ordered_key()
    version: str = _ordered_key()
    id: int = Field(sa_type=Int64)
    """Order in which versions were first seen."""
    spec_digest: str
    created_at: int = Field(sa_type=Int64)


class DeployedTask(LedgerModel, table=True):
    """A version of a task that somebody deployed in a project and domain."""

    __tablename__ = "deployed_task"
    __table_args__ = (Index("ix_deployed_task_newest", "project", "domain", "name", "id"),)

    project: str = _ordered_key()
    domain: str = _ordered_key()
    name: str = _ordered_key()
    version: str = _ordered_key()
    id: int = Field(sa_type=Int64)
    """A position of its own in the stream of events, taken when it was last deployed: the order of deployments."""
    spec_digest: str
    entrypoint: bool = False
    created_at: int = Field(sa_type=Int64)
    """When it was first deployed."""
    deployed_at: int = Field(sa_type=Int64)
    """When it was last deployed."""


class Action(Failed, LedgerModel, table=True):
    """An action: one call of a task within a run, or a step of such a call."""

    __tablename__ = "action"
    __table_args__ = (
        Index("uq_action_name", "run_id", "name", unique=True),
        Index("uq_action_sequence", "run_id", "sequence", unique=True),
        Index("ix_action_parent", "parent_id"),
        _live("ix_action_live"),
    )

    id: int = _identity()
    run_id: int = Field(sa_type=Int64)
    name: str
    key: str
    """Name derived from the call. The name differs from it by a suffix when a failed child is run again."""
    parent_id: int | None = _moment()
    depth: int = 0
    sequence: int = Field(sa_type=Int64)
    """Order of enqueueing within the run, from 0."""
    round: int = 0
    """Failures of the parent by its own fault when this was last asked for."""
    incarnation: int = 1
    """Counts the actions of one parent and key, from 1."""
    kind: int = 1
    """What it is, a number of `hangar.core.v1.ActionKind`."""
    task_name: str
    spec_digest: str
    group_name: str = ""
    phase: int
    state: str
    """State inside the scheduler's core, finer than the phase."""
    wait_reason: str = _words()
    created_at: int = Field(sa_type=Int64)
    started_at: int | None = _moment()
    ended_at: int | None = _moment()
    abort_reason: str = _words()
    attempts: int = 0
    """Leases granted so far."""
    user_failures: int = 0
    """Failures that used up a retry of the user."""
    system_failures: int = 0
    """Consecutive failures that did not."""
    ready_at: int = _int64()
    """When a retry may start, or a sleep or condition ends by itself; 0 for at once, or never."""
    cache_key: str = ""
    """What its result is kept under, scope included; empty when it is not."""
    cache_status: int = 0
    """What the cache did, a number of `hangar.core.v1.CacheStatus`."""
    cached_from: int | None = _moment()
    """The action whose outputs it has from the cache."""
    withdrawn_by: int = _int64()
    """The lease of its parent that cancelled it, 0 for none."""
    custom_context: str = _words()
    """Custom context as a JSON object; empty when it is the run's."""
    cache_reason: str = _words()
    """Why the cache did what it did, in words."""
    progress: str = _words()
    """How far its newest attempt said that it is: a `hangar.core.v1.Progress` as JSON, empty when it did not."""


class _Document(SQLModel):
    """Columns of a payload: the document itself, or where it is."""

    inline: bytes | None = Field(default=None, sa_type=LargeBinary, nullable=True)
    """The canonical JSON document; NULL when it is in the blob store."""
    blob_key: str = _words()
    size: int = _int64()
    digest: str = ""


class ActionInput(_Document, LedgerModel, table=True):
    """Inputs of an action. Written once."""

    __tablename__ = "action_input"

    action_id: int = _identity()


class ActionOutput(_Document, LedgerModel, table=True):
    """Outputs of an action that succeeded. Written once; apart from the inputs: neither is ever rewritten."""

    __tablename__ = "action_output"

    action_id: int = _identity()


class CacheEntry(LedgerModel, table=True):
    """The result that is kept under a key: the outputs of the action that computed it last."""

    __tablename__ = "cache_entry"

    key: str = Field(primary_key=True)
    action_id: int = Field(sa_type=Int64)
    stored_at: int = Field(sa_type=Int64)


class Attempt(Failed, LedgerModel, table=True):
    """An attempt of an action, which is a lease of it to a host."""

    __tablename__ = "attempt"
    __table_args__ = (
        Index("ix_attempt_action", "action_id", "number"),
        _live("ix_attempt_live"),
        Index("ix_attempt_ended", "ended_cursor"),
    )

    id: int = _identity()
    """The lease id."""
    action_id: int = Field(sa_type=Int64)
    number: int
    """From 0."""
    user_attempt: int = 0
    node: str = ""
    worker_id: int = _int64()
    pool_key: str = _words()
    gpu_uuids: list[str] = Field(default_factory=list, sa_type=JSON, nullable=False)
    phase: int
    assigned_at: int = Field(sa_type=Int64)
    started_at: int | None = _moment()
    ended_at: int | None = _moment()
    span_id: str = Field(default="", sa_type=String(16))
    parent_span_id: str = Field(default="", sa_type=String(16))
    """Span of the parent's attempt that asked for the action, or of the caller of the run."""
    peak_memory_bytes: int = _int64()
    cpu_millis: int = _int64()
    ended_cursor: int | None = _moment()
    """A position of its own in the stream of events, taken when it ended: the order of exporting spans."""


class Worker(LedgerModel, table=True):
    """A worker of a pool. Workers of one lease are part of the attempt."""

    __tablename__ = "worker"
    __table_args__ = (_live("ix_worker_live"),)

    id: int = _identity()
    node: str
    pool_key: str = Field(sa_type=Text)
    spec_digest: str
    gpu_uuids: list[str] = Field(default_factory=list, sa_type=JSON, nullable=False)
    state: str
    started_at: int = Field(sa_type=Int64)
    ended_at: int | None = _moment()


class WorkerImage(LedgerModel, table=True):
    """The image that a worker was started from, be it one of a pool or of one lease. Written once."""

    __tablename__ = "worker_image"

    worker_id: int = _identity()
    image: str = _words()
    """Its address, with the digest that its registry gave it where there is one."""


class Node(LedgerModel, table=True):
    """A host with an executor, as its last session introduced it."""

    __tablename__ = "node"

    name: str = Field(primary_key=True)
    boot_id: str = ""
    state: str
    inventory: dict[str, Any] = _mapping()
    labels: dict[str, str] = _mapping()
    changed_at: int = Field(sa_type=Int64)


class Event(LedgerModel, table=True):
    """A committed change of an action. All are kept for now; retention may remove those of ended runs."""

    __tablename__ = "event"
    __table_args__ = (
        Index("ix_event_run", "run_id", "cursor"),
        Index("ix_event_action", "action_id", "cursor"),
    )

    cursor: int = _identity()
    """Position in the stream, handed out by the writer: strictly increasing in the order of commits."""
    run_id: int = Field(sa_type=Int64)
    action_id: int = Field(sa_type=Int64)
    phase: int
    attempt: int = 0
    occurred_at: int = Field(sa_type=Int64)
    detail: str = _words()


class Lineage(LedgerModel, table=True):
    """An edge of the execution graph: an input of an action that is an output of an earlier sibling."""

    __tablename__ = "lineage"

    action_id: int = _identity()
    input: str = _ordered_key()
    source: str = _ordered_key()
    """Name of the action whose output it is."""


class LogChunk(LedgerModel, table=True):
    """A piece of the log of one lease in the blob store."""

    __tablename__ = "log_chunk"

    lease_id: int = _identity()
    index: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    """Position among the chunks of the lease, from 0."""
    blob_key: str = _words()
    size: int = _int64()
    lines: int = 0
    first_at: int | None = _moment()


class Generation(LedgerModel, table=True):
    """The writer and the identities it hands out next, one row with id 1. A commit of an older one fails."""

    __tablename__ = "generation"

    id: int = _identity()
    number: int = Field(sa_type=Int64)
    started_at: int = Field(sa_type=Int64)
    batch: int = _int64()
    """Commits of this generation: a commit whose answer was lost is told from one that did not happen."""
    next_run_id: int = _int64(1)
    next_action_id: int = _int64(1)
    next_lease_id: int = _int64(1)
    next_worker_id: int = _int64(1)
    next_cursor: int = _int64(1)


class Writer(LedgerModel, table=True):
    """Who writes the ledger, one row with id 1.

    Apart from `generation`: a commit that takes long keeps that row locked, and the writer has to say that it is
    alive all the same.
    """

    __tablename__ = "writer"

    id: int = _identity()
    generation: int = _int64()
    """Number of the writer."""
    address: str = _words()
    """Where it answers, empty when it does not say."""
    lease_millis: int = _int64()
    """Another one may take over when it was not renewed for so long."""
    renewed_at: int = _int64()
    """When it last said that it is alive, by the database's clock; 0 once it has given the ledger back."""


class Notification(LedgerModel, table=True):
    """A message about a run that somebody elsewhere is to get."""

    __tablename__ = "notification"
    __table_args__ = (
        Index(
            "ix_notification_live",
            "cursor",
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )

    cursor: int = _identity()
    """The event that it tells of."""
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    """Which of the run's notifications it is, from 0."""
    run_id: int = Field(sa_type=Int64)
    phase: int
    occurred_at: int = Field(sa_type=Int64)
    tries: int = 0
    """How often it was sent."""
    due_at: int = Field(sa_type=Int64)
    """When it is to be sent next."""
    ended_at: int | None = _moment()
    """When it was delivered or given up."""
    error: str = _words()
    """Why it was not delivered, the last time or for good."""


class SpanExport(LedgerModel, table=True):
    """How far spans were exported, one row with id 1."""

    __tablename__ = "span_export"

    id: int = _identity()
    cursor: int = _int64()
    """`attempt.ended_cursor` of the last exported attempt."""


def _table(model: type[LedgerModel]) -> Table:
    return LedgerModel.metadata.tables[str(model.__tablename__)]


RUN = _table(Run)
RUN_LABEL = _table(RunLabel)
TASK_SPEC = _table(TaskSpec)
TASK_VERSION = _table(TaskVersion)
DEPLOYED_TASK = _table(DeployedTask)
ACTION = _table(Action)
ACTION_INPUT = _table(ActionInput)
ACTION_OUTPUT = _table(ActionOutput)
CACHE_ENTRY = _table(CacheEntry)
ATTEMPT = _table(Attempt)
WORKER = _table(Worker)
WORKER_IMAGE = _table(WorkerImage)
NODE = _table(Node)
EVENT = _table(Event)
LINEAGE = _table(Lineage)
LOG_CHUNK = _table(LogChunk)
GENERATION = _table(Generation)
WRITER = _table(Writer)
NOTIFICATION = _table(Notification)
SPAN_EXPORT = _table(SpanExport)

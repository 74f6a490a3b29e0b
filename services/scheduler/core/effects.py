"""What has to be done. Effects that derive from `Persist` are committed first; only then the others are released."""

from __future__ import annotations

from dataclasses import dataclass

from .model import (
    CacheUse,
    Failure,
    FailureKind,
    Inventory,
    Kind,
    NodeState,
    Opaque,
    Phase,
    State,
    Task,
    Token,
    WorkerState,
)


class Persist:
    """Base of effects that change the ledger."""

    __slots__ = ()


@dataclass(slots=True)
class RunCreated(Persist):
    """Insert a run."""

    run_id: int
    project: str
    domain: str
    name: str
    request_digest: str
    root_id: int
    context: Opaque
    at: int
    sources: tuple[int, ...] = ()  # the run that it recovers, the one that this one recovered, and so on


@dataclass(slots=True)
class RunMoved(Persist):
    """The run's visible phase changed (it follows the root action)."""

    run_id: int
    phase: Phase
    at: int
    failure: Failure | None = None
    abort_reason: str = ""


@dataclass(slots=True)
class ActionCreated(Persist):
    """Insert an action in the initial state of its kind, its inputs, its lineage, and its first event."""

    action_id: int
    run_id: int
    name: str
    key: str
    parent_id: int | None
    depth: int
    round: int
    incarnation: int
    task: Task
    spec: Opaque
    inputs: Opaque
    group: str
    sources: tuple[tuple[str, str], ...]  # (input, name of the action whose output it is)
    at: int
    cache: CacheUse | None = None
    kind: Kind = Kind.TASK
    started_at: int = 0  # of what is not leased
    ready_at: int = 0
    cache_reason: str = ""
    custom_context: Opaque = ""


@dataclass(slots=True)
class ActionMoved(Persist):
    """Update an action and append an event. All counters are absolute values."""

    action_id: int
    run_id: int
    state: State
    phase: Phase
    at: int
    attempts: int
    user_failures: int
    system_failures: int
    ready_at: int
    started_at: int
    detail: str = ""  # wait reason, abort reason or what happened
    failure: Failure | None = None
    outputs: Opaque = None  # None for the empty document
    abort_reason: str = ""
    cached_from: int = 0  # the action whose outputs are this one's as well
    withdrawn_by: int = 0  # the parent's lease that cancelled it
    recovered: bool = False  # `cached_from` is of the run that this one recovers
    cache_reason: str = ""  # why the cache did what it did, when that is another reason than before


@dataclass(slots=True)
class CacheStored(Persist):
    """Insert or replace an entry of the cache: the outputs of a succeeded action."""

    key: str
    action_id: int
    at: int


@dataclass(slots=True)
class ActionAdopted(Persist):
    """A newer attempt of the parent asked for a live child again: update its round. No event."""

    action_id: int
    round: int


@dataclass(slots=True)
class LeaseGranted(Persist):
    """Insert an attempt."""

    lease_id: int
    action_id: int
    number: int
    user_attempt: int
    node: str
    pool_key: str
    worker_id: int
    gpu_uuids: tuple[str, ...]
    at: int


@dataclass(slots=True)
class LeaseRunning(Persist):
    """User code of an attempt started."""

    lease_id: int
    worker_id: int
    at: int


@dataclass(slots=True)
class LeaseClosed(Persist):
    """An attempt ended. `phase` is SUCCEEDED, FAILED, ABORTED or TIMED_OUT."""

    lease_id: int
    phase: Phase
    at: int
    failure: Failure | None = None
    started_at: int = 0
    worker_id: int = 0
    peak_memory: int = 0
    cpu_millis: int = 0


@dataclass(slots=True)
class WorkerChanged(Persist):
    """Insert or update a pool worker. EXITED ones may be deleted."""

    worker_id: int
    node: str
    pool_key: str
    spec_digest: str
    gpu_uuids: tuple[str, ...]
    state: WorkerState
    at: int


@dataclass(slots=True)
class NodeChanged(Persist):
    """Insert or update a node."""

    name: str
    boot_id: str
    inventory: Inventory
    state: NodeState
    labels: dict[str, str]
    at: int


@dataclass(slots=True)
class Reply:
    """Answer a request. `error` is None, or (code, message) with a code of `ReplyError`."""

    token: Token
    value: object = None
    error: tuple[str, str] | None = None


@dataclass(slots=True)
class Welcome:
    """First frame of a session. Later effects for the node come behind it."""

    node: str
    session: int
    dropped_leases: list[int]
    dropped_workers: list[int]


@dataclass(slots=True)
class CloseSession:
    """End a session whose host was given up while it was silent: it has to say Hello to be of use again."""

    node: str
    session: int


@dataclass(slots=True)
class Assign:
    """Send an assignment. The shell adds inputs, definition, run and context of the action."""

    node: str
    lease_id: int
    action_id: int
    number: int
    user_attempt: int
    pool_key: str
    worker_id: int
    gpu_uuids: tuple[str, ...]
    replays: bool  # traces of earlier attempts may be recorded


@dataclass(slots=True)
class SendOutcome:
    """Send a child's outcome to a parent; RUNNING for a trace that may go ahead.

    The shell adds outputs or failure of the child.
    """

    node: str
    lease_id: int
    key: str
    action_id: int
    name: str
    phase: Phase


@dataclass(slots=True)
class Kill:
    """Ask the executor to stop a lease; `kind` is None for an abort."""

    node: str
    lease_id: int
    reason: str
    kind: FailureKind | None


@dataclass(slots=True)
class AcknowledgeResult:
    """Tell the executor that a result is durable (or no longer of interest)."""

    node: str
    lease_id: int


@dataclass(slots=True)
class AcknowledgeTrace:
    """Tell the executor that a traced call is durable (or no longer of interest)."""

    node: str
    lease_id: int
    key: str


@dataclass(slots=True)
class StartWorker:
    """Start a pool worker. The shell adds the definition of `spec_digest`."""

    node: str
    worker_id: int
    pool_key: str
    spec_digest: str
    gpu_uuids: tuple[str, ...]
    concurrency: int


@dataclass(slots=True)
class StopWorker:
    """End a pool worker once what runs in it has ended."""

    node: str
    worker_id: int
    reason: str


Effect = (
    RunCreated
    | RunMoved
    | ActionCreated
    | ActionMoved
    | CacheStored
    | ActionAdopted
    | LeaseGranted
    | LeaseRunning
    | LeaseClosed
    | WorkerChanged
    | NodeChanged
    | Reply
    | Welcome
    | CloseSession
    | Assign
    | SendOutcome
    | Kill
    | AcknowledgeResult
    | AcknowledgeTrace
    | StartWorker
    | StopWorker
)

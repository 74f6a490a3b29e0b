"""What can happen. The shell makes events of RPCs and frames; the core handles them in order."""

from __future__ import annotations

from dataclasses import dataclass, field

from .model import CacheUse, Failure, Inventory, Kind, Opaque, Task, Token, WorkerState


@dataclass(slots=True)
class CreateRun:
    """Someone asks for a run. The shell has checked that no ended run of the ledger has the name."""

    token: Token
    project: str
    domain: str
    name: str
    request_digest: str
    task: Task
    spec: Opaque
    inputs: Opaque
    context: Opaque
    cache: CacheUse | None = None
    cached: int = 0  # action whose outputs the ledger's cache has under the key, 0 for none
    queue: str = ""
    interruptible: bool | None = None
    sources: tuple[int, ...] = ()  # as in `effects.RunCreated`


@dataclass(slots=True)
class AbortRun:
    """Someone wants a live run to end."""

    token: Token
    project: str
    domain: str
    name: str
    reason: str


@dataclass(slots=True)
class AbortAction:
    """Someone wants a live action, and all below it, to end."""

    token: Token
    action_id: int
    reason: str


@dataclass(slots=True)
class SignalAction:
    """Someone gives a condition the value that it waits for. The shell has checked it."""

    token: Token
    action_id: int
    outputs: Opaque


@dataclass(slots=True)
class HeldLease:
    """A lease in a Hello."""

    lease_id: int
    started: bool
    parked: bool
    worker_id: int


@dataclass(slots=True)
class HeldWorker:
    """A worker in a Hello. `pool_key` is empty for a worker of one lease."""

    worker_id: int
    state: WorkerState
    pool_key: str


@dataclass(slots=True)
class NodeConnected:
    """An executor opened a session. A later session of the same node replaces an earlier one."""

    node: str
    session: int
    boot_id: str
    inventory: Inventory
    workers: list[HeldWorker] = field(default_factory=list)
    leases: list[HeldLease] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class NodeDisconnected:
    """The session's stream broke."""

    node: str
    session: int


@dataclass(slots=True)
class NodeHeartbeat:
    """Sign of life. Any frame counts as one."""

    node: str
    session: int


@dataclass(slots=True)
class LeaseStarted:
    """User code of a lease has started."""

    node: str
    lease_id: int
    worker_id: int
    started_at: int


@dataclass(slots=True)
class ChildRequested:
    """A running action asks for a child. Idempotent by lease's action and key."""

    node: str
    lease_id: int
    key: str
    task: Task
    spec: Opaque
    inputs: Opaque
    group: str = ""
    sources: tuple[tuple[str, str], ...] = ()  # (input, key of the sibling)
    cache: CacheUse | None = None
    cached: int = 0  # as in CreateRun
    recovered: int = 0  # action of the run that this one recovers, which succeeded under the same key
    custom_context: Opaque = ""
    kind: Kind = Kind.TASK
    wait: int = 0  # how long a sleep lasts, or a condition waits at most; 0 for ever
    began_at: int = 0  # of a trace: when it began; 0 when it asks first whether it may


@dataclass(slots=True)
class TraceEnded:
    """A traced call ended. `request` says all of it, whether it was heard of before or not."""

    request: ChildRequested
    failure: Failure | None
    outputs: Opaque
    ended_at: int
    abandoned: str = ""  # why it did not come to its end


@dataclass(slots=True)
class ChildCancelled:
    """A running action no longer wants a child."""

    node: str
    lease_id: int
    key: str


@dataclass(slots=True)
class LeaseParked:
    """Everything in a lease waits for `awaiting` children."""

    node: str
    lease_id: int
    awaiting: int


@dataclass(slots=True)
class LeaseEnded:
    """An executor reports the end of a lease. `failure` is None on success."""

    node: str
    lease_id: int
    failure: Failure | None
    outputs: Opaque
    killed: bool
    ended_at: int
    started_at: int = 0
    worker_id: int = 0
    peak_memory: int = 0
    cpu_millis: int = 0


@dataclass(slots=True)
class WorkerReported:
    """A pool worker became ready or ended."""

    node: str
    worker_id: int
    state: WorkerState
    failure: Failure | None = None


@dataclass(slots=True)
class Tick:
    """Time has passed: timers that are due fire."""


Event = (
    CreateRun
    | AbortRun
    | AbortAction
    | SignalAction
    | NodeConnected
    | NodeDisconnected
    | NodeHeartbeat
    | LeaseStarted
    | ChildRequested
    | TraceEnded
    | ChildCancelled
    | LeaseParked
    | LeaseEnded
    | WorkerReported
    | Tick
)

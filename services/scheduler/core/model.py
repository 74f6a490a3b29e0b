"""The values and entities that the core thinks in.

Units: times are integer microseconds since the epoch (UTC), durations integer microseconds, CPU is in thousandths of a
core, memory and disk in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

SECOND = 1_000_000


class State(str, Enum):
    """Where an action stands inside the ledger. `phase` is what people see."""

    QUEUED = "queued"
    WAITING_FOR_CACHE = "waiting_for_cache"
    BACKOFF = "backoff"
    ASSIGNED = "assigned"
    RUNNING = "running"
    PARKED = "parked"
    PAUSED = "paused"  # a condition or a sleep
    IN_PARENT = "in_parent"  # a trace, which runs in the worker of its parent
    ABORTING = "aborting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    TIMED_OUT = "timed_out"

    @property
    def is_terminal(self) -> bool:
        """True for states that nothing leaves."""
        return self in TERMINAL_STATES


TERMINAL_STATES = frozenset({State.SUCCEEDED, State.FAILED, State.ABORTED, State.TIMED_OUT})
LEASED_STATES = frozenset({State.ASSIGNED, State.RUNNING, State.PARKED, State.ABORTING})


class Phase(str, Enum):
    """What people see of an action; the names of `hangar.core.v1.Phase` in lower case."""

    QUEUED = "queued"
    WAITING_FOR_RESOURCES = "waiting_for_resources"
    INITIALIZING = "initializing"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    TIMED_OUT = "timed_out"


PHASE_OF = {
    State.QUEUED: Phase.QUEUED,
    State.WAITING_FOR_CACHE: Phase.QUEUED,
    State.BACKOFF: Phase.QUEUED,
    State.ASSIGNED: Phase.INITIALIZING,
    State.RUNNING: Phase.RUNNING,
    State.PARKED: Phase.RUNNING,
    State.PAUSED: Phase.PAUSED,
    State.IN_PARENT: Phase.RUNNING,
    State.ABORTING: Phase.RUNNING,
    State.SUCCEEDED: Phase.SUCCEEDED,
    State.FAILED: Phase.FAILED,
    State.ABORTED: Phase.ABORTED,
    State.TIMED_OUT: Phase.TIMED_OUT,
}


class Kind(str, Enum):
    """What an action is; the names of `hangar.core.v1.ActionKind` in lower case. Only tasks are leased."""

    TASK = "task"
    TRACE = "trace"
    CONDITION = "condition"
    SLEEP = "sleep"


INITIAL_STATE = {
    Kind.TASK: State.QUEUED,
    Kind.TRACE: State.IN_PARENT,
    Kind.CONDITION: State.PAUSED,
    Kind.SLEEP: State.PAUSED,
}


class FailureKind(str, Enum):
    """Who is to blame for a failure; the names of `hangar.core.v1.FailureKind` in lower case."""

    USER = "user"
    SYSTEM = "system"
    OOM = "oom"
    GPU_OOM = "gpu_oom"
    TIMEOUT = "timeout"
    LOST = "lost"
    IMAGE = "image"
    PREEMPTED = "preempted"


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt failed; see `hangar.core.v1.Failure` for the meaning of each field."""

    kind: FailureKind
    code: str
    message: str
    traceback: str = ""
    non_recoverable: bool = False
    worker: str = ""


CONTAINER_ENGINE = "docker"
"""The engine that runs images without Python."""


class Resources(NamedTuple):
    """What one worker holds. `gpu_model` is empty for any model."""

    cpu: int
    memory: int
    disk: int = 0
    gpu_count: int = 0
    gpu_model: str = ""
    container: bool = False
    """True for a host only whose engine runs any image."""
    platforms: tuple[str, ...] = ()
    """For a host only of one of these platforms; empty for any."""


DEFAULT_QUEUE = "default"


class Placement(NamedTuple):
    """Which hosts may take an action, whatever it needs of them."""

    queue: str = DEFAULT_QUEUE
    interruptible: bool = False  # hosts whose capacity can be taken away, too


class Demand(NamedTuple):
    """What a worker needs and where it may run: equal ones are placed alike."""

    resources: Resources
    placement: Placement = Placement()


class Backoff(NamedTuple):
    """How long the retries of the user wait. `jitter` is the part of a wait by which it may be shorter."""

    base: int = 0
    factor: float = 1.0
    cap: int = 0
    jitter: float = 0.0


NO_BACKOFF = Backoff()


@dataclass(frozen=True, slots=True)
class PoolPolicy:
    """A reusable environment: `key` is equal for tasks that may share workers."""

    key: str
    min_replicas: int
    max_replicas: int
    concurrency: int
    idle_ttl: int
    scaledown_ttl: int


@dataclass(frozen=True, slots=True)
class Task:
    """What the core has to know of a task definition, named by its digest."""

    digest: str
    name: str
    resources: Resources
    retries: int = 0
    max_runtime: int = 0
    max_queued: int = 0
    pool: PoolPolicy | None = None
    backoff: Backoff = NO_BACKOFF
    deadline: int = 0  # from creation to the end, over all attempts
    queue: str = ""  # empty: the run's
    interruptible: bool = False
    image: str = ""  # identity of the image that it runs in; empty for the default one


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of a node. Unhealthy devices are never booked."""

    uuid: str
    model: str
    memory: int
    healthy: bool = True


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a node offers."""

    cpu: int
    memory: int
    disk: int
    gpus: tuple[Gpu, ...] = ()
    platform: str = ""
    engine: str = ""
    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    interruptible: bool = False  # its capacity can be taken away

    @property
    def runs_containers(self) -> bool:
        """Whether its engine runs any image."""
        return self.engine == CONTAINER_ENGINE

    def suits(self, wanted: Resources) -> bool:
        """Whether engine and platform are right for what is wanted, however much of it there is."""
        if wanted.container and not self.runs_containers:
            return False
        return not wanted.platforms or self.platform in wanted.platforms


class NodeState(str, Enum):
    """A node in the eyes of the scheduler; the names of `hangar.scheduler.v1.NodeState` in lower case."""

    READY = "ready"
    SUSPECT = "suspect"
    LOST = "lost"
    DRAINING = "draining"


class WorkerState(str, Enum):
    """A pool worker; the names of `hangar.scheduler.v1.WorkerState` in lower case."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class CacheUse:
    """How an action uses the cache. Actions of one `key`, scope included, compute the same."""

    key: str
    serialize: bool = False  # of several at the same time one runs, the others wait for it
    overwrite: bool = False  # runs in any case and replaces what is there


class Child(NamedTuple):
    """What a live parent remembers of an ended child: enough to answer a repeated request for it."""

    action_id: int
    name: str
    state: State
    round: int
    incarnation: int
    withdrawn_by: int = 0
    kind: Kind = Kind.TASK


@dataclass(slots=True)
class Run:
    """A run that has not ended."""

    id: int
    project: str
    domain: str
    name: str
    request_digest: str
    root_id: int
    action_count: int = 1
    queue: str = ""
    interruptible: bool | None = None  # over what tasks say


@dataclass(slots=True)
class Action:
    """An action that has not ended, or whose parent has not."""

    id: int
    run_id: int
    name: str
    key: str
    parent_id: int | None
    depth: int
    task: Task
    created_at: int
    kind: Kind = Kind.TASK
    round: int = (
        0  # user failures of the parent when this was last asked for; of a trace the parent's attempt
    )
    incarnation: int = 1
    state: State = State.QUEUED
    lease_id: int | None = None
    attempts: int = 0  # leases granted so far
    user_failures: int = 0  # failures that used up a retry of the user
    system_failures: int = 0  # consecutive failures that did not
    ready_at: int = (
        0  # when a retry may start, or a sleep or condition ends by itself; 0 for at once, or never
    )
    wait_reason: str = ""
    abort_reason: str = ""
    withdrawn_by: int = 0  # the lease of the parent that cancelled it: a later one asks anew
    started_at: int = 0
    cache: CacheUse | None = None
    cached_from: int = (
        0  # the action whose outputs it has from the cache or from the run that this one recovers
    )
    children: dict[str, Child | Action] = field(default_factory=dict)
    live_children: int = 0

    @property
    def is_live(self) -> bool:
        """True until it ends."""
        return self.state not in TERMINAL_STATES


@dataclass(slots=True)
class Lease:
    """The current attempt of an action on a node. Its id is its fencing epoch."""

    id: int
    action_id: int
    node: str
    number: int
    user_attempt: int
    granted_at: int
    pool_key: str = ""
    worker_id: int = 0
    gpu_uuids: tuple[str, ...] = ()
    started_at: int = 0
    parked: bool = False
    killing: FailureKind | None = None  # a kill that is not an abort was sent
    kill_reason: str = ""
    awaiting: set[str] = field(default_factory=set)  # keys of children it asked for and has no outcome of
    held_outcomes: list[str] = field(default_factory=list)  # keys to deliver when it has its place back
    traces: set[str] = field(default_factory=set)  # keys of traces that run in it


@dataclass(slots=True)
class Worker:
    """A worker of a pool. Its id is its epoch. Workers of one lease are part of the lease."""

    id: int
    node: str
    pool_key: str
    spec_digest: str
    gpu_uuids: tuple[str, ...]
    started_at: int
    state: WorkerState = WorkerState.STARTING


# What the shell loads from the ledger at start and gives to `Scheduler.restore`.


@dataclass(slots=True)
class NodeRecord:
    """A node as the ledger has it."""

    name: str
    boot_id: str
    inventory: Inventory
    state: NodeState
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Snapshot:
    """Everything that is live, and the counters behind the last identifiers used."""

    next_run_id: int = 1
    next_action_id: int = 1
    next_lease_id: int = 1
    next_worker_id: int = 1
    runs: list[Run] = field(default_factory=list)  # runs of `actions`
    # Actions that have not ended and all their ancestors, ended or not, in the order of their ids; `children` empty.
    actions: list[Action] = field(default_factory=list)
    # (parent id, key, child) of every ended child of an action in `actions` that has not ended; of several
    # incarnations of a key the latest. Children that are in `actions` themselves are left out.
    ended_children: list[tuple[int, str, Child]] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)  # attempts that have not ended
    workers: list[Worker] = field(default_factory=list)  # pool workers that have not exited
    pool_tasks: dict[str, Task] = field(default_factory=dict)  # spec digest of each worker -> its task
    nodes: list[NodeRecord] = field(default_factory=list)


Token = Any  # a request of the shell, handed back in `Reply`
Opaque = Any  # a payload, a task definition or a run context that the core passes through

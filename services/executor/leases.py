"""A lease as its host sees it."""

import time
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from hangar.core.v1.progress_pb2 import Progress
from hangar.core.v1.task_spec_pb2 import TaskSpec
from hangar.scheduler.v1.node_service_pb2 import (
    Assignment,
    ChildOutcome,
    ChildRequest,
    HeldLease,
    LeaseKill,
    LeaseResult,
    TraceResult,
)

if TYPE_CHECKING:
    from services.executor.worker_server import WorkerConnection
    from services.executor.workers import Worker


class LeaseState(Enum):
    """Where a lease stands on its host."""

    WAITING = "waiting"
    """No worker has it: its own is being prepared, or its pool has no free slot."""
    GIVEN = "given"
    """A worker has it, or will have it as soon as it connects."""
    RUNNING = "running"
    """Its user code has started."""
    PARKED = "parked"
    """It waits for children only and holds no slot."""
    ENDED = "ended"
    """It has a result. Final."""


@dataclass(eq=False, slots=True)
class Trace:
    """A traced call that runs."""

    request: ChildRequest
    """Its inputs are in it once they are stored, or when it has ended."""
    document: bytes
    """Its inputs."""
    began_at: int = field(default_factory=time.time_ns)
    """In nanoseconds since the epoch."""


@dataclass(eq=False, slots=True)
class Lease:
    """One lease that this host holds, until its result is acknowledged and its log is stored."""

    assignment: Assignment
    spec: TaskSpec
    state: LeaseState = LeaseState.WAITING
    worker: "Worker | None" = None
    is_listed: bool = False
    """True when the outbox has it, or will have it with the next commit."""
    is_journaled: bool = False
    """True when the outbox has it together with its worker, so that it may be sent there."""
    is_uncertain: bool = False
    """True after a restart of the executor, until the worker has said whether it has the lease."""
    sent_over: "WorkerConnection | None" = None
    """Connection over which it was sent to its worker."""
    started_at: int = 0
    """When user code started in nanoseconds since the epoch, 0 when it has not."""
    requests: dict[str, ChildRequest] = field(default_factory=dict)
    """Children that have no outcome yet, by key."""
    held_outcomes: dict[str, tuple[ChildOutcome, bytes]] = field(default_factory=dict)
    """Outcomes, by key, that wait until its worker has a free slot for it again."""
    cancellations: set[str] = field(default_factory=set)
    """Keys of children that were withdrawn."""
    traces: dict[str, Trace] = field(default_factory=dict)
    """Traced calls that run, by key."""
    recorded: dict[str, TraceResult] = field(default_factory=dict)
    """Traced calls that ended and that the scheduler may not have, by key."""
    kill: LeaseKill | None = None
    """The request to stop it, once there is one."""
    dropped: bool = False
    """True when the scheduler does not want to hear of it again."""
    result: LeaseResult | None = None
    is_delivered: bool = False
    """True when its worker has delivered a result, which is being stored."""
    is_result_journaled: bool = False
    """True when the result is in the outbox."""
    is_reported: bool = False
    """True when the result may be sent to the scheduler: its log was shipped before, where possible."""
    acknowledged: bool = False
    """True when the scheduler has the result."""
    progress: Progress | None = None
    """What its user code said last of how far it is."""
    log_index: int = 0
    """Log chunks cut so far."""
    log_offset: int = 0
    """Bytes of the log file in those chunks."""

    lease_id: int = field(init=False)
    """Identity and fencing epoch."""

    def __post_init__(self) -> None:
        self.lease_id = self.assignment.lease_id

    @property
    def is_shared(self) -> bool:
        """True when it runs in a worker of a pool, False when it has a worker of its own."""
        return bool(self.assignment.pool_key)

    @property
    def is_ended(self) -> bool:
        """True when it has a result."""
        return self.state is LeaseState.ENDED

    @property
    def awaiting(self) -> int:
        """Children that it still wants and that have no outcome."""
        return len(self.requests) - len(self.cancellations)

    @property
    def worker_id(self) -> int:
        """Worker that has it, or will have it; 0 when that is open."""
        return self.worker.worker_id if self.worker is not None else self.assignment.worker_id

    @property
    def image(self) -> str:
        """Image that its worker was started from; empty before that, and when there was none."""
        return self.worker.image if self.worker is not None else ""

    @property
    def prefix(self) -> str:
        """Prefix of the blob keys that belong to the attempt, without a slash at the end."""
        action = self.assignment.action
        run = action.run
        return f"runs/{run.project}/{run.domain}/{run.name}/{action.name}/{self.assignment.attempt}"

    def held(self) -> HeldLease:
        """Returns what Hello says about it."""
        return HeldLease(
            lease_id=self.lease_id,
            started=self.started_at > 0,
            parked=self.state is LeaseState.PARKED,
            worker_id=self.worker_id,
        )

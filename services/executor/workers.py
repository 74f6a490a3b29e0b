"""A worker as its host sees it."""

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from hangar.core.v1.failure_pb2 import Failure
from hangar.core.v1.task_spec_pb2 import TaskSpec
from hangar.scheduler.v1 import node_service_pb2
from hangar.scheduler.v1.node_service_pb2 import WorkerStatus
from services.executor.leases import Lease, LeaseState
from services.executor.worker_server import WorkerConnection


class WorkerState(Enum):
    """Where a worker stands."""

    STARTING = "starting"
    READY = "ready"
    EXITED = "exited"


_WIRE = {
    WorkerState.STARTING: node_service_pb2.WORKER_STATE_STARTING,
    WorkerState.READY: node_service_pb2.WORKER_STATE_READY,
    WorkerState.EXITED: node_service_pb2.WORKER_STATE_EXITED,
}


@dataclass(eq=False, slots=True)
class Worker:
    """One worker of this host, from the request to start it until nothing of it is left."""

    worker_id: int
    spec: TaskSpec
    spec_digest: str
    directory: Path
    project: str = ""
    """Project whose actions it runs."""
    domain: str = ""
    """Domain whose actions it runs."""
    pool_key: str = ""
    """Its pool, empty for a worker of one lease."""
    concurrency: int = 1
    gpu_uuids: tuple[str, ...] = ()
    token: str = ""
    state: WorkerState = WorkerState.STARTING
    launch: asyncio.Task[None] | None = None
    """The preparation, until it has ended."""
    is_launched: bool = False
    """True when the engine knows of it."""
    code_dir: str = ""
    """Where its code is, empty when the image has it."""
    image: str = ""
    """What its container was started from, empty before that and for a process."""
    has_code: bool = False
    """True when `code_dir` is known."""
    connection: WorkerConnection | None = None
    silent_since: float = 0
    """When its connection ended last, by the clock of the event loop."""
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it connected for the first time, or ended."""
    leases: dict[int, Lease] = field(default_factory=dict)
    """Leases that it has and that did not end."""
    resuming: dict[int, Lease] = field(default_factory=dict)
    """Parked leases with outcomes that wait for a free slot, the first first."""
    slots: set[int] = field(default_factory=set)
    """Leases that hold a slot: those that run or are about to."""
    supervisor_pid: int = 0
    """Process of its supervisor, 0 when it has none or is not connected."""
    stopping: str = ""
    """Why it shall end, empty when it shall not."""
    killed_for: set[int] = field(default_factory=set)
    """Leases whose kill made this host end the worker."""
    failure: Failure | None = None
    """Why it ended or could not start."""

    @property
    def is_program(self) -> bool:
        """True for a program of an image: it runs its one lease, and never connects."""
        return self.spec.HasField("container")

    @property
    def free_slots(self) -> int:
        """How many more leases it takes now."""
        if self.state is not WorkerState.READY or self.stopping:
            return 0
        return self.concurrency - len(self.slots)

    def give(self, lease: Lease) -> None:
        """Books a slot for a lease."""
        lease.worker = self
        lease.state = LeaseState.GIVEN
        self.leases[lease.lease_id] = lease
        self.slots.add(lease.lease_id)

    def release(self, lease: Lease) -> None:
        """Frees the slot of a lease that ended."""
        self.leases.pop(lease.lease_id, None)
        self.slots.discard(lease.lease_id)

    def log_path(self, lease_id: int) -> str:
        """Returns where the output of a lease goes."""
        return f"{self.directory}/{lease_id}.log"

    def status(self) -> WorkerStatus:
        """Returns what the scheduler is told about it."""
        return WorkerStatus(
            worker_id=self.worker_id, state=_WIRE[self.state], pool_key=self.pool_key, failure=self.failure
        )

"""Between the protos and the core's values."""

from __future__ import annotations

import hashlib

from hangar.core.v1.action_kind_pb2 import ActionKind as ActionKindProto
from hangar.core.v1.failure_pb2 import Failure as FailureProto
from hangar.core.v1.failure_pb2 import FailureKind as FailureKindProto
from hangar.core.v1.phase_pb2 import Phase as PhaseProto
from hangar.core.v1.resources_pb2 import GpuDevice
from hangar.core.v1.resources_pb2 import Inventory as InventoryProto
from hangar.core.v1.task_spec_pb2 import RetryPolicy, TaskSpec
from hangar.scheduler.v1.node_service_pb2 import Hello
from hangar.scheduler.v1.node_service_pb2 import WorkerState as WorkerStateProto
from hangar.scheduler.v1.scheduler_service_pb2 import NodeState as NodeStateProto
from services.scheduler.core.model import (
    DEFAULT_QUEUE,
    NO_BACKOFF,
    Backoff,
    Failure,
    FailureKind,
    Gpu,
    Inventory,
    Kind,
    NodeState,
    Phase,
    PoolPolicy,
    Resources,
    Task,
    WorkerState,
)

_MILLISECOND = 1000

PHASE_NUMBER: dict[Phase, int] = {each: PhaseProto.Value(f"PHASE_{each.name}") for each in Phase}
"""Number of `hangar.core.v1.Phase` of each phase."""
KIND_NUMBER: dict[Kind, int] = {each: ActionKindProto.Value(f"ACTION_KIND_{each.name}") for each in Kind}
"""Number of `hangar.core.v1.ActionKind` of each kind."""
KIND = {0: Kind.TASK, **{number: kind for kind, number in KIND_NUMBER.items()}}
FINAL_PHASES = frozenset(
    PHASE_NUMBER[each] for each in (Phase.SUCCEEDED, Phase.FAILED, Phase.ABORTED, Phase.TIMED_OUT)
)
"""Numbers of the phases that nothing leaves."""
FAILURE_KIND_NUMBER: dict[FailureKind, int] = {
    each: FailureKindProto.Value(f"FAILURE_KIND_{each.name}") for each in FailureKind
}
"""Number of `hangar.core.v1.FailureKind` of each kind."""
FAILURE_KIND = {number: kind for kind, number in FAILURE_KIND_NUMBER.items()}
NODE_STATE_NUMBER: dict[NodeState, int] = {
    each: NodeStateProto.Value(f"NODE_STATE_{each.name}") for each in NodeState
}
_WORKER_STATE = {
    WorkerStateProto.WORKER_STATE_STARTING: WorkerState.STARTING,
    WorkerStateProto.WORKER_STATE_READY: WorkerState.READY,
    WorkerStateProto.WORKER_STATE_EXITED: WorkerState.EXITED,
}


def task_of(spec: TaskSpec, digest: str) -> Task:
    """Returns what the core has to know of a task definition."""
    wanted = spec.resources
    gpu = wanted.gpu if wanted.HasField("gpu") else None
    return Task(
        digest=digest,
        name=spec.name,
        resources=Resources(
            cpu=wanted.cpu_millis,
            memory=wanted.memory_bytes,
            disk=wanted.disk_bytes,
            gpu_count=gpu.count if gpu else 0,
            gpu_model=gpu.model if gpu else "",
            container=spec.HasField("container"),
            platforms=tuple(spec.image.platforms),
        ),
        retries=spec.retry.count,
        max_runtime=spec.timeout.max_runtime_millis * _MILLISECOND,
        max_queued=spec.timeout.max_queued_millis * _MILLISECOND,
        pool=_pool_of(spec) if spec.HasField("reuse") else None,
        backoff=_backoff_of(spec.retry) if spec.retry.backoff_base_millis else NO_BACKOFF,
        deadline=spec.timeout.deadline_millis * _MILLISECOND,
        queue=spec.queue,
        interruptible=spec.interruptible,
        image=spec.container.image or spec.image.digest,
    )


def _backoff_of(policy: RetryPolicy) -> Backoff:
    return Backoff(
        policy.backoff_base_millis * _MILLISECOND,
        max(policy.backoff_factor, 1.0),
        policy.backoff_cap_millis * _MILLISECOND,
        policy.backoff_jitter,
    )


def _pool_of(spec: TaskSpec) -> PoolPolicy:
    """The pool of a reusable environment: tasks share it that need the same worker."""
    reuse = spec.reuse
    worker = TaskSpec(environment=spec.environment, resources=spec.resources, image=spec.image, reuse=reuse)
    worker.code.bundle_digest = spec.code.bundle_digest
    worker.code.python_path.extend(spec.code.python_path)
    worker.env_vars.update(spec.env_vars)
    if not spec.code.bundle_digest:
        worker.code.version = spec.code.version
    digest = hashlib.sha256(worker.SerializeToString(deterministic=True)).hexdigest()
    return PoolPolicy(
        key=f"{spec.environment}-{digest[:16]}",
        min_replicas=reuse.min_replicas,
        max_replicas=reuse.max_replicas,
        concurrency=reuse.concurrency,
        idle_ttl=reuse.idle_ttl_millis * _MILLISECOND,
        scaledown_ttl=reuse.scaledown_ttl_millis * _MILLISECOND,
    )


def inventory_of(hello: Hello) -> Inventory:
    """Returns what a host offers."""
    message = hello.inventory
    gpus = tuple(Gpu(gpu.uuid, gpu.model, gpu.memory_bytes, gpu.healthy) for gpu in message.gpus)
    return Inventory(
        message.cpu_millis,
        message.memory_bytes,
        message.disk_bytes,
        gpus,
        message.platform,
        hello.engine,
        tuple(hello.queues) or (DEFAULT_QUEUE,),
        hello.interruptible,
    )


def inventory_message(inventory: Inventory) -> InventoryProto:
    """Returns the message of what a host offers."""
    return InventoryProto(
        cpu_millis=inventory.cpu,
        memory_bytes=inventory.memory,
        disk_bytes=inventory.disk,
        gpus=[
            GpuDevice(uuid=gpu.uuid, model=gpu.model, memory_bytes=gpu.memory, healthy=gpu.healthy)
            for gpu in inventory.gpus
        ],
        platform=inventory.platform,
    )


def failure_of(message: FailureProto) -> Failure:
    """Returns a failure. One without a kind is the platform's: nobody else leaves it out."""
    return Failure(
        kind=FAILURE_KIND.get(message.kind, FailureKind.SYSTEM),
        code=message.code,
        message=message.message,
        traceback=message.traceback,
        non_recoverable=message.non_recoverable,
        worker=message.worker,
    )


def failure_message(failure: Failure) -> FailureProto:
    """Returns the message of a failure."""
    return FailureProto(
        kind=FAILURE_KIND_NUMBER[failure.kind],  # type: ignore[arg-type]  # an enum's value is an int
        code=failure.code,
        message=failure.message,
        traceback=failure.traceback,
        non_recoverable=failure.non_recoverable,
        worker=failure.worker,
    )


def worker_state_of(number: int) -> WorkerState:
    """Returns the state of a worker. One that is not known counts as being prepared: it takes no work."""
    return _WORKER_STATE.get(number, WorkerState.STARTING)  # type: ignore[call-overload, no-any-return]

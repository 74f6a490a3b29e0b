"""Definitions and assignments for tests."""

from hangar.core.v1.phase_pb2 import Phase
from hangar.core.v1.task_spec_pb2 import TaskSpec
from hangar.scheduler.v1.node_service_pb2 import Assignment, NodeSessionResponse, WorkerStart

POOL = "pool-a"


def spec(name: str = "env.task", *, is_async: bool = True) -> TaskSpec:
    """A task without code of its own."""
    made = TaskSpec(name=name, short_name=name.rpartition(".")[2], environment="env", is_async=is_async)
    made.env_vars["COLOUR"] = "blue"
    made.code.module, made.code.attribute, made.code.version = "tasks", "task", "v1"
    made.code.python_path.append(".")
    made.resources.memory_bytes = 1 << 30
    return made


def assignment(
    lease_id: int, *, pool: str = "", worker_id: int = 0, task: str = "env.task", inputs: bytes = b"{}"
) -> Assignment:
    """A lease, in a pool or in a worker of its own."""
    made = Assignment(
        lease_id=lease_id, spec_digest=task, pool_key=pool, worker_id=worker_id, attempt=0, user_attempt=0
    )
    made.action.run.project, made.action.run.domain, made.action.run.name = "default", "development", "r1"
    made.action.name = f"a{lease_id}"
    made.inputs.inline, made.inputs.digest = inputs, "d"
    made.context.env_vars["SIZE"] = "big"
    return made


def frame(*messages: Assignment | WorkerStart) -> NodeSessionResponse:
    """A frame with assignments and worker starts."""
    made = NodeSessionResponse()
    for message in messages:
        if isinstance(message, Assignment):
            made.assignments.append(message)
        else:
            made.worker_starts.append(message)
    return made


def outcome(lease_id: int, key: str, outputs: bytes = b"{}") -> NodeSessionResponse:
    """A frame with the outputs of a child."""
    made = NodeSessionResponse()
    child = made.child_outcomes.add(
        parent_lease_id=lease_id, key=key, action_name=key, phase=Phase.PHASE_SUCCEEDED
    )
    child.outputs.inline = outputs
    return made


def start(worker_id: int, *, concurrency: int = 1, task: str = "env.task", pool: str = POOL) -> WorkerStart:
    """The request for a worker of a pool."""
    return WorkerStart(worker_id=worker_id, pool_key=pool, spec_digest=task, concurrency=concurrency)

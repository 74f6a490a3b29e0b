"""ExecutorService: questions about this host."""

from typing import Any, Protocol

from hangar.executor.v1 import executor_service_pb2 as messages
from hangar.executor.v1 import executor_service_pb2_grpc
from services.executor.workers import Worker


class Executor(Protocol):
    """What the servicer asks."""

    async def describe(self) -> messages.GetNodeResponse:
        """Returns what the host offers and how the executor is doing.

        Raises:
            Unavailable: The executor has not started.
        """
        ...

    def workers(self) -> list[Worker]:
        """Returns the workers on the host.

        Raises:
            Unavailable: The executor has not started.
        """
        ...


class ExecutorServicer(executor_service_pb2_grpc.ExecutorServiceServicer):
    """Answers about the host.

    Args:
        executor: The executor.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def GetNode(self, request: messages.GetNodeRequest, context: Any) -> messages.GetNodeResponse:
        """Says what the host offers and how the executor is doing."""
        return await self._executor.describe()

    async def ListWorkers(
        self, request: messages.ListWorkersRequest, context: Any
    ) -> messages.ListWorkersResponse:
        """Lists the workers on the host by their identity."""
        workers = sorted(self._executor.workers(), key=lambda worker: worker.worker_id)
        return messages.ListWorkersResponse(workers=[_message(worker) for worker in workers])


def _message(worker: Worker) -> messages.Worker:
    return messages.Worker(
        worker_id=worker.worker_id,
        pool_key=worker.pool_key,
        state=worker.state.value,
        lease_ids=sorted(worker.leases),
        pid=worker.supervisor_pid,
    )

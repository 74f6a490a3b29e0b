"""ExecutorService: questions about this host."""

from typing import Any

from hangar.executor.v1 import executor_service_pb2 as messages
from hangar.executor.v1 import executor_service_pb2_grpc
from services.executor.app_state import AppState


class ExecutorServicer(executor_service_pb2_grpc.ExecutorServiceServicer):
    """Answers about the host.

    Args:
        state: What the executor knows of itself.
    """

    def __init__(self, state: AppState) -> None:
        self._state = state

    async def GetNode(self, request: messages.GetNodeRequest, context: Any) -> messages.GetNodeResponse:
        """Says what the host offers and how the executor is doing."""
        return await self._state.node()

    async def ListWorkers(self, request: messages.ListWorkersRequest, context: Any) -> messages.ListWorkersResponse:
        """Lists the workers on the host by their identity."""
        return self._state.workers()

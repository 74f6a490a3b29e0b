"""LogService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from hangar.admin.v1 import log_service_pb2 as messages
from hangar.admin.v1.log_service_pb2_grpc import LogServiceServicer
from services.admin.logs import Logs


class LogServicer(LogServiceServicer):
    """Logs over gRPC."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs

    async def ListLogs(self, request: messages.ListLogsRequest, context: Any) -> Any:
        """Returns lines that are stored."""
        return await self._logs.list(request)

    async def TailLogs(self, request: messages.TailLogsRequest, context: Any) -> AsyncIterator[Any]:
        """Streams lines."""
        async for response in self._logs.tail(request):
            yield response

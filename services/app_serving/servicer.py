"""AppService, while apps are not built."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NoReturn

from hangar.app.v1 import app_service_pb2 as messages
from hangar.app.v1.app_service_pb2_grpc import AppServiceServicer
from services.common.errors import Unimplemented


def _refuse(method: str) -> NoReturn:
    raise Unimplemented(
        f"apps are not available yet in this version: {method} does nothing. Tasks are: `flyte run`",
        reason="APPS_NOT_AVAILABLE",
        method=method,
    )


class AppServicer(AppServiceServicer):
    """Refuses every method by name."""

    async def DeployApp(self, request: messages.DeployAppRequest, context: Any) -> messages.DeployAppResponse:
        """Refuses."""
        _refuse("DeployApp")

    async def GetApp(self, request: messages.GetAppRequest, context: Any) -> messages.GetAppResponse:
        """Refuses."""
        _refuse("GetApp")

    async def ListApps(self, request: messages.ListAppsRequest, context: Any) -> messages.ListAppsResponse:
        """Refuses."""
        _refuse("ListApps")

    async def WatchApps(
        self, request: messages.WatchAppsRequest, context: Any
    ) -> AsyncIterator[messages.WatchAppsResponse]:
        """Refuses."""
        _refuse("WatchApps")
        yield messages.WatchAppsResponse()  # makes it a stream

    async def ActivateApp(
        self, request: messages.ActivateAppRequest, context: Any
    ) -> messages.ActivateAppResponse:
        """Refuses."""
        _refuse("ActivateApp")

    async def DeactivateApp(
        self, request: messages.DeactivateAppRequest, context: Any
    ) -> messages.DeactivateAppResponse:
        """Refuses."""
        _refuse("DeactivateApp")

    async def DeleteApp(self, request: messages.DeleteAppRequest, context: Any) -> messages.DeleteAppResponse:
        """Refuses."""
        _refuse("DeleteApp")

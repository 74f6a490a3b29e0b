"""App-serving as a service: what it serves, its beginning and end."""

from __future__ import annotations

from collections.abc import Sequence

from hangar.app.v1.app_service_pb2_grpc import add_AppServiceServicer_to_server
from services.app_serving.servicer import AppServicer
from services.app_serving.settings import Settings
from services.common.serve import Registration


class AppServingApp:
    """App-serving.

    Args:
        settings: Settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registrations = (
            Registration(add_AppServiceServicer_to_server, AppServicer(), "hangar.app.v1.AppService"),
        )

    @property
    def registrations(self) -> Sequence[Registration]:
        """What it serves on gRPC."""
        return self._registrations

    async def start(self) -> None:
        """Has nothing to open yet."""

    async def stop(self) -> None:
        """Has nothing to close yet."""

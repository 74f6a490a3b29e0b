"""The image builder as a service: what it is made of, its beginning and end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from hangar.image.v1.image_service_pb2_grpc import add_ImageServiceServicer_to_server
from services.common.clock import SystemClock
from services.common.data_directory import prepare_directory
from services.common.errors import FailedPrecondition, HangarError
from services.common.sdk_layer import SdkLayer
from services.common.serve import Registration
from services.image_builder.buildkit import BuildKit
from services.image_builder.context import Contexts
from services.image_builder.engine import BuilderEngine
from services.image_builder.service import ImageBuilds
from services.image_builder.servicer import ImageServicer
from services.image_builder.settings import Settings

_log = structlog.get_logger(__name__)


class ImageBuilderApp:
    """The image builder.

    Args:
        settings: Settings.
        check_at_start: True to refuse to start without engine and builder. False to start, and to say what is
            missing when an image is asked for: a laptop needs neither until then.

    Raises:
        HangarError: The data directory cannot be used.
    """

    def __init__(self, settings: Settings, *, check_at_start: bool = True) -> None:
        self._check_at_start = check_at_start
        self._engine = BuilderEngine(settings.engine)
        self._buildkit = BuildKit(settings.docker, settings.engine, settings.network)
        directory = prepare_directory(settings.state_dir)
        self._contexts = Contexts(directory, SdkLayer(), settings.uv)
        self._builds = ImageBuilds(settings, self._engine, self._buildkit, self._contexts, SystemClock())
        servicer = ImageServicer(self._builds)
        self._registrations = (
            Registration(add_ImageServiceServicer_to_server, servicer, "hangar.image.v1.ImageService"),
        )

    @property
    def registrations(self) -> Sequence[Registration]:
        """What it serves on gRPC."""
        return self._registrations

    async def start(self) -> None:
        """Looks for engine and builder, and clears what an earlier process left behind.

        Raises:
            FailedPrecondition: One of them is missing. The message says what to install or to start.
        """
        await asyncio.to_thread(self._contexts.clear)
        if not self._check_at_start:
            return
        await self._buildkit.check()
        try:
            _log.info("image builder ready", platform=await self._engine.platform())
        except HangarError as error:
            raise FailedPrecondition(error.message, reason=error.reason) from error

    async def drain(self) -> None:
        """Cancels builds, so that those who follow them hear the end."""
        await self._builds.stop()

    async def stop(self) -> None:
        """Cancels builds and closes connections."""
        await self._builds.stop()
        await self._engine.close()

"""Tells hosts of images that are being built, so that they pull them as soon as the registry has them."""

from __future__ import annotations

import asyncio

import grpc.aio
import structlog

from hangar.core.v1.task_spec_pb2 import Image
from hangar.scheduler.v1.scheduler_service_pb2 import PrepareImagesRequest
from hangar.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from services.common.auth import Token
from services.common.channel import connect
from services.common.image_definition import definition_digest
from services.image_builder.dockerfile import read_definition

_log = structlog.get_logger(__name__)
_SECONDS = 20.0


class Announcements:
    """Tells the scheduler of builds, in the background: a build waits for nobody.

    Args:
        scheduler: Address of the scheduler, empty to tell nobody.
        token: What it wants to be shown.
    """

    def __init__(self, scheduler: str, token: Token | None) -> None:
        self._scheduler = scheduler
        self._token = token
        self._tasks: set[asyncio.Task[None]] = set()

    def announce(self, definition_json: str) -> None:
        """A build of a definition has begun."""
        if self._scheduler:
            task = asyncio.create_task(self._tell(definition_json), name="image-announcement")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell(self, definition_json: str) -> None:
        image = Image(definition_json=definition_json, platforms=read_definition(definition_json).platforms)
        if definition_json:
            image.digest = definition_digest(definition_json)
        try:
            async with connect(self._scheduler, self._token) as channel:
                request = PrepareImagesRequest(images=[image])
                await SchedulerServiceStub(channel).PrepareImages(request, timeout=_SECONDS)
        except grpc.aio.AioRpcError as error:
            hint = "hosts pull it when a task needs it; HANGAR_IMAGE_BUILDER_SCHEDULER names the scheduler"
            _log.warning("image.not_announced", scheduler=self._scheduler, reason=error.details(), hint=hint)

    async def close(self) -> None:
        """Tells nobody any more."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

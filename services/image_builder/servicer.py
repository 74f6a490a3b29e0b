"""ImageService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from hangar.image.v1 import image_service_pb2 as messages
from hangar.image.v1.image_service_pb2_grpc import ImageServiceServicer
from services.common.pages import last_entry, page_size, page_token
from services.image_builder.convert import image_build, log_line
from services.image_builder.service import ImageBuilds


class ImageServicer(ImageServiceServicer):
    """Image builds over gRPC."""

    def __init__(self, builds: ImageBuilds) -> None:
        self._builds = builds

    async def BuildImage(self, request: messages.BuildImageRequest, context: Any) -> Any:
        """Asks for an image."""
        build = await self._builds.build(request.definition_json, request.platform, force=request.force)
        return messages.BuildImageResponse(build=image_build(build))

    async def GetImageBuild(self, request: messages.GetImageBuildRequest, context: Any) -> Any:
        """Returns a build."""
        return messages.GetImageBuildResponse(build=image_build(await self._builds.get(request.name)))

    async def ListImageBuilds(self, request: messages.ListImageBuildsRequest, context: Any) -> Any:
        """Lists builds."""
        size = page_size(request.page_size)
        before = last_entry(request, request.page_token, int)
        found = self._builds.newest(None if before is None else int(before), size + 1)
        more = page_token(request, found[size - 1].number) if len(found) > size else ""
        return messages.ListImageBuildsResponse(builds=map(image_build, found[:size]), next_page_token=more)

    async def WatchImageBuild(
        self, request: messages.WatchImageBuildRequest, context: Any
    ) -> AsyncIterator[Any]:
        """Streams a build."""
        next_line = request.from_line
        async for build, lines in self._builds.watch(request.name, request.from_line):
            if lines:
                next_line = lines[-1].number + 1
            yield messages.WatchImageBuildResponse(
                build=image_build(build), lines=map(log_line, lines), next_line=next_line
            )

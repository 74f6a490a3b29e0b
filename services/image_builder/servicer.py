"""ImageService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.metadata import version
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
        build = await self._builds.build(
            request.definition_json,
            request.platform,
            force=request.force,
            dry_run=request.dry_run,
            secrets=dict(request.secrets),
            container=request.container,
        )
        return messages.BuildImageResponse(build=image_build(build))

    async def GetImageBuilder(self, request: messages.GetImageBuilderRequest, context: Any) -> Any:
        """Returns what is made here, and with what."""
        environments, sdk, engine = await self._builds.describe_builder()
        return messages.GetImageBuilderResponse(
            environments=environments, version=version("hangar"), sdk_digest=sdk, engine=engine
        )

    async def GetImageBuild(self, request: messages.GetImageBuildRequest, context: Any) -> Any:
        """Returns a build."""
        build = await self._builds.get(request.name)
        current = await self._builds.current_bases(build) if request.check_bases else None
        return messages.GetImageBuildResponse(build=image_build(build, current))

    async def ListImageBuilds(self, request: messages.ListImageBuildsRequest, context: Any) -> Any:
        """Lists builds."""
        size = page_size(request.page_size)
        before = last_entry(request, request.page_token, int)
        found = await self._builds.newest(None if before is None else int(before), size + 1)
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

    async def CancelImageBuild(self, request: messages.CancelImageBuildRequest, context: Any) -> Any:
        """Ends a build."""
        return messages.CancelImageBuildResponse(build=image_build(await self._builds.cancel(request.name)))

    async def DeleteImageBuild(self, request: messages.DeleteImageBuildRequest, context: Any) -> Any:
        """Removes an image."""
        await self._builds.delete(request.name)
        return messages.DeleteImageBuildResponse()

    async def PruneImages(self, request: messages.PruneImagesRequest, context: Any) -> Any:
        """Removes old images."""
        age = request.max_age_seconds if request.HasField("max_age_seconds") else None
        names, freed = await self._builds.prune(age, build_cache=request.build_cache)
        return messages.PruneImagesResponse(names=names, cache_bytes=freed)

    async def GetImageAttestation(self, request: messages.GetImageAttestationRequest, context: Any) -> Any:
        """Returns what is known of an image."""
        sbom, provenance = await self._builds.attestation(request.name)
        return messages.GetImageAttestationResponse(sbom_json=sbom, provenance_json=provenance)

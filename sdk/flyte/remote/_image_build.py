"""Images of the backend or of this machine (`image.builder: local`), and the builds that make them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flyte import errors
from flyte._client._twins import twin, twin_iterator, twin_iterator_method, twin_method
from flyte._initialize import Session, require_session
from flyte.remote._convert import time_of
from flyte.remote._pages import check_limit, listed
from hangar.core.v1 import failure_pb2
from hangar.image.v1 import image_build_pb2, image_service_pb2


@dataclass(frozen=True)
class BaseImage:
    """A base of an image.

    Attributes:
        address: Its address, such as "python:3.12-slim-bookworm".
        digest: Which image was behind it when the image was built; empty when that is not known.
        current_digest: Which image is behind it now; empty when that is not known.
    """

    address: str
    digest: str
    current_digest: str = ""

    @property
    def has_moved(self) -> bool | None:
        """True when another image is behind the address by now, None when that is not known.

        `flyte build --force` takes that one.
        """
        if not self.digest or not self.current_digest:
            return None
        return self.digest != self.current_digest


class ImageBuild:
    """An image, and how it was or is being built.

    Attributes:
        pb: The message as the backend sent it.
        other_platforms: What was built of the same definition for further platforms (`flyte.build`).
    """

    def __init__(self, session: Session, pb: image_build_pb2.ImageBuild) -> None:
        self._session = session
        self.pb = pb
        self.other_platforms: tuple[ImageBuild, ...] = ()

    @property
    def platform(self) -> str:
        """Operating system and architecture that it is for, such as "linux/arm64"."""
        return self.pb.platform

    @property
    def name(self) -> str:
        """Identity of the image: digest of all that it is made of."""
        return self.pb.name

    @property
    def title(self) -> str:
        """What its author calls it (`name=` of the image); may be empty."""
        return self.pb.title

    @property
    def uri(self) -> str:
        """Address of the image; of a Python environment its name in place of an address."""
        return f"{self.pb.reference}@{self.pb.image_digest}" if self.pb.image_digest else self.pb.reference

    @property
    def digest(self) -> str:
        """Digest of the image in its registry; without one the identity that the builder's engine gives it.

        A forced build has another one. Empty for a Python environment, and until the image is there.
        """
        return self.pb.image_digest or self.pb.image_id

    @property
    def state(self) -> str:
        """How far it is: "queued", "building", "succeeded", "failed" or "cancelled"."""
        return image_build_pb2.ImageBuildState.Name(self.pb.state).removeprefix("IMAGE_BUILD_STATE_").lower()

    @property
    def cached(self) -> bool:
        """True when the image was there and nothing was built."""
        return self.pb.cached

    @property
    def is_environment(self) -> bool:
        """True for a Python environment of the host instead of a container image."""
        return self.pb.environment

    @property
    def size_bytes(self) -> int:
        """Size of the image, 0 when it is not known."""
        return self.pb.size_bytes

    @property
    def step(self) -> str:
        """What it is doing, or what failed."""
        return self.pb.step

    @property
    def created_at(self) -> datetime | None:
        """When it was asked for."""
        return time_of(self.pb, "created_at")

    @property
    def seconds(self) -> float | None:
        """How long it was or has been built; None when nothing was built."""
        started, finished = time_of(self.pb, "started_at"), time_of(self.pb, "finished_at")
        if started is None or finished is None:
            return None
        return (finished - started).total_seconds()

    @property
    def error(self) -> errors.ImageBuildError | errors.RuntimeSystemError | None:
        """Why there is no image, None when there is, or will be."""
        if not self.pb.HasField("failure"):
            return None
        failure = self.pb.failure
        if failure.kind == failure_pb2.FAILURE_KIND_IMAGE:
            return errors.ImageBuildError(failure.message)
        return errors.RuntimeSystemError(failure.code, failure.message)

    @twin
    @staticmethod
    async def get(name: str) -> ImageBuild:
        """An image by its name.

        Raises:
            flyte.errors.RuntimeUserError: There is none (code "ImageBuildNotFoundError").
        """
        session = require_session()
        request = image_service_pb2.GetImageBuildRequest(name=name)
        async with session.image_client() as client:
            return ImageBuild(session, (await client.call(client.images.GetImageBuild, request)).build)

    @twin_iterator
    @staticmethod
    async def listall(limit: int = 100) -> AsyncGenerator[ImageBuild, None]:
        """Images that were asked for, newest first.

        Args:
            limit: Most images.

        Raises:
            TypeError, ValueError: The limit has no meaning.
        """
        check_limit(limit)
        session = require_session()

        async def page(size: int, token: str) -> image_service_pb2.ListImageBuildsResponse:
            request = image_service_pb2.ListImageBuildsRequest(page_size=size, page_token=token)
            async with session.image_client() as client:
                return await client.call(client.images.ListImageBuilds, request)

        async for pb in listed(page, "builds", limit):
            yield ImageBuild(session, pb)

    @twin_method
    async def bases(self) -> list[BaseImage]:
        """The base images that it was made from, and which images are behind their addresses now.

        Registries are asked for that, which may take seconds; one that does not answer is no error.

        Raises:
            flyte.errors.RuntimeUserError: There is no such image any more.
        """
        request = image_service_pb2.GetImageBuildRequest(name=self.name, check_bases=True)
        async with self._session.image_client() as client:
            build = (await client.call(client.images.GetImageBuild, request)).build
        return [BaseImage(each.address, each.digest, each.current_digest) for each in build.bases]

    @twin_iterator_method
    async def log(self) -> AsyncGenerator[str, None]:
        """Lines of the build's log, until it has ended."""

        def request(last: Any) -> image_service_pb2.WatchImageBuildRequest:
            return image_service_pb2.WatchImageBuildRequest(
                name=self.name, from_line=last.next_line if last is not None else 0
            )

        async with self._session.image_client() as client:
            async for update in client.stream(client.images.WatchImageBuild, request):
                self.pb = update.build
                for line in update.lines:
                    yield line.text

    @twin_method
    async def cancel(self) -> None:
        """Ends the build, for all who wait for it."""
        request = image_service_pb2.CancelImageBuildRequest(name=self.name)
        async with self._session.image_client() as client:
            self.pb = (await client.call(client.images.CancelImageBuild, request)).build

    @twin_method
    async def delete(self) -> None:
        """Removes the image where it was built. What a registry holds stays there.

        Raises:
            flyte.errors.RuntimeUserError: It is being built, or in use.
        """
        request = image_service_pb2.DeleteImageBuildRequest(name=self.name)
        async with self._session.image_client() as client:
            await client.call(client.images.DeleteImageBuild, request)
        self._session.built.clear()  # the next run looks again

    @twin_method
    async def attestation(self) -> tuple[str, str]:
        """What is in the image (CycloneDX) and how it was made (in-toto, SLSA provenance), as JSON.

        Raises:
            flyte.errors.RuntimeUserError: That is not on record.
        """
        request = image_service_pb2.GetImageAttestationRequest(name=self.name)
        async with self._session.image_client() as client:
            answer = await client.call(client.images.GetImageAttestation, request)
        return answer.sbom_json, answer.provenance_json

    def __repr__(self) -> str:
        return f"ImageBuild(name={self.name!r}, state={self.state!r}, uri={self.uri!r})"

"""Images of workers: asked of the image builder, pulled when there is a registry, each once."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import docker
import grpc.aio
import structlog
from docker.errors import APIError, DockerException, ImageNotFound

from hangar.core.v1 import failure_pb2
from hangar.image.v1 import image_build_pb2, image_service_pb2
from hangar.image.v1.image_service_pb2_grpc import ImageServiceStub
from services.common import image_labels
from services.common.auth import Token
from services.common.channel import connect
from services.common.errors import HangarError, InvalidArgument, NotFound, Unavailable, Unimplemented
from services.common.grpc_errors import from_rpc_error
from services.common.image_definition import Definition, definition_digest, parse_built
from services.common.image_layers import BuiltBase
from services.common.platforms import image_platform
from services.common.registry_credentials import RegistryCredentials
from services.common.sdk_layer import SdkLayer
from services.common.secret_directory import SecretDirectory
from services.executor.engines.base import ImageDefinition, ImageFailedError, PreparedImage, Progress
from services.executor.engines.docker.logins import NO_CREDENTIALS, NO_SECRETS, Login, Logins

log = structlog.get_logger(__name__)

_ANSWER_SECONDS = 20.0
"""How long the image builder gets to answer, its start included."""
_IMAGE_DIRECTORY = "HANGAR_IMAGE_DIRECTORY"
"""Variable that tells workers where files of the author are (`flyte._runtime.order`)."""
_FRESH_SECONDS = 30.0
"""How long a digest of a registry is taken for the current one: a forced build makes another."""
_ATTEMPTS = 3
"""How often a build is asked for again that was lost with its builder."""
_LOST = frozenset({"BuildStopped", "STOPPING", "IMAGE_BUILD_NOT_FOUND", "BUILDER_LOST"})
_ENDED = frozenset(
    {
        image_build_pb2.IMAGE_BUILD_STATE_SUCCEEDED,
        image_build_pb2.IMAGE_BUILD_STATE_FAILED,
        image_build_pb2.IMAGE_BUILD_STATE_CANCELLED,
    }
)


class DockerImages:
    """Makes images of definitions ready in one engine.

    What the definition is to blame for is an `ImageFailedError`. What the platform is to blame for (image builder or
    engine not reachable, disk full) is a `HangarError`: the same request may succeed later.

    Args:
        client: The engine.
        address: Address of the image builder.
        platform: Platform of the images.
        token: What it wants to be shown.
        sdk: The platform's SDK; that of this installation when None.
        credentials: What registries want to be shown.
        secrets: Those of authors, by the key that `registry_secret=` of their images names.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        client: docker.DockerClient,
        address: str,
        platform: str,
        token: Token | None = None,
        sdk: SdkLayer | None = None,
        credentials: RegistryCredentials = NO_CREDENTIALS,
        secrets: SecretDirectory = NO_SECRETS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = client.api
        self._address = address
        self._platform = platform
        self._token = token
        self._sdk = sdk
        self._logins = Logins(credentials, secrets)
        self._ready: dict[str, PreparedImage] = {}
        self._addresses: dict[str, str] = {}
        self._fresh_until: dict[str, float] = {}
        self._clock = clock
        self._flights: dict[str, _Flight] = {}

    async def ensure(self, definition: ImageDefinition, progress: Progress) -> PreparedImage:
        """Returns the image of a definition, made or pulled now if the engine does not hold it.

        Args:
            definition: What to prepare.
            progress: Called on the event loop with lines for people.

        Raises:
            ImageFailedError: The definition cannot be made into an image here.
            HangarError: The platform cannot make it now.
        """
        text = definition.definition_json or definition.reference
        if self._clock() < self._fresh_until.get(text, math.inf):
            ready = await self._still_ready(text)
            if ready is not None:
                return ready
        flight = self._flights.get(text)
        if flight is None:
            flight = self._flights[text] = _Flight()
            prepare = self._take if definition.reference else self._prepare
            flight.task = asyncio.create_task(prepare(text, flight.say))
            flight.task.add_done_callback(lambda _: self._flights.pop(text, None))
        flight.listeners.append(progress)
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.leave(progress)

    def forget(self, image: PreparedImage) -> None:
        """The engine does not hold an image that was there before: looks again the next time."""
        self._ready = {text: ready for text, ready in self._ready.items() if ready != image}

    async def _prepare(self, text: str, say: Progress) -> PreparedImage:
        try:
            brought = parse_built(text)
        except InvalidArgument as error:
            raise self._explained(error) from error
        if brought is not None:
            return await self._take_built(text, brought, say)
        try:
            build = await self._built(text, say)
        except Unavailable as error:
            if text in self._ready:
                self._fresh_until[text] = self._clock() + _FRESH_SECONDS
                return self._ready[text]
            reference = await self._labelled(text)
            if not reference:
                raise
            log.warning("image.builder_unreachable", image=reference, reason=error.message)
            say(f"{error.message}; {reference} is on this host already and is used")
            # Not remembered: the builder has the last word once it is back.
            image = await self._held(reference, reference)
            if image is None:  # removed just now
                raise
            return image
        pinned = _pinned(build.reference, build.image_digest)
        image = await self._held(build.name, pinned)
        if image is None:
            if build.reference == f"hangar/{build.name}":
                raise ImageFailedError(
                    "ImageNotOnHost",
                    f"image {build.reference} was built by the image builder at {self._address} and is not in the "
                    "Docker engine of this host. Several hosts need a registry that all of them reach: name it in "
                    "HANGAR_IMAGE_BUILDER_REGISTRY of the image builder",
                )
            login = await asyncio.to_thread(self._logins.of, text)
            image = await self._pulled(build.name, pinned, say, login)
        self._ready[text], self._addresses[text] = image, pinned
        if build.image_digest:
            self._fresh_until[text] = self._clock() + _FRESH_SECONDS
        return image

    async def _take(self, reference: str, say: Progress) -> PreparedImage:
        """An image as it is: the one that the engine holds under that address, pulled when there is none."""
        image = await self._held(reference, reference)
        if image is None or not await self._is_of_platform(reference):
            try:
                image = await self._pulled(reference, reference, say, Login())
            except ImageFailedError as error:
                if image is None:
                    raise
                say(f"{error.message}; the one of another platform that this host has is used")
        # Its program starts where the image says.
        image = self._ready[reference] = replace(image, env_vars={})
        self._addresses[reference] = reference
        return image

    async def _is_of_platform(self, reference: str) -> bool:
        """Whether an image that the engine holds is of its platform: it holds one platform per address."""
        found = await self._ask(lambda: self._api.inspect_image(reference))
        return image_platform(found) == self._platform

    async def _take_built(self, text: str, definition: Definition, say: Progress) -> PreparedImage:
        """An image that its author has built: no image builder is asked for it."""
        base = definition.base
        assert isinstance(base, BuiltBase)
        if definition.has_sdk:
            await self._check_sdk(base.sdk)
        image = await self._held(base.uri, base.uri)
        if image is None and not base.is_in_registry:
            raise ImageFailedError(
                "ImageNotOnHost",
                f"image hangar/{base.name} was built on its author's machine (image.builder: local) and is in the "
                "Docker engine of that machine only, which this host does not use. Name a registry that hosts can pull "
                "from: image.registry of the configuration, or registry= of the image",
            )
        if image is None:
            login = await asyncio.to_thread(self._logins.of, text)
            image = await self._pulled(base.uri, base.uri, say, login)
        labels = await self._labels(base.uri)
        if labels.get(image_labels.IMAGE) != base.name:
            raise ImageFailedError(
                "ImageMismatch",
                f"{base.uri} is not image {base.name} of this platform (label {image_labels.IMAGE} is "
                f"{labels.get(image_labels.IMAGE, 'missing')!r}): build it again, with flyte build --force",
            )
        if definition.has_sdk:
            await self._check_sdk(labels.get(image_labels.SDK, ""))
        if not base.is_in_registry:
            image = replace(image, record=f"hangar/{base.name}@{base.uri}")
        self._ready[text], self._addresses[text] = image, base.uri
        return image

    async def _check_sdk(self, digest: str) -> None:
        """Refuses an image with another SDK than this platform's: its runtime and this executor may not fit."""
        sdk = self._sdk or SdkLayer()
        own = await asyncio.to_thread(lambda: sdk.digest)
        if digest != own:
            raise ImageFailedError(
                "SdkMismatch",
                f"the image was built on its author's machine with another SDK ({digest[:12] or 'none'}) than this "
                f"platform has ({own[:12]}, version {version('hangar')}): build it again with that version, or set "
                "image.builder to remote",
            )

    async def _labels(self, address: str) -> dict[str, str]:
        try:
            found = await self._ask(lambda: self._api.inspect_image(address))
        except ImageNotFound:  # removed just now
            return {}
        return (found.get("Config") or {}).get("Labels") or {}

    async def _still_ready(self, text: str) -> PreparedImage | None:
        """What was made ready before, as the engine holds it now: an address without a digest may have moved."""
        ready = self._ready.get(text)
        if ready is None or _is_pinned(self._addresses[text]):
            return ready
        found = await self._held(ready.key, self._addresses[text])
        if found is None:
            del self._ready[text]
            return None
        if found.reference != ready.reference:
            ready = self._ready[text] = replace(found, env_vars=ready.env_vars)
        return ready

    async def _pulled(self, key: str, address: str, say: Progress, login: Login) -> PreparedImage:
        await self._pull(address, say, login)
        image = await self._held(key, address)
        if image is None:
            message = f"image {address} was pulled, and somebody has removed it from this host since"
            raise Unavailable(message, reason="IMAGE_REMOVED")
        return image

    async def _held(self, key: str, address: str) -> PreparedImage | None:
        """The image that the engine holds under an address, None when it holds none.

        Containers are started by its digest in the registry or, where none is known, by the engine's identity of it.
        That is on record, and an address that moves in between changes nothing.
        """
        try:
            found = await self._ask(lambda: self._api.inspect_image(address))
        except ImageNotFound:
            return None
        # Workers start in a directory of their own: they are told where files of the author are.
        directory = str((found.get("Config") or {}).get("WorkingDir") or "/")
        env_vars = {} if directory == "/" else {_IMAGE_DIRECTORY: directory}
        if _is_pinned(address):
            return PreparedImage(key, address, env_vars, record=address)
        digests = [each.partition("@")[2] for each in found.get("RepoDigests") or []]
        for pinned in (_pinned(address, digest) for digest in digests):
            if pinned in found["RepoDigests"]:
                return PreparedImage(key, pinned, env_vars, record=pinned)
        return PreparedImage(key, found["Id"], env_vars, record=f"{address}@{found['Id']}")

    async def _built(self, text: str, say: Progress) -> image_build_pb2.ImageBuild:
        """Asks the image builder, and follows the build to its end."""
        attempt = 1
        while True:
            try:
                async with connect(self._address, self._token) as channel:
                    build = await self._follow(ImageServiceStub(channel), text, say)
                if build.state == image_build_pb2.IMAGE_BUILD_STATE_SUCCEEDED:
                    return build
                raise _failure(build)
            except HangarError as error:
                if attempt >= _ATTEMPTS or error.reason not in _LOST:
                    raise
                say(f"{error.message} (attempt {attempt} of {_ATTEMPTS})")
            attempt += 1

    async def _follow(self, stub: Any, text: str, say: Progress) -> image_build_pb2.ImageBuild:
        try:
            request = image_service_pb2.BuildImageRequest(
                definition_json=text, platform=self._platform, container=True
            )
            answer = await stub.BuildImage(request, timeout=_ANSWER_SECONDS, wait_for_ready=True)
        except grpc.aio.AioRpcError as rpc_error:
            raise self._explained(from_rpc_error(rpc_error)) from rpc_error
        build: image_build_pb2.ImageBuild = answer.build
        if build.state in _ENDED:
            return build
        try:
            watch = image_service_pb2.WatchImageBuildRequest(name=build.name)
            said = ""
            async for update in stub.WatchImageBuild(watch):
                build = update.build
                if build.state not in _ENDED and _doing(build) != said:
                    said = _doing(build)
                    say(said)
        except grpc.aio.AioRpcError as rpc_error:
            error = self._explained(from_rpc_error(rpc_error))
            if isinstance(
                error, Unavailable
            ):  # it is perhaps being restarted, and goes on with the build then
                raise Unavailable(error.message, reason="BUILDER_LOST") from rpc_error
            raise error from rpc_error
        if build.state not in _ENDED:
            raise NotFound(
                f"the image builder at {self._address} ended while it built the image",
                reason="IMAGE_BUILD_NOT_FOUND",
            )
        return build

    def _explained(self, error: HangarError) -> Exception:
        if isinstance(error, InvalidArgument):
            is_missing = error.reason == "IMAGE_LAYER_NOT_AVAILABLE"
            return ImageFailedError(
                "UnsupportedLayer" if is_missing else "InvalidImageDefinition", error.message
            )
        if isinstance(error, Unimplemented):
            message = (
                f"{self._address} is no image builder: name its address in HANGAR_EXECUTOR_IMAGE_BUILDER "
                "(`hangar serve image-builder`)"
            )
            return Unavailable(message, reason="IMAGE_BUILDER_UNREACHABLE")
        if isinstance(error, Unavailable) and error.reason == "UNAVAILABLE":
            message = (
                f"the image builder at {self._address} is not reachable ({error.message}): start it with `hangar serve "
                "image-builder`, or name its address in HANGAR_EXECUTOR_IMAGE_BUILDER"
            )
            return Unavailable(message, reason="IMAGE_BUILDER_UNREACHABLE")
        return error

    async def _labelled(self, text: str) -> str:
        """An image of this definition with this SDK that the engine holds, empty when there is none."""
        sdk = self._sdk or SdkLayer()
        digest = await asyncio.to_thread(lambda: sdk.digest)
        labels = [
            f"{image_labels.DEFINITION}={definition_digest(text)}",
            f"{image_labels.PLATFORM}={self._platform}",
            f"{image_labels.SDK}={digest}",
        ]
        found = await self._ask(lambda: self._api.images(filters={"label": labels}))
        newest = sorted(found, key=lambda image: int(image["Created"]), reverse=True)
        names = [
            name
            for image in newest
            for name in (*(image.get("RepoDigests") or []), *(image.get("RepoTags") or []))
            if not name.startswith("<none>")
        ]
        return names[0].removesuffix(":latest") if names else ""

    async def _pull(self, reference: str, say: Progress, login: Login) -> None:
        loop = asyncio.get_running_loop()
        say(f"pulling {reference}")

        def pull() -> str:
            options = self._logins.options(self._api, reference, login)
            repository, tag = _split(reference)
            options["platform"] = self._platform
            for event in self._api.pull(repository, tag=tag, stream=True, decode=True, **options):
                if "error" in event:
                    return str(event["error"])
                if not event.get("progressDetail"):
                    line = " ".join(filter(None, [event.get("id"), event.get("status")]))
                    loop.call_soon_threadsafe(say, line)
            return ""

        try:
            problem = await self._ask(pull)
        except APIError as error:
            problem = str(error.explanation or error)
        if problem:
            code = "InvalidImageName" if "invalid reference format" in problem else "ImagePullError"
            problem = self._logins.explained(reference, problem, login)
            raise ImageFailedError(code, f"image {reference} cannot be pulled: {problem}")

    async def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return await asyncio.to_thread(question)
        except APIError:
            raise
        except (DockerException, OSError) as error:
            message = f"the Docker engine of this host is not reachable ({error}): is it running?"
            raise Unavailable(message, reason="ENGINE_UNREACHABLE") from error


class _Flight:
    """An image that is being prepared, and who wants to hear of it."""

    def __init__(self) -> None:
        self.listeners: list[Progress] = []
        self.task: asyncio.Task[PreparedImage]

    def say(self, line: str) -> None:
        for listener in list(self.listeners):
            listener(line)

    def leave(self, listener: Progress) -> None:
        """Stops telling somebody who waits no more."""
        self.listeners = [each for each in self.listeners if each is not listener]


def _split(reference: str) -> tuple[str, str]:
    """Repository of an address, and its digest or tag."""
    repository, _, digest = reference.partition("@")
    if digest:
        return repository, digest
    repository, _, tag = reference.rpartition(":")
    return (repository, tag) if repository and "/" not in tag else (reference, "latest")


def _is_pinned(address: str) -> bool:
    """True for an address that names a digest."""
    return "@" in address


def _pinned(reference: str, digest: str) -> str:
    """The address of an image with the digest in place of its tag, as it is where there is none."""
    return f"{_split(reference)[0]}@{digest}" if digest else reference


def _doing(build: image_build_pb2.ImageBuild) -> str:
    """What a build is doing, for those who wait for it."""
    number = f"[{build.step_number}/{build.steps}] " if build.step_number else ""
    return f"building the image: {number}{build.step or 'waits for its turn'}"


def _failure(build: image_build_pb2.ImageBuild) -> Exception:
    if build.failure.kind == failure_pb2.FAILURE_KIND_SYSTEM:
        return Unavailable(build.failure.message, reason=build.failure.code)
    return ImageFailedError(build.failure.code, build.failure.message)

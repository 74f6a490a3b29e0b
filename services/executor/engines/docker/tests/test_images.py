"""Images are asked of the image builder once, pulled where there is a registry, and failures are told apart."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, ImageNotFound

from hangar.core.v1 import failure_pb2
from hangar.core.v1.failure_pb2 import Failure
from hangar.image.v1 import image_build_pb2 as states
from hangar.image.v1 import image_service_pb2 as messages
from hangar.image.v1.image_service_pb2_grpc import (
    ImageServiceServicer,
    add_ImageServiceServicer_to_server,
)
from services.common import image_labels
from services.common.errors import FailedPrecondition, InvalidArgument, Unavailable
from services.common.image_definition import definition_digest
from services.common.sdk_layer import SdkLayer
from services.common.serve import GrpcServer, Registration, build_server
from services.executor.engines.base import ImageDefinition, ImageFailedError, PreparedImage
from services.executor.engines.docker.images import DockerImages

NAME, PLATFORM = "0" * 32, "linux/arm64"
ARM = {"Os": "linux", "Architecture": "arm64", "Variant": "v8"}
SUCCEEDED, FAILED = states.IMAGE_BUILD_STATE_SUCCEEDED, states.IMAGE_BUILD_STATE_FAILED
DEFINITION = ImageDefinition("d", '{"base":{"kind":"debian","python":"3.11"},"layers":[]}')


class FakeBuilder(ImageServiceServicer):
    """An image builder that answers as it is told."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.answers: list[states.ImageBuild] = []
        self.steps: list[str] = []
        self.go = asyncio.Event()
        self.server: GrpcServer | None = None
        self.address = ""

    async def start(self) -> None:
        self.server = build_server(
            [Registration(add_ImageServiceServicer_to_server, self, "hangar.image.v1.ImageService")]
        )
        self.address = f"127.0.0.1:{self.server.bind('127.0.0.1', 0)}"
        await self.server.start()

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop(0)
            self.server = None

    async def BuildImage(self, request: Any, context: Any) -> Any:
        self.asked += 1
        assert (request.platform, request.container) == (PLATFORM, True)
        if self.error is not None:
            raise self.error
        state = states.IMAGE_BUILD_STATE_BUILDING if self.steps or not self.answers else self.answers[0].state
        build = self.answers[0] if state in {SUCCEEDED, FAILED} else states.ImageBuild(name=NAME, state=state)
        return messages.BuildImageResponse(build=build)

    async def WatchImageBuild(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for number, step in enumerate(self.steps, 1):
            state = states.IMAGE_BUILD_STATE_BUILDING
            build = states.ImageBuild(
                name=NAME, state=state, steps=len(self.steps), step_number=number, step=step
            )
            for text in ("a line", "of its log"):
                line = states.ImageBuildLogLine(text=text)
                yield messages.WatchImageBuildResponse(build=build, lines=[line])
        await self.go.wait()
        yield messages.WatchImageBuildResponse(build=self.answers.pop(0))


class FakeApi:
    """An engine with some images, and a registry behind it."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Any]] = {}
        self.registry: dict[str, dict[str, Any]] = {}
        self.pull_error: str | APIError = ""
        self.pulls = 0

    def inspect_image(self, reference: str) -> dict[str, Any]:
        if reference not in self.held:
            raise ImageNotFound(f"No such image: {reference}")
        return self.held[reference]

    def images(self, filters: dict[str, Any]) -> list[dict[str, Any]]:
        wanted = set(filters["label"])
        return [image for image in self.held.values() if wanted <= set(image.get("labels", ()))]

    def pull(
        self, reference: str, tag: str, stream: bool, decode: bool, platform: str
    ) -> Iterator[dict[str, Any]]:
        assert platform == PLATFORM
        self.pulls += 1
        if isinstance(self.pull_error, APIError):
            raise self.pull_error
        yield {"id": "latest", "status": "Pulling from hangar"}
        yield {"status": "Downloading", "progressDetail": {"current": 1}}
        if self.pull_error:
            yield {"error": self.pull_error}
            return
        separator = "@" if tag.startswith("sha256:") else ":"
        self.held[f"{reference}{separator}{tag}"] = self.registry[reference]


class FakeClient:
    """What the Docker library gives."""

    def __init__(self) -> None:
        self.api = FakeApi()


class World:
    """Images of one host."""

    def __init__(self, builder: FakeBuilder, sdk: SdkLayer) -> None:
        self.builder = builder
        self.client = FakeClient()
        self.api = self.client.api
        self.sdk = sdk
        self.now = 0.0
        self.images = DockerImages(self.client, builder.address, PLATFORM, sdk=sdk, clock=lambda: self.now)
        self.lines: list[str] = []

    async def ensure(self) -> PreparedImage:
        return await self.images.ensure(DEFINITION, self.lines.append)

    def built(self, reference: str = f"hangar/{NAME}", digest: str = "") -> None:
        """The builder has this image from now on."""
        build = states.ImageBuild(name=NAME, state=SUCCEEDED, reference=reference, image_digest=digest)
        self.builder.answers = [build]

    def failed(self, kind: Any, code: str, message: str) -> None:
        """The builder says that the build failed."""
        failure = Failure(kind=kind, code=code, message=message)
        self.builder.answers = [states.ImageBuild(name=NAME, state=FAILED, failure=failure)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A builder that serves and an engine that holds nothing."""
    package = tmp_path / "flyte"
    package.mkdir()
    (package / "__init__.py").write_text("")
    builder = FakeBuilder()  # type: ignore[abstract]  # what is not asked for is not there
    await builder.start()
    yield World(builder, SdkLayer(package))
    await builder.stop()


async def test_the_builder_is_asked_once(world: World) -> None:
    """Callers of one definition share one request and all hear what it does; later ones need no request at all."""
    world.builder.steps = ["base image x", "layer 0: install y"]
    said = ["building the image: [1/2] base image x", "building the image: [2/2] layer 0: install y"]
    world.api.held[f"hangar/{NAME}"] = {"Id": "sha256:1"}
    other: list[str] = []
    waiting = [
        asyncio.create_task(world.ensure()),
        asyncio.create_task(world.images.ensure(DEFINITION, other.append)),
    ]
    async with asyncio.timeout(30):
        while len(other) < len(said):  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0.01)
    world.built()
    world.builder.go.set()
    image = PreparedImage(NAME, "sha256:1", record=f"hangar/{NAME}@sha256:1")
    assert await asyncio.gather(*waiting) == [image, image]
    assert world.lines == other == said
    assert await world.ensure() == image
    assert world.builder.asked == 1
    world.images.forget(image)
    world.builder.steps = []
    world.built()
    await world.ensure()
    assert world.builder.asked == 2


async def test_an_image_without_a_registry_is_started_by_its_identity(world: World) -> None:
    """One that was built anew under its name is another one on record, at once; one that was removed is asked for."""
    world.built()
    name = f"hangar/{NAME}"
    for asked, identity in ((1, "sha256:1"), (1, "sha256:2")):
        world.api.held[name] = {"Id": identity, "Config": {"WorkingDir": "/app"}}
        image = await world.ensure()
        assert (image.reference, image.record) == (identity, f"{name}@{identity}")
        assert image.env_vars == {"HANGAR_IMAGE_DIRECTORY": "/app"}
        assert world.builder.asked == asked
    del world.api.held[name]
    with pytest.raises(ImageFailedError, match="is not in the Docker engine of this host"):
        await world.ensure()
    assert world.builder.asked == 2
    taken = ImageDefinition("", "", "tool:3")
    for identity in ("sha256:3", "sha256:4"):
        world.api.held["tool:3"] = {"Id": identity, "Config": {"WorkingDir": "/app"}, **ARM}
        image = await world.images.ensure(taken, print)
        assert (image.reference, image.record, image.env_vars) == (identity, f"tool:3@{identity}", {})


async def test_an_image_of_the_registry_is_pulled_once(world: World) -> None:
    """Ten callers make one pull; an older build does not count as there; workers start by the digest."""
    reference, digest = f"registry.example/hangar/{NAME}", "sha256:" + "1" * 64
    world.built(reference, digest)
    world.api.held[reference] = {"RepoDigests": [f"{reference}@sha256:{'2' * 64}"]}
    world.api.registry[reference] = {"RepoDigests": [f"{reference}@{digest}"]}
    found = await asyncio.gather(*(world.ensure() for _ in range(10)))
    pinned = f"{reference}@{digest}"
    assert {(each.reference, each.record) for each in found} == {(pinned, pinned)}
    assert world.api.pulls == 1
    assert world.lines[:2] == [f"pulling {pinned}", f"pulling {pinned}"]
    assert "latest Pulling from hangar" in world.lines
    taken = ImageDefinition("", "", f"registry.example:5000/hangar/{NAME}:3")
    world.api.held[taken.reference] = {
        "RepoDigests": ["x@sha256:0", f"registry.example:5000/hangar/{NAME}@{digest}"],
        **ARM,
    }
    assert (await world.images.ensure(taken, print)).record == f"registry.example:5000/hangar/{NAME}@{digest}"
    assert not any("Downloading" in line for line in world.lines)


async def test_an_image_as_it_is_is_taken_for_the_platform_of_the_host(world: World) -> None:
    """One that the engine holds for another platform is pulled; where the registry has no other it has to do."""
    taken = ImageDefinition("", "", "tool:3")
    foreign = {"Id": "sha256:1", "Os": "linux", "Architecture": "amd64"}
    world.api.held["tool:3"], world.api.pull_error = foreign, "no matching manifest for linux/arm64"
    assert (await world.images.ensure(taken, world.lines.append)).reference == "sha256:1"
    assert "no matching manifest" in world.lines[-1]
    assert world.lines[-1].endswith("the one of another platform that this host has is used")
    world.images.forget(await world.images.ensure(taken, print))
    world.api.pull_error = ""
    world.api.registry["tool"] = {"Id": "sha256:2", **ARM}
    assert (await world.images.ensure(taken, print)).reference == "sha256:2"


async def test_a_newer_build_of_the_registry_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The builder is asked again after a while; what is there already is used when it does not answer."""
    monkeypatch.setattr("services.executor.engines.docker.images._ANSWER_SECONDS", 0.3)
    reference, digests = f"registry.example/hangar/{NAME}", ["sha256:" + "1" * 64, "sha256:" + "2" * 64]
    world.api.registry[reference] = {}
    for number, digest in enumerate(digests):
        world.built(reference, digest)
        world.now = 31.0 * number
        for _ in range(2):
            assert (await world.ensure()).reference == f"{reference}@{digest}"
        assert (world.builder.asked, world.api.pulls) == (number + 1, number + 1)
    await world.builder.stop()
    for later in (31.0, 60.0):  # the second of them without asking
        world.now += later
        assert (await world.ensure()).reference == f"{reference}@{digests[1]}"


@pytest.mark.parametrize("problem", ["manifest unknown", APIError("denied", explanation="access denied")])
async def test_a_registry_that_refuses(world: World, problem: str | APIError) -> None:
    """The engine's message is the failure's; nothing is remembered."""
    world.built(f"registry.example/hangar/{NAME}", "sha256:" + "1" * 64)
    world.api.pull_error = problem
    for _ in range(2):
        with pytest.raises(
            ImageFailedError, match=r"cannot be pulled: .*(manifest unknown|access denied)"
        ) as caught:
            await world.ensure()
        assert caught.value.code == "ImagePullError"
    assert world.api.pulls == 2


async def test_several_hosts_need_a_registry(world: World) -> None:
    """An image that was built elsewhere and is not here: the message names the setting."""
    world.built()
    with pytest.raises(
        ImageFailedError, match="HANGAR_IMAGE_BUILDER_REGISTRY of the image builder"
    ) as caught:
        await world.ensure()
    assert caught.value.code == "ImageNotOnHost"


async def test_failures_of_builds_are_told_apart(world: World) -> None:
    """What the definition is to blame for is an image failure; the rest may be tried again."""
    world.failed(failure_pb2.FAILURE_KIND_IMAGE, "ImageBuildError", "layer 0: install nope failed")
    with pytest.raises(ImageFailedError, match="layer 0: install nope failed") as image_error:
        await world.ensure()
    assert image_error.value.code == "ImageBuildError"
    world.failed(failure_pb2.FAILURE_KIND_SYSTEM, "DiskFull", "the disk is full")
    with pytest.raises(Unavailable, match="the disk is full"):
        await world.ensure()
    assert world.builder.asked == 2


async def test_a_build_that_was_lost_is_asked_for_again(world: World) -> None:
    """A builder that was stopped in the middle is asked again, some times."""
    world.failed(failure_pb2.FAILURE_KIND_SYSTEM, "BuildStopped", "the image builder was stopped")
    with pytest.raises(Unavailable, match="was stopped"):
        await world.ensure()
    assert world.builder.asked == 3
    assert world.lines == [
        "the image builder was stopped (attempt 1 of 3)",
        "the image builder was stopped (attempt 2 of 3)",
    ]


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("IMAGE_LAYER_NOT_AVAILABLE", "UnsupportedLayer"),
        ("IMAGE_DEFINITION_INVALID", "InvalidImageDefinition"),
    ],
)
async def test_definitions_that_are_refused(world: World, reason: str, code: str) -> None:
    """The builder's message reaches the action as an image failure."""
    world.builder.error = InvalidArgument("layers[1].kind is 'uv_project'", reason=reason)
    with pytest.raises(ImageFailedError, match=r"layers\[1\]\.kind is 'uv_project'") as caught:
        await world.ensure()
    assert caught.value.code == code


async def test_a_builder_without_docker(world: World) -> None:
    """What the operator has to mend is no failure of the image."""
    world.builder.error = FailedPrecondition("image builds need BuildKit", reason="BUILDKIT_MISSING")
    with pytest.raises(FailedPrecondition, match="need BuildKit"):
        await world.ensure()


async def test_no_builder(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody at the address: the platform is to blame. An image that is here already is used, and not for good."""
    monkeypatch.setattr("services.executor.engines.docker.images._ANSWER_SECONDS", 0.3)
    await world.builder.stop()
    with pytest.raises(Unavailable, match=r"is not reachable .*HANGAR_EXECUTOR_IMAGE_BUILDER"):
        await world.ensure()
    digest = definition_digest(DEFINITION.definition_json)
    labels = [f"{image_labels.DEFINITION}={digest}", f"{image_labels.SDK}={world.sdk.digest}"]
    foreign = f"{image_labels.PLATFORM}=linux/amd64"
    world.api.held["foreign"] = {
        "Created": 9,
        "RepoTags": ["hangar/foreign:latest"],
        "labels": [*labels, foreign],
    }
    labels.append(f"{image_labels.PLATFORM}={PLATFORM}")
    world.api.held["x"] = {"labels": labels, "Created": 1, "RepoTags": [f"hangar/{NAME}:latest"]}
    world.api.held[f"hangar/{NAME}"] = {"Id": "sha256:1"}
    assert (await world.ensure()).record == f"hangar/{NAME}@sha256:1"
    assert "is on this host already and is used" in world.lines[-1]


async def test_another_service_at_the_address(world: World) -> None:
    """An address that serves something else is named with the setting."""
    server = build_server([])
    port = server.bind("127.0.0.1", 0)
    await server.start()
    try:
        images = DockerImages(world.client, f"127.0.0.1:{port}", PLATFORM)
        with pytest.raises(
            Unavailable, match="is no image builder: name its address in HANGAR_EXECUTOR_IMAGE_BUILDER"
        ):
            await images.ensure(DEFINITION, print)
    finally:
        await server.stop(0)


IDENTITY = f"sha256:{'a' * 64}"
PINNED = f"reg.example/team/hangar@sha256:{'d' * 64}"


def built(uri: str, digest: str, **more: Any) -> ImageDefinition:
    """The definition of an image that its author has built, with an SDK of this digest."""
    base = {"kind": "built", "uri": uri, "name": NAME, "sdk": digest}
    content = {"base": base, "layers": []} | more
    return ImageDefinition("b", json.dumps(content, separators=(",", ":")))


def labelled(world: World, **labels: str) -> dict[str, Any]:
    """What an engine says of an image with these labels in place of the right ones."""
    right = {image_labels.IMAGE: NAME, image_labels.SDK: world.sdk.digest}
    return {"Id": IDENTITY, "Config": {"Labels": right | labels, "WorkingDir": "/app"}}


async def test_an_image_of_its_author_needs_no_builder(world: World) -> None:
    """It is pulled once by its digest, or taken from the engine by its identity, and no builder is asked."""
    world.api.registry["reg.example/team/hangar"] = labelled(world)
    world.api.held[IDENTITY] = labelled(world)
    definition = built(PINNED, world.sdk.digest)
    image = await world.images.ensure(definition, world.lines.append)
    assert (image.reference, image.record) == (PINNED, PINNED)
    assert image.env_vars == {"HANGAR_IMAGE_DIRECTORY": "/app"}
    assert await world.images.ensure(definition, world.lines.append) == image
    for _ in range(2):
        here = await world.images.ensure(built(IDENTITY, world.sdk.digest), world.lines.append)
        assert (here.reference, here.record) == (IDENTITY, f"hangar/{NAME}@{IDENTITY}")
    assert (world.api.pulls, world.builder.asked) == (1, 0)


async def test_images_of_authors_that_are_refused(world: World) -> None:
    """One that is not here, of another SDK, or no image of this platform fails with its name and what to do."""
    own = world.sdk.digest
    other = PINNED.replace("team", "other")
    world.api.held = {
        PINNED: labelled(world, **{image_labels.SDK: "6d" * 16}),
        other: labelled(world, **{image_labels.IMAGE: "other"}),
    }
    refused = [
        (built(IDENTITY, own), "ImageNotOnHost", "image.registry"),
        (built(PINNED, "6d" * 16), "SdkMismatch", "6d6d6d6d6d6d"),
        (built(PINNED, own), "SdkMismatch", "set image.builder to remote"),
        (built(other, own), "ImageMismatch", "'other'"),
        (built("reg.example/x:latest", own), "InvalidImageDefinition", "an address with a digest"),
        (built(PINNED, ""), "InvalidImageDefinition", "base.sdk is missing"),
        (
            built(PINNED, own, layers=[{"kind": "env", "vars": {}}]),
            "InvalidImageDefinition",
            "takes no layers",
        ),
    ]
    for definition, code, words in refused:
        with pytest.raises(ImageFailedError) as caught:
            await world.images.ensure(definition, world.lines.append)
        assert (caught.value.code, words in caught.value.message) == (code, True), caught.value.message
    # Whatever SDK is in an image for container tasks: its program does not use it.
    await world.images.ensure(built(PINNED, "", sdk=False), world.lines.append)
    assert world.builder.asked == 0


async def test_on_a_real_engine(world: World, docker_url: str) -> None:
    """An image that the engine holds is ready; one of a registry that is not there fails with the engine's words."""
    client = docker.DockerClient(base_url=docker_url, timeout=60)
    name = uuid.uuid4().hex
    try:
        client.api.import_image_from_data(empty_archive(), repository=f"hangar/{name}", tag="latest")
        images = DockerImages(client, world.builder.address, PLATFORM)
        world.built(f"hangar/{name}")
        identity = client.images.get(f"hangar/{name}").id
        image = await images.ensure(DEFINITION, print)
        assert (image.reference, image.record) == (identity, f"hangar/{name}@{identity}")
        other = ImageDefinition("e", json.dumps({"layers": []}))
        world.built("127.0.0.1:9/hangar/none", "sha256:" + "1" * 64)
        with pytest.raises(ImageFailedError, match=r"cannot be pulled: .*connection refused") as caught:
            await images.ensure(other, print)
        assert caught.value.code == "ImagePullError"
    finally:
        client.images.remove(f"hangar/{name}", force=True)
        client.close()


def empty_archive() -> bytes:
    """A file system with one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("empty"))
    return buffer.getvalue()

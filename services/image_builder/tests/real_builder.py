"""An image builder of tests, on a real engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import psutil

import flyte
from flyte._image_layers import Setting
from hangar.image.v1 import image_build_pb2 as states
from hangar.image.v1 import image_service_pb2 as messages
from hangar.image.v1.image_service_pb2_grpc import ImageServiceStub
from integration_tests.components.lacking import lacking
from services.common.channel import connect
from services.common.errors import FailedPrecondition
from services.common.serve import build_server
from services.image_builder.app import ImageBuilderApp
from services.image_builder.settings import Settings

BASE = "python:3.11-slim-bookworm"
SUCCEEDED, FAILED = states.IMAGE_BUILD_STATE_SUCCEEDED, states.IMAGE_BUILD_STATE_FAILED


class Builder:
    """An image builder of a test, and the images that it made."""

    def __init__(
        self, engine: docker.DockerClient, stub: Any, repository: str, data: Path, address: str
    ) -> None:
        self.engine = engine
        self.stub = stub
        self.repository = repository
        self.data = data
        self.address = address
        self.built: set[str] = set()

    async def build(self, *layers: dict[str, Any], base: dict[str, Any] | None = None, **more: Any) -> Any:
        """Asks for an image and waits for the end: the build and its lines."""
        definition = {"base": base or {"kind": "debian", "python": "3.11"}, "layers": list(layers)}
        request = messages.BuildImageRequest(definition_json=json.dumps(definition), **more)
        build = (await self.stub.BuildImage(request)).build
        self.built.add(build.reference)
        self.built.add(f"hangar/{build.name}")
        return await self.watch(build)

    async def build_image(self, image: flyte.Image, **more: Any) -> Any:
        """Asks for an image as the SDK does, its local files uploaded: the build and its lines."""
        resolved = image.resolve(Setting())
        for archive in resolved.archives:
            place = self.data / "blobs" / "contexts" / f"{archive.identity[0]}.tar"
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as file:
                archive.write(file)
        request = messages.BuildImageRequest(definition_json=resolved.definition_json, **more)
        build = (await self.stub.BuildImage(request)).build
        self.built.add(build.reference)
        if build.base_image.startswith("hangar/base-"):
            self.built.add(build.base_image)
        return await self.watch(build)

    async def watch(self, build: Any) -> tuple[Any, list[str]]:
        """Follows a build to its end."""
        lines: list[str] = []
        async for update in self.stub.WatchImageBuild(messages.WatchImageBuildRequest(name=build.name)):
            build = update.build
            lines += [line.text for line in update.lines]
        return build, lines

    async def run(self, reference: str, *command: str, **options: Any) -> str:
        """What a command prints in a container of an image."""
        options = {"network_mode": "none", "remove": True, "stderr": True, **options}
        output = await asyncio.to_thread(
            lambda: self.engine.containers.run(reference, list(command), **options)
        )
        return str(output.decode())

    def close(self) -> None:
        """Removes what it made."""
        for reference in self.built:
            try:
                self.engine.images.remove(reference, force=True)
            except docker.errors.ImageNotFound:
                continue


async def serve(
    tmp_path: Path, docker_url: str, repository: str, **settings: Any
) -> tuple[ImageBuilderApp, Any, str]:
    """Starts an image builder."""
    given = {"engine": docker_url, "network": "host", "base_image": f"{repository}:{{python}}", **settings}
    app = ImageBuilderApp(Settings.load(data_dir=tmp_path / "data", **given))
    try:
        await app.start()
    except FailedPrecondition as error:
        await app.stop()
        lacking(error.message)
    server = build_server(app.registrations)
    port = server.bind("127.0.0.1", 0)
    await server.start()
    return app, server, f"127.0.0.1:{port}"


@asynccontextmanager
async def building(
    place: Path, docker_url: str, engine: docker.DockerClient, repository: str, **settings: object
) -> AsyncIterator[Builder]:
    """An image builder with its data in a directory; what it made is removed at the end."""
    place.mkdir(exist_ok=True)
    app, server, address = await serve(place, docker_url, repository, **settings)
    async with connect(address) as channel:
        builder = Builder(engine, ImageServiceStub(channel), repository, place / "data", address)
        try:
            yield builder
        finally:
            await app.drain()
            await server.stop(0)
            await app.stop()
            builder.close()


def has_process(marker: str, command: str) -> bool:
    """Says whether a step of a build still runs: a script that the marker is in runs the command."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            if " ".join(process.cmdline()) == command and any(
                marker in " ".join(parent.cmdline()) for parent in process.parents()
            ):
                return True
    return False

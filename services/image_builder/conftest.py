"""What tests of the image builder share: a builder on a real engine, and one on a fake."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import docker
import pytest

from hangar.image.v1.image_service_pb2_grpc import ImageServiceStub, add_ImageServiceServicer_to_server
from services.common.channel import connect
from services.common.serve import Registration, build_server
from services.image_builder.servicer import ImageServicer
from services.image_builder.tests.fakes import FakeDocker
from services.image_builder.tests.real_builder import BASE, Builder, building
from services.image_builder.tests.world import World


@pytest.fixture
def engine(docker_url: str) -> Iterator[docker.DockerClient]:
    """The engine; no container may be left behind."""
    client = docker.DockerClient(base_url=docker_url, timeout=120)
    yield client
    client.close()


@pytest.fixture
def repository(engine: docker.DockerClient) -> Iterator[str]:
    """A base image of the test's own: its images have names of their own."""
    name = f"image-builder-test-{uuid.uuid4().hex[:8]}"
    engine.images.get(BASE).tag(name, "3.11")
    yield name
    engine.images.remove(f"{name}:3.11")


@pytest.fixture
async def builder(
    tmp_path: Path, docker_url: str, engine: docker.DockerClient, repository: str, request: Any
) -> AsyncIterator[Builder]:
    """An image builder on the real engine; `@pytest.mark.parametrize(…, indirect=True)` gives settings."""
    more = getattr(request, "param", {})
    async with building(tmp_path, docker_url, engine, repository, **more) as builder:
        yield builder
    assert list((tmp_path / "data" / "image-builder").iterdir()) == []


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The image builder over gRPC."""
    world = World(tmp_path, FakeDocker(tmp_path / "docker"))
    async with AsyncExitStack() as stack:
        server = build_server(
            [
                Registration(
                    add_ImageServiceServicer_to_server,
                    ImageServicer(world.builds),
                    "hangar.image.v1.ImageService",
                )
            ]
        )
        port = server.bind("127.0.0.1", 0)
        await server.start()
        stack.push_async_callback(world.builds.stop)
        stack.push_async_callback(server.stop, 0)
        stack.callback(world.database.dispose)
        world.stub = ImageServiceStub(await stack.enter_async_context(connect(f"127.0.0.1:{port}")))
        yield world

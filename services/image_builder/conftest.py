"""What tests of the image builder share: a builder on a real engine."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from services.image_builder.tests.real_builder import (
    BASE,
    Builder,
    building,
)


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

"""The same fixtures as for all tests, with the Docker engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from integration_tests.backend import Backend
from integration_tests.conftest import check_no_orphans, one_backend
from integration_tests.docker_backend import docker_settings, make_default_image


@pytest.fixture(scope="session")
def engine_settings(docker_url: str) -> Mapping[str, str]:
    """Settings that choose the Docker engine."""
    return docker_settings(docker_url)


@pytest.fixture(scope="session")
def shared_docker_backend(
    place: Path, environments: Path, closed: list[Backend], docker_url: str
) -> Iterator[Backend]:
    """The backend of all tests here that need nothing special; the default image is there."""
    for backend in one_backend(place / "docker", environments, closed, docker_settings(docker_url)):
        make_default_image(backend, place / "users" / "image")
        yield backend


@pytest.fixture
def backend(shared_docker_backend: Backend) -> Iterator[Backend]:
    """The shared backend; at the end of the test it has no orphan."""
    yield shared_docker_backend
    check_no_orphans(shared_docker_backend)


@pytest.fixture(autouse=True)
def _default_image(shared_docker_backend: Backend) -> None:
    """No test waits for the build of the default image, which happens once."""

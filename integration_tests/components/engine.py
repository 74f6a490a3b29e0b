"""A Docker engine that is there already: the one that `DOCKER_HOST` names, or the one on the local socket."""

from __future__ import annotations

import os
import socket

import docker
from docker.errors import DockerException

from integration_tests.components.images import BASE_IMAGES, provide
from integration_tests.components.lacking import lacking

_LOCAL = "unix:///var/run/docker.sock"
_SECONDS = 60


def connect(url: str) -> docker.DockerClient:
    """A client of an engine. Close it after use.

    Raises:
        DockerException: No engine answers.
    """
    if url.startswith("unix://"):
        # The library leaves a socket open that could not connect, which is a warning, and so an error, later.
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(url.removeprefix("unix://"))
            except OSError as error:
                raise DockerException(f"{url}: {error.strerror}") from error
    return docker.DockerClient(base_url=url, timeout=_SECONDS)


def engine_url() -> str:
    """URL of the engine for tests, whether there is one or not."""
    return os.environ.get("DOCKER_HOST") or _LOCAL


def find_engine() -> str:
    """URL of the engine for tests, with the base images in it."""
    url = engine_url()
    try:
        client = connect(url)
    except DockerException as error:
        lacking(f"no Docker engine answers at {url} ({error}); .ci/run starts one")
    try:
        client.ping()
        for image in BASE_IMAGES:
            provide(client, image)
    except DockerException as error:
        lacking(f"the Docker engine at {url} cannot be used: {error}")
    finally:
        client.close()
    return url

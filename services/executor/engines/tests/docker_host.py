"""Docker engines for tests, and what is left of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docker

from services.executor.engines.docker.containers import labels_filter
from services.executor.engines.docker.engine import DockerEngine
from services.executor.engines.docker.options import DockerEngineOptions
from services.executor.engines.tests.worker_image import FixedImages, NoNetworks


def make_engine(state: Path, url: str, image: str, **options: Any) -> DockerEngine:
    """An engine whose workers run from one image and have no network."""
    return DockerEngine(
        DockerEngineOptions(state, url, **options),
        lambda _client, _platform: FixedImages(image),
        lambda _client, _identity, _own_image: NoNetworks(),
    )


def left_of(url: str, identity: str) -> list[str]:
    """Names of the containers of an executor."""
    client = docker.DockerClient(base_url=url)
    try:
        found = client.api.containers(all=True, filters=labels_filter(identity))
        return [each["Names"][0] for each in found]
    finally:
        client.close()

"""Chooses the engine that the settings name."""

import os
from urllib.parse import urlsplit

import docker

from services.common.object_store import ENDPOINT_VARIABLES
from services.executor.engines.base import Engine
from services.executor.engines.docker.engine import DockerEngine
from services.executor.engines.docker.images import DockerImages
from services.executor.engines.docker.networks import NetworkOptions, Networks
from services.executor.engines.docker.options import DockerEngineOptions, own_user
from services.executor.engines.fake import FakeEngine
from services.executor.engines.process import ProcessEngine, ProcessEngineOptions
from services.executor.settings import Settings


def make_engine(settings: Settings) -> Engine:
    """Returns the engine of an executor."""
    if settings.engine == "fake":
        return FakeEngine()
    if settings.engine == "process":
        return ProcessEngine(
            ProcessEngineOptions(settings.state_dir.absolute(), orphan_ttl=settings.orphan_ttl)
        )
    options = NetworkOptions(settings.network, settings.network_allow, _platform(settings))
    builder, token = settings.image_builder or settings.scheduler, settings.access_token()

    def make_networks(client: docker.DockerClient, executor: str, own_image: str) -> Networks:
        return Networks(client, options, executor, own_image=own_image)

    return DockerEngine(
        docker_options(settings), lambda client: DockerImages(client, builder, token), make_networks
    )


def docker_options(settings: Settings) -> DockerEngineOptions:
    """Returns how the Docker engine works with these settings."""
    uid, gid = map(int, settings.user.split(":")) if settings.user else own_user()
    return DockerEngineOptions(
        state=settings.state_dir.absolute(),
        url=settings.docker,
        host_state=settings.host_state,
        orphan_ttl=settings.orphan_ttl,
        uid=uid,
        gid=gid,
        pids_limit=settings.pids,
        tmp_bytes=settings.tmp,
    )


def _platform(settings: Settings) -> tuple[str, ...]:
    """Addresses that no task reaches, whatever the settings open."""
    addresses = [*settings.scheduler.split(","), *settings.image_builder.split(",")]
    if urlsplit(settings.blobs_url).scheme == "s3":
        addresses += [os.environ.get(name, "") for name in ENDPOINT_VARIABLES]
    return tuple(address.strip() for address in addresses if address.strip())

"""Chooses the engine that the settings name."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from services.common.object_store import ENDPOINT_VARIABLES
from services.common.registry_credentials import RegistryCredentials
from services.common.secret_directory import SecretDirectory
from services.executor.engines.base import Engine
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
            ProcessEngineOptions(
                settings.state_dir.absolute(),
                orphan_ttl=settings.orphan_ttl,
                blobs_url=settings.blobs_url,
                keep_environments=settings.keep_environments,
            )
        )
    return _docker_engine(settings)


def _docker_engine(settings: Settings) -> Engine:
    # Imported only where it is chosen: the Docker library would cost every `hangar up` a tenth of a second.
    from services.executor.engines.docker.engine import DockerEngine  # noqa: PLC0415
    from services.executor.engines.docker.images import DockerImages  # noqa: PLC0415
    from services.executor.engines.docker.networks import NetworkOptions, Networks  # noqa: PLC0415

    options = NetworkOptions(settings.network, settings.network_allow, _platform(settings))
    builder, token = settings.image_builder or settings.scheduler, settings.access_token()
    credentials = RegistryCredentials(settings.registry_credentials, "HANGAR_EXECUTOR_REGISTRY_CREDENTIALS")
    credentials.check()
    directory = Path(settings.registry_secrets) if settings.registry_secrets else None
    secrets = SecretDirectory(directory, "HANGAR_EXECUTOR_REGISTRY_SECRETS")
    return DockerEngine(
        docker_options(settings),
        lambda client, platform: DockerImages(
            client, builder, platform, token, credentials=credentials, secrets=secrets
        ),
        lambda client, executor, own_image: Networks(client, options, executor, own_image=own_image),
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
        platform=settings.platform,
    )


def _platform(settings: Settings) -> tuple[str, ...]:
    """Addresses that no task reaches, whatever the settings open."""
    addresses = [*settings.scheduler.split(","), *settings.image_builder.split(",")]
    if urlsplit(settings.blobs_url).scheme == "s3":
        addresses += [os.environ.get(name, "") for name in ENDPOINT_VARIABLES]
    return tuple(address.strip() for address in addresses if address.strip())

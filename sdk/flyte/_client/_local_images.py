"""What a run needs of images that were built on this machine: a backend that can use them, and their definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from flyte import errors
from flyte._client._client import Client
from flyte._client._errors import UNAVAILABLE
from flyte._image_definition import Resolved, built
from hangar.admin.v1 import project_service_pb2
from hangar.image.v1 import image_build_pb2, image_service_pb2

if TYPE_CHECKING:
    from flyte._initialize import Session

_REGISTRY = (
    "Name a registry that they can pull from: image.registry of the configuration (or FLYTE_IMAGE_REGISTRY), or "
    "registry= of the image"
)


async def check_backend(session: Session, resolved: Mapping[str, Resolved]) -> None:
    """Finds out, before anything is built, whether the backend can run what is built here.

    Args:
        session: The session.
        resolved: The definitions by the name of their environment.

    Raises:
        flyte.errors.RuntimeUserError: It cannot: it runs tasks as processes, has another SDK, or cannot get the images.
        flyte.errors.BaseRuntimeError: The backend, or the image builder of this machine, does not answer.
    """
    client = await session.client()
    theirs = await _builder_of(client)
    if theirs is not None and theirs.environments:
        raise errors.RuntimeUserError(
            "DockerNeededError",
            f"image.builder is local, and the backend at {client.endpoint.address} runs tasks as processes: images "
            "that are built here need Docker there. Set image.builder to remote, or start that backend with "
            "HANGAR_EXECUTOR_ENGINE=docker.",
        )
    async with session.image_client() as local:
        ours = await local.call(local.images.GetImageBuilder, image_service_pb2.GetImageBuilderRequest())
    if theirs is not None and theirs.sdk_digest != ours.sdk_digest and any(map(_has_sdk, resolved.values())):
        raise errors.RuntimeUserError(
            "SdkMismatchError",
            f"image.builder is local, and images that are built here have another SDK ({ours.version}, "
            f"{ours.sdk_digest[:12]}) than the backend at {client.endpoint.address} ({theirs.version}, "
            f"{theirs.sdk_digest[:12]}). Install its version here (pip install hangar-sdk=={theirs.version} "
            f"hangar=={theirs.version}), or set image.builder to remote.",
        )
    lacking = sorted(name for name, each in resolved.items() if not each.registry)
    if lacking and (theirs is None or theirs.engine != ours.engine):
        raise errors.RuntimeUserError(
            "RegistryMissingError",
            f"image of {', '.join(lacking)}: it would be in the Docker engine of this machine only, and the backend at "
            f"{client.endpoint.address} does not use that engine. {_REGISTRY}.",
        )


async def _builder_of(client: Client) -> image_service_pb2.GetImageBuilderResponse | None:
    """What the backend's image builder is, None when it has none."""
    try:
        return await client.call(
            client.images.GetImageBuilder, image_service_pb2.GetImageBuilderRequest(), retried=False
        )
    except errors.RuntimeSystemError as error:
        if error.code == UNAVAILABLE:  # nothing answers, or what answers has no builder behind it
            await client.call(
                client.projects.ListProjects, project_service_pb2.ListProjectsRequest(page_size=1)
            )
        return None


async def built_definition(local: Client, resolved: Resolved, build: image_build_pb2.ImageBuild) -> Resolved:
    """The definition of what was built here.

    Args:
        local: The image builder of this machine.
        resolved: What it was made of.
        build: The build, which has succeeded.

    Raises:
        flyte.errors.RuntimeSystemError: The registry did not say its digest.
    """
    sdk = ""
    if resolved.has_sdk:
        builder = await local.call(local.images.GetImageBuilder, image_service_pb2.GetImageBuilderRequest())
        sdk = builder.sdk_digest
    if not resolved.registry:
        return built(resolved, build.image_id, build.name, sdk, build.platform)
    if not build.image_digest:
        raise errors.RuntimeSystemError(
            "ImageDigestMissingError",
            f"image {build.reference} was pushed, and the registry did not say its digest: build it again "
            "(flyte build --force).",
        )
    uri = f"{_repository(build.reference)}@{build.image_digest}"
    return built(resolved, uri, build.name, sdk, build.platform)


def _repository(reference: str) -> str:
    """An address without its tag."""
    repository, _, tag = reference.rpartition(":")
    return repository if repository and "/" not in tag else reference


def _has_sdk(resolved: Resolved) -> bool:
    return resolved.has_sdk

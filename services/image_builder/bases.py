"""Base images: which ones a definition takes, whether they are allowed, and which image is behind each."""

from __future__ import annotations

import asyncio
import fnmatch
import re
from collections.abc import Mapping

from services.common.errors import HangarError, InvalidArgument
from services.common.image_layers import DockerfileBase, ImageBase
from services.common.registry_secrets import RegistrySecret
from services.image_builder.dockerfile import Recipe
from services.image_builder.dockerfile_images import ADDRESS, images_of
from services.image_builder.engine import BuilderEngine, StoredImage
from services.image_builder.failures import BuildError
from services.image_builder.makers import Emit
from services.image_builder.progress import Output

_REGISTRY_SECONDS = 20.0


def bases_of(recipe: Recipe) -> tuple[str, ...]:
    """Returns the addresses of the base images of a recipe, as they are written; those with variables are left out."""
    if recipe.base is None:
        return (recipe.base_image,)
    return tuple(image for image in images_of(recipe.base.text) if ADDRESS.fullmatch(image))


def check_bases(recipe: Recipe, allowed: tuple[str, ...]) -> None:
    """Refuses base images that are not on the operator's list.

    Args:
        recipe: What is to be made.
        allowed: Patterns of addresses, such as ``python:*``; empty for all.

    Raises:
        InvalidArgument: A base is not on it (reason ``BASE_IMAGE_NOT_ALLOWED``).
    """
    base = recipe.definition.base
    wanted: tuple[str, ...] = ()
    if isinstance(base, ImageBase):
        wanted = (base.uri,)
    elif isinstance(base, DockerfileBase):
        wanted = images_of(base.text)
    for image in wanted if allowed else ():
        if not ADDRESS.fullmatch(image):
            problem = f"the Dockerfile takes something from {image!r}, of which it cannot be told whether it is allowed"
            fix = f"write the address of the image out, one of {', '.join(allowed)}"
        elif not any(_matches(image, pattern) for pattern in allowed):
            problem = f"base image {image!r} is not allowed here"
            fix = f"use one of {', '.join(allowed)}"
        else:
            continue
        raise InvalidArgument(
            f"{problem}: {fix}, or ask the operator to add it to HANGAR_IMAGE_BUILDER_ALLOWED_BASES",
            reason="BASE_IMAGE_NOT_ALLOWED",
            field="definition_json.base",
        )


def _matches(image: str, pattern: str) -> bool:
    """Says whether a pattern allows an image. That of a tag does not reach into a path: "python:5000/x" is a host's."""
    return fnmatch.fnmatchcase(image, pattern) and fnmatch.fnmatchcase(
        _without_tag(image), _without_tag(pattern)
    )


async def check_platform(
    engine: BuilderEngine, recipe: Recipe, platform: str, secret: RegistrySecret | None
) -> None:
    """Refuses a base that its registry has for other platforms only.

    The builder takes such an image without a word, and calls what comes out by the platform that was asked for. With
    Python in the image a step looks at that instead, without asking the registry.

    Raises:
        BuildError: There is none for the platform.
    """
    if recipe.base is not None or recipe.needs_installer:
        return
    held = await engine.image(recipe.base_image)
    if held is not None and held.platform == platform:
        return
    try:
        async with asyncio.timeout(_REGISTRY_SECONDS):
            found = await engine.registry_platforms(recipe.base_image, secret)
    except TimeoutError:
        return  # the build says what is wrong
    if found and platform not in found:
        message = (
            f"base image {recipe.base_image} has none for {platform}, only for {', '.join(found)}: use a base image "
            f"that there is for {platform}, or leave that platform out"
        )
        raise BuildError("BaseImagePlatform", message, step=recipe.steps[0])


async def digests_of_bases(
    engine: BuilderEngine, recipe: Recipe, printed: Mapping[str, str], platform: str
) -> dict[str, str]:
    """Returns which image was behind each base of a build, empty texts where that is not known.

    Args:
        engine: The engine that built.
        recipe: What was built.
        printed: Digests that the builder took from registries, by address.
        platform: Platform of the image.
    """
    found = {}
    for address in bases_of(recipe):
        digest = printed.get(_full(address), "") or address.partition("@")[2]
        if not digest:
            held = await engine.image(address)
            digest = _digest_of(held, address) if held is not None and held.platform == platform else ""
        found[address] = digest
    return found


async def refresh_bases(
    engine: BuilderEngine, recipe: Recipe, platform: str, secret: RegistrySecret | None, say: Emit
) -> None:
    """Has the engine take the bases that its registry has newer ones of; others the builder looks up by itself.

    A base that was made at the engine stays, and so does one whose registry does not answer.

    Raises:
        HangarError: The engine does not answer, or a newer one cannot be pulled.
    """
    for address in bases_of(recipe):
        held = await engine.image(address)
        if held is None or held.platform != platform or not _from_registry(held, address):
            continue
        newest = await _in_registry(engine, address, secret)
        if not newest:
            say(
                Output(
                    f"the registry of base image {address} does not say what it has: the engine's own is used"
                )
            )
        elif newest != _digest_of(held, address):
            say(Output(f"base image {address} has moved in its registry: the newest one is pulled"))
            await engine.pull(address, platform, secret)


async def current_digest(engine: BuilderEngine, address: str, digest: str) -> str:
    """Returns which image is behind the address of a base now, empty when that is not known.

    Args:
        engine: The engine that builds.
        address: The base.
        digest: What was behind it.
    """
    if "@" in address:
        return digest
    try:
        held = await engine.image(address)
        if held is not None and not _from_registry(held, address):
            return held.identity
        return await _in_registry(engine, address, None)
    except HangarError:
        return ""


async def _in_registry(engine: BuilderEngine, address: str, secret: RegistrySecret | None) -> str:
    try:
        async with asyncio.timeout(_REGISTRY_SECONDS):
            return await engine.registry_digest(address, secret)
    except TimeoutError:
        return ""


def _from_registry(held: StoredImage, address: str) -> bool:
    return _digest_of(held, address) != held.identity


def _digest_of(held: StoredImage, address: str) -> str:
    """Digest that the registry of an address gave an image, else the engine's identity of it."""
    repository = _repository(address)
    digests = (each.partition("@") for each in held.repo_digests)
    return next((digest for name, _, digest in digests if _repository(name) == repository), held.identity)


def _repository(address: str) -> str:
    return _without_tag(_full(address))


def _without_tag(address: str) -> str:
    path, slash, name = address.partition("@")[0].rpartition("/")
    return f"{path}{slash}{name.partition(':')[0]}"


def _full(address: str) -> str:
    """An address with all that may be left out of it, as the builder prints it."""
    name, at, digest = address.partition("@")
    first, slash, rest = name.partition("/")
    if not slash or not re.search(r"[.:]|^localhost$", first):
        name = f"docker.io/{name if slash else f'library/{name}'}"
    elif first == "docker.io" and "/" not in rest:
        name = f"docker.io/library/{rest}"
    if ":" not in name.rpartition("/")[2]:
        name += ":latest"
    return f"{name}{at}{digest}"

"""Images on their way to what builds them: local files sent, builds asked for and followed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyte import errors
from flyte._client._client import Client
from flyte._client._local_builder import keep_archives
from flyte._client._local_images import built_definition, check_backend
from flyte._client._loop import LOOP
from flyte._client._transfer import upload
from flyte._image import Image
from flyte._image_definition import Resolved
from flyte._image_layers import Setting
from hangar.admin.v1 import data_service_pb2
from hangar.image.v1 import image_build_pb2, image_service_pb2

if TYPE_CHECKING:
    from flyte._environment import TaskEnvironment
    from flyte._initialize import Session
    from flyte.remote import ImageBuild

_log = logging.getLogger("flyte")

IMAGES_FILE = ".flyte/images.json"
"""File of code bundles that has the definitions of environments, for workers that call their tasks."""
_NO_BUILDER = frozenset({"ImageLayerNotAvailableError", "BuildkitMissingError"})
"""Reasons for which a run goes ahead: a host may make the image by itself, or else says why not."""
_LOST = frozenset({"BuildStopped", "STOPPING", "IMAGE_BUILD_NOT_FOUND"})
_NEEDS_SECRETS = "SecretMissing"
_ATTEMPTS = 3
_ENDED = frozenset(
    {
        image_build_pb2.IMAGE_BUILD_STATE_SUCCEEDED,
        image_build_pb2.IMAGE_BUILD_STATE_FAILED,
        image_build_pb2.IMAGE_BUILD_STATE_CANCELLED,
    }
)

Watcher = Callable[[image_build_pb2.ImageBuild, "list[str]"], None]
"""Takes a build as it is now, and new lines of its log."""


def setting_of(session: Session, root: Path | None, *, bakes_code: bool = False) -> Setting:
    """What the definitions of images depend on here.

    Args:
        session: The session, whose configuration names images.
        root: Directory that holds the code.
        bakes_code: True when the code is not sent along, but is in the images.
    """
    return Setting(
        session.images, root, bakes_code, session.config.image.registry if session.builds_locally else None
    )


def image_of(environment: TaskEnvironment, session: Session) -> Image:
    """The image of an environment; the configuration may name the default one."""
    if environment.has_default_image and "default" in session.images:
        return Image.from_ref_name("default")
    return environment.image


def resolve_images(
    environments: Iterable[TaskEnvironment], session: Session, setting: Setting
) -> dict[str, Resolved]:
    """The definitions of environments, by their names.

    Raises:
        ValueError: A local file cannot be read, or a name is not in the configuration.
    """
    return {each.name: image_of(each, session).resolve(setting) for each in environments}


def images_file(resolved: Mapping[str, Resolved]) -> dict[str, bytes]:
    """The file of a code bundle that has the definitions."""
    content = {name: each.definition_json for name, each in resolved.items()}
    return {IMAGES_FILE: json.dumps(content, sort_keys=True, ensure_ascii=False).encode()}


def given_secrets(images: Iterable[Image]) -> dict[str, bytes]:
    """Values of secrets that layers ask for, as far as this process has them in its environment."""
    mounts = {mount for image in images for mount in image.secrets}
    return {mount.key: os.environ[mount.source].encode() for mount in mounts if os.environ.get(mount.source)}


async def upload_archives(client: Client, project: str, domain: str, resolved: Iterable[Resolved]) -> None:
    """Uploads the local files of images, unless the backend has them already.

    Raises:
        ValueError: A file has changed since the definition was made.
        flyte.errors.RuntimeSystemError: They cannot be stored.
    """
    archives = {archive.identity[0]: archive for each in resolved for archive in each.archives}
    for sha256, archive in archives.items():
        kind = data_service_pb2.UPLOAD_KIND_BUILD_CONTEXT
        wanted = data_service_pb2.UploadRequest(kind=kind, sha256=sha256, size=archive.identity[1])
        request = data_service_pb2.CreateUploadsRequest(project=project, domain=domain, uploads=[wanted])
        [place] = (await client.call(client.data.CreateUploads, request)).uploads
        if place.exists:
            continue
        with tempfile.NamedTemporaryFile(prefix="flyte-image-", suffix=".tar") as file:
            await asyncio.to_thread(archive.write, file)
            file.flush()
            key = await upload(client, project, domain, kind, Path(file.name))
        if sha256 not in key:
            raise ValueError("image: local files of the image changed while they were read: try again")


async def ask(
    client: Client,
    resolved: Resolved,
    secrets: Mapping[str, bytes],
    *,
    platform: str = "",
    force: bool = False,
    dry_run: bool = False,
    retried: bool = False,
) -> image_build_pb2.ImageBuild:
    """Asks for an image, and does not wait for it.

    Args:
        client: The backend.
        resolved: The definition.
        secrets: Secrets that it may need, by key.
        platform: Platform of the image; empty for the one that the backend chooses.
        force: True to build what exists.
        dry_run: True to find out only what it is called and whether it exists.
        retried: True to ask until somebody answers: it was there a moment ago.

    Raises:
        flyte.errors.BaseRuntimeError: The definition is refused, or nothing builds images.
    """
    request = image_service_pb2.BuildImageRequest(
        definition_json=resolved.definition_json,
        platform=platform,
        secrets=dict(secrets),
        force=force,
        dry_run=dry_run,
    )
    return (await client.call(client.images.BuildImage, request, retried=retried)).build


async def follow(
    client: Client,
    build: image_build_pb2.ImageBuild,
    watcher: Watcher,
    again: Callable[[], Awaitable[image_build_pb2.ImageBuild]],
    secrets: Iterable[str] = (),
) -> image_build_pb2.ImageBuild:
    """Follows a build to its end; one that was lost with its builder is asked for again.

    So is one whose secrets were lost: the builder keeps them in memory only.

    Args:
        client: The backend.
        build: The build.
        watcher: Is told what happens.
        again: Asks for the image once more, with the secrets.
        secrets: Keys of the secrets.
    """
    given = frozenset(secrets)
    lost = _LOST | {_NEEDS_SECRETS} if given else _LOST  # somebody without them may have asked for it as well
    for _ in range(_ATTEMPTS):
        watcher(build, [])
        if build.state not in _ENDED:
            build = await _watch(client, build, watcher, again, given)
        if build.failure.code not in lost:
            break
        build = await again()
    return build


async def _watch(
    client: Client,
    build: image_build_pb2.ImageBuild,
    watcher: Watcher,
    again: Callable[[], Awaitable[image_build_pb2.ImageBuild]],
    given: frozenset[str],
) -> image_build_pb2.ImageBuild:
    name, waited = build.name, False

    def request(last: Any) -> image_service_pb2.WatchImageBuildRequest:
        return image_service_pb2.WatchImageBuildRequest(
            name=name, from_line=last.next_line if last is not None else 0
        )

    async with aclosing(client.stream(client.images.WatchImageBuild, request)) as updates:
        async for update in updates:
            build = update.build
            waits = bool(build.missing_secrets) and given.issuperset(build.missing_secrets)
            if waits and not waited:
                await again()
            waited = waits
            watcher(build, [line.text for line in update.lines])
            if build.state in _ENDED and update.next_line == build.log_lines:
                break  # the builder has begun to look into the image, and would be slow to end the call
    return build


@dataclass(frozen=True)
class Wanted:
    """How images are built.

    Attributes:
        force: True to build what exists, every layer anew.
        dry_run: True to find out only what they are called and whether they exist.
        wait: True to wait for them.
        is_run: True to leave out what hosts make by themselves, and platforms beside the one that the backend chooses:
            hosts ask for theirs.
        platforms: Platforms to build for, in place of those that images name.
        watcher: Is told what happens, with the environments that an image is for.
    """

    force: bool = False
    dry_run: bool = False
    wait: bool = True
    is_run: bool = False
    platforms: tuple[str, ...] = ()
    watcher: Callable[[str, image_build_pb2.ImageBuild, list[str]], None] = lambda names, build, lines: None


async def build_all(
    session: Session, images: Mapping[str, Image], setting: Setting, wanted: Wanted
) -> dict[str, list[ImageBuild]]:
    """Builds images, each once for each of its platforms.

    Args:
        session: The session.
        images: The images by the name of their environment.
        setting: What their definitions depend on.
        wanted: How they are built.

    Returns:
        The builds by environment, one for each platform.

    Raises:
        ValueError: A definition cannot be made.
        flyte.errors.ImageBuildError: A build failed.
        flyte.errors.BaseRuntimeError: The backend refuses one, or does not answer.
    """
    resolved = {name: await asyncio.to_thread(each.resolve, setting) for name, each in images.items()}
    return await build_resolved(session, resolved, given_secrets(images.values()), wanted)


async def build_resolved(
    session: Session, resolved: Mapping[str, Resolved], secrets: Mapping[str, bytes], wanted: Wanted
) -> dict[str, list[ImageBuild]]:
    """Builds what definitions describe, each once for each of its platforms.

    Args:
        session: The session.
        resolved: The definitions by the name of their environment.
        secrets: Secrets that layers ask for, by key.
        wanted: How they are built.

    Returns:
        The builds by environment, one for each platform.

    Raises:
        flyte.errors.BaseRuntimeError: As `build_all`.
    """
    is_local = session.builds_locally
    if is_local and wanted.is_run:
        await check_backend(session, resolved)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(session.image_client())
        if is_local and not wanted.dry_run:
            await asyncio.to_thread(
                keep_archives, (each for one in resolved.values() for each in one.archives)
            )
        elif not wanted.dry_run:
            await upload_archives(client, session.project, session.domain, resolved.values())
        builds = await _build_each(session, client, resolved, secrets, wanted)
        if is_local and not wanted.wait:
            LOOP.on_close(stack.pop_all().aclose)  # it builds as long as somebody uses it
        return builds


async def _build_each(
    session: Session,
    client: Client,
    resolved: Mapping[str, Resolved],
    secrets: Mapping[str, bytes],
    wanted: Wanted,
) -> dict[str, list[ImageBuild]]:
    from flyte.remote import ImageBuild

    names: dict[str, list[str]] = {}
    for name, each in resolved.items():
        names.setdefault(each.digest, []).append(name)

    async def one(digest: str, platform: str, shown: str) -> ImageBuild | None:
        get = partial(ask, client, resolved[names[digest][0]], secrets, platform=platform, force=wanted.force)

        async def again() -> image_build_pb2.ImageBuild:
            return await get(retried=True)

        try:
            pb = await get(dry_run=wanted.dry_run)
        except errors.BaseRuntimeError as error:
            if wanted.is_run and not session.builds_locally and is_left_to_hosts(error):
                return None
            raise
        client.asked_images.add(digest)
        if wanted.wait and not wanted.dry_run:
            pb = await follow(client, pb, partial(wanted.watcher, shown), again, secrets)
        built = ImageBuild(session, pb)
        if built.error is not None:
            raise built.error
        if session.builds_locally and not platform and built.state == "succeeded":
            session.built[digest] = await built_definition(client, resolved[names[digest][0]], pb)
        return built

    asked: list[tuple[str, str, str]] = []
    for digest, users in names.items():
        platforms = await _platforms(client, resolved[users[0]], secrets, wanted)
        for platform in platforms:
            shown = ", ".join(users) + (f" ({platform})" if len(platforms) > 1 else "")
            asked.append((digest, platform, shown))
    builds: dict[str, list[ImageBuild]] = {}
    for (digest, *_), build in zip(asked, await asyncio.gather(*(one(*each) for each in asked)), strict=True):
        builds.setdefault(digest, []).extend([build] if build is not None else [])
    found = {name: builds[each.digest] for name, each in resolved.items()}
    return {name: made for name, made in found.items() if made}


async def _platforms(
    client: Client, resolved: Resolved, secrets: Mapping[str, bytes], wanted: Wanted
) -> tuple[str, ...]:
    """The platforms to ask for; an empty one is left to the backend. One that cannot be had is refused here already."""
    platforms = wanted.platforms or (() if wanted.is_run else resolved.platforms)
    if len(platforms) < 2:
        return wanted.platforms or ("",)
    first = await ask(client, resolved, secrets, dry_run=True)
    if first.environment and not wanted.platforms:
        return ("",)  # a Python environment of the backend's host, which has one platform
    for platform in platforms:
        await ask(client, resolved, secrets, platform=platform, dry_run=True)
    return platforms


async def images_of_run(
    session: Session, resolved: Mapping[str, Resolved], environments: Iterable[TaskEnvironment]
) -> dict[str, Resolved]:
    """The definitions that a run gets: those of images that are built on this machine name what was built.

    Args:
        session: The session.
        resolved: The definitions as they are written, by the name of their environment.
        environments: The environments.

    Raises:
        flyte.errors.BaseRuntimeError: As `build_all`.
    """
    if not session.builds_locally:
        return dict(resolved)
    missing = {name: each for name, each in resolved.items() if each.digest not in session.built}
    if missing:
        secrets = given_secrets(each.image for each in environments)
        wanted = Wanted(is_run=True, watcher=session.build_watcher)
        await build_resolved(session, missing, secrets, wanted)
    return {name: session.built[each.digest] for name, each in resolved.items()}


async def prepare_images(
    client: Client,
    project: str,
    domain: str,
    resolved: Mapping[str, Resolved],
    environments: Iterable[TaskEnvironment],
) -> None:
    """Uploads the local files of a run's images, and begins to build them, so that they are there sooner.

    Builds that cannot begin are no error: hosts make what they need. In one process each image is asked for once.

    Raises:
        flyte.errors.RuntimeUserError: A definition is wrong.
    """
    await upload_archives(client, project, domain, resolved.values())
    secrets = given_secrets(environment.image for environment in environments)
    wanted = {each.digest: each for each in resolved.values() if not each.is_built}
    wanted = {digest: each for digest, each in wanted.items() if digest not in client.asked_images}
    await asyncio.gather(*(_begin(client, each, secrets) for each in wanted.values()))
    client.asked_images.update(wanted)


async def _begin(client: Client, resolved: Resolved, secrets: Mapping[str, bytes]) -> None:
    try:
        build = await ask(client, resolved, secrets)
        if secrets and build.state not in _ENDED:
            client.keep(_stay(client, build, resolved, secrets))
    except errors.RuntimeUserError as error:
        if not is_left_to_hosts(error):
            raise
        _log.debug("the image is left to the host that runs the task: %s", error)
    except errors.RuntimeSystemError as error:
        _log.debug("the image is left to the host that runs the task: %s", error)


async def _stay(
    client: Client, build: image_build_pb2.ImageBuild, resolved: Resolved, secrets: Mapping[str, bytes]
) -> None:
    """Follows a build whose secrets this process only has: they are given again when the builder was restarted."""
    try:
        await follow(
            client,
            build,
            lambda build, lines: None,
            lambda: ask(client, resolved, secrets, retried=True),
            secrets,
        )
    except errors.BaseRuntimeError as error:  # the run says it
        _log.debug("the build of an image is not followed any more: %s", error)


def is_left_to_hosts(error: errors.BaseRuntimeError) -> bool:
    """True when hosts may make an image by themselves although nothing else does."""
    return isinstance(error, errors.RuntimeSystemError) or error.code in _NO_BUILDER

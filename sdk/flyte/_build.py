"""Builds images before anything runs in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flyte._client._twins import twin
from flyte._image import Image
from flyte._initialize import require_session

if TYPE_CHECKING:
    from flyte._environment import TaskEnvironment
    from flyte.remote import ImageBuild


@twin
async def build(image: Image, dry_run: bool = False, force: bool = False, wait: bool = True) -> ImageBuild:
    """Builds an image on the backend, unless it exists.

    Where the backend runs tasks as processes the image is a Python environment of its host. One that names several
    platforms is built for each: the answer is the first of them, with the others in `other_platforms`.

    Args:
        image: The image.
        dry_run: True to say only what it is called and whether it exists (`cached`).
        force: True to build it although it exists, every layer anew.
        wait: False to return as soon as it is asked for.

    Raises:
        TypeError: It is no `flyte.Image`.
        ValueError: The definition cannot be made: a local file is missing, a name is not in the configuration.
        flyte.errors.ImageBuildError: The build failed. The message has the layer and what the tool said.
        flyte.errors.BaseRuntimeError: The backend refuses it, or does not answer.

    Example:
        ```python
        built = flyte.build(flyte.Image.from_debian_base().with_pip_packages("pandas"))
        print(built.uri)
        ```
    """
    if not isinstance(image, Image):
        raise TypeError(f"flyte.build takes a flyte.Image, not {image!r}")
    [built] = (await _build({"image": image}, None, dry_run=dry_run, force=force, wait=wait)).values()
    return built


@twin
async def build_images(*environments: TaskEnvironment) -> dict[str, ImageBuild]:
    """Builds the images of environments, and of those that they depend on, unless they exist.

    Args:
        *environments: The environments.

    Returns:
        What was built, by the name of the environment.

    Raises:
        flyte.errors.BaseRuntimeError: As `build`.

    Example:
        ```python
        flyte.build_images(env)
        ```
    """
    from flyte._bundle._environments import root_of_environment
    from flyte._client._images import image_of
    from flyte._environment import walk

    session = require_session()
    found = walk(environments)
    root = session.root_dir or (root_of_environment(found[0]) if found else None)
    return await _build({each.name: image_of(each, session) for each in found}, root)


async def _build(
    images: dict[str, Image],
    root: Path | None,
    *,
    dry_run: bool = False,
    force: bool = False,
    wait: bool = True,
) -> dict[str, ImageBuild]:
    from flyte._client._images import Wanted, build_all, setting_of

    session = require_session()
    setting = setting_of(session, session.root_dir or root, bakes_code=True)
    wanted = Wanted(force=force, dry_run=dry_run, wait=wait)
    built = await build_all(session, images, setting, wanted)
    for first, *others in built.values():
        first.other_platforms = tuple(others)
    return {name: first for name, (first, *_) in built.items()}

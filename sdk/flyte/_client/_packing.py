"""What the backend has to know of tasks before they can run: their code, packed, and their definitions."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from flyte import _code, errors
from flyte._bundle._bundle import Bundle, make_bundle
from flyte._bundle._environments import included_paths, root_of
from flyte._bundle._modules import loaded_files, main_module, python_path
from flyte._bundle._pickled import PICKLE_FILE, interactive_modules, pickled_code
from flyte._bundle._select import CopyStyle
from flyte._client._images import images_file, images_of_run, resolve_images, setting_of
from flyte._environment import TaskEnvironment, walk
from flyte._image_definition import Resolved

if TYPE_CHECKING:
    from flyte._initialize import Session
    from flyte._task import TaskTemplate


@dataclass(frozen=True)
class Packed:
    """Tasks, ready to be sent.

    Attributes:
        bundle: Their code.
        version: Version of the code.
        specs: Their `TaskSpec`s as proto-JSON, by name.
        environments: Their environments, and all that these depend on.
        images: The definitions of their images, by environment.
    """

    bundle: Bundle
    version: str
    specs: dict[str, dict[str, Any]]
    environments: Sequence[TaskEnvironment]
    images: dict[str, Resolved]


@dataclass(frozen=True)
class _Code:
    """Where the code of tasks is, and what it runs in.

    Attributes:
        environments: Their environments, and all that these depend on.
        pickled: The modules that are pickled.
        root: Directory that holds the code.
        python_path: Entries of ``sys.path`` that are below the root.
        images: The definitions of their images, by environment.
    """

    environments: Sequence[TaskEnvironment]
    pickled: frozenset[str]
    root: Path
    python_path: tuple[str, ...]
    images: dict[str, Resolved]


async def pack(
    tasks: Sequence[TaskTemplate[..., Any]],
    session: Session,
    *,
    copy_style: CopyStyle,
    version: str | None,
    interactive: bool | None,
    dry_run: bool = False,
) -> Packed:
    """Packs tasks, which have one version.

    Args:
        tasks: The tasks, at least one.
        session: Says where the code is.
        copy_style: Which code is packed.
        version: Version of the code; derived from bundle and definitions unless given.
        interactive: True to pickle the code, False to import it, None to pickle what cannot be imported.
        dry_run: True to build nothing: images that are built on this machine stay definitions.

    Raises:
        flyte.errors.CodeBundleError: When the code cannot be packed.
        flyte.errors.BaseRuntimeError: When images are built on this machine, and one cannot be.
        ValueError: When two environments have the same name, or one has what pickled code cannot have.
    """
    code = await asyncio.to_thread(_survey, tasks, session, copy_style=copy_style, interactive=interactive)
    if not dry_run:
        code = replace(code, images=await images_of_run(session, code.images, code.environments))
    return await asyncio.to_thread(_pack, tasks, code, copy_style=copy_style, version=version)


def _survey(
    tasks: Sequence[TaskTemplate[..., Any]],
    session: Session,
    *,
    copy_style: CopyStyle,
    interactive: bool | None,
) -> _Code:
    environments = walk([task.environment for task in tasks])
    pickled = interactive_modules(tasks, interactive)
    root = session.root_dir or (Path.cwd() if pickled else _root_of(tasks))
    directories = python_path(root, mirrored=session.sync_local_sys_paths)
    images = resolve_images(environments, session, setting_of(session, root, bakes_code=copy_style == "none"))
    return _Code(environments, pickled, root, directories, images)


def _pack(
    tasks: Sequence[TaskTemplate[..., Any]], code: _Code, *, copy_style: CopyStyle, version: str | None
) -> Packed:
    pickled, root, directories, images = code.pickled, code.root, code.python_path, code.images
    made = images_file(images)
    style = copy_style
    if pickled:
        made[PICKLE_FILE] = pickled_code(code.environments, pickled)
        if style == "loaded_modules" and not any(True for _ in loaded_files(root)):
            style = "none"  # a notebook may be anywhere, such as in the home directory
    bundle = make_bundle(root, style, () if pickled else _included(tasks), made)
    identity = _code.CodeIdentity(
        bundle_digest=bundle.digest,
        python_path=directories,
        version=version or "",
        main_module=main_module(root, directories),
        images={name: image.definition_json for name, image in images.items()},
        pickle=PICKLE_FILE if pickled else "",
        pickled_modules=pickled,
    )
    with _code.using(identity):
        specs = {task.name: task.to_spec() for task in tasks}
    version = version or _version(specs)
    for task in tasks:
        spec = specs[task.name]
        spec["code"]["version"] = version
        if copy_style == "none" and not spec["code"]["pickle"]:
            spec["code"]["python_path"] = _baked(task, directories)
        elif not spec["code"]["pickle"]:
            _check_bundled(spec, root, bundle)
    return Packed(bundle, version, specs, code.environments, images)


def _baked(task: TaskTemplate[..., Any], directories: tuple[str, ...]) -> list[str]:
    """Where the code is in the image of a task: below the destination of its code bundle."""
    return [str(PurePosixPath(task.image.code_directory, directory)) for directory in directories]


def _root_of(tasks: Sequence[TaskTemplate[..., Any]]) -> Path:
    """The root that all tasks are imported from: of one of them, which the others are below."""
    roots = {root_of(task): task for task in tasks}
    outermost = min(roots, key=lambda root: len(root.parts))
    for root, task in roots.items():
        if not root.is_relative_to(outermost):
            raise errors.CodeBundleError(
                f"The code of task {task.name} is in {root}, and that of {roots[outermost].name} in {outermost}. Name "
                "the directory that holds all of the code with --root-dir (flyte.init(root_dir=…))."
            )
    return outermost


def _included(tasks: Sequence[TaskTemplate[..., Any]]) -> list[Path]:
    by_environment = {task.environment.name: task for task in tasks}
    return [path for task in by_environment.values() for path in included_paths(task)]


def _check_bundled(spec: dict[str, Any], root: Path, bundle: Bundle) -> None:
    """Refuses a task whose module a worker could not import, before anything is created."""
    module = spec["code"]["module"]
    path = module.replace(".", "/")
    endings = (f"{path}.py", f"{path}/__init__.py")
    if not any(name == ending or name.endswith(f"/{ending}") for name in bundle.names for ending in endings):
        raise errors.CodeBundleError(
            f"Module {module} of task {spec['name']} is not in the code bundle, whose root directory "
            f"is {root}. Name the directory that holds all of the code with --root-dir "
            "(flyte.init(root_dir=…))."
        )


def _version(specs: dict[str, dict[str, Any]]) -> str:
    """A version that is the same as long as code, images and settings are."""
    identity = json.dumps([specs[name] for name in sorted(specs)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(identity.encode()).hexdigest()[:16]

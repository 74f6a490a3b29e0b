"""What a Python environment can be made of: image definitions, as far as they need no container."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from services.common.errors import InvalidArgument
from services.common.image_definition import BUILT, KINDS, parse_definition
from services.common.image_layers import (
    CopyLayer,
    DebianBase,
    EnvLayer,
    InstallLayer,
    ProjectLayer,
    secrets_of,
)
from services.common.local_places import places_of_arguments
from services.executor.engines.base import ImageFailedError

_KINDS = KINDS - {"image", "dockerfile", "apt", "commands", "workdir", BUILT}


@dataclass(frozen=True, slots=True)
class EnvironmentPlan:
    """What to make of a definition.

    Attributes:
        python: Version, such as "3.12".
        layers: What to install and to copy, in the order of the layers.
        numbers: Indexes of these layers in the definition.
        env_vars: Environment variables of processes that run in it.
        title: What its author calls it.
    """

    python: str
    layers: tuple[InstallLayer | ProjectLayer | CopyLayer, ...] = ()
    numbers: tuple[int, ...] = ()
    env_vars: dict[str, str] = field(default_factory=dict)
    title: str = ""

    @property
    def copies(self) -> bool:
        """True when it has files of the author."""
        return any(isinstance(layer, CopyLayer) for layer in self.layers)


def plan(definition_json: str, platform: str, newest: str = "") -> EnvironmentPlan:
    """Reads a definition. An empty one stands for the default image: this Python version and nothing else.

    Args:
        definition_json: The definition.
        platform: Platform of this host.
        newest: Date of this host after which no package counts that the author gives no date for; empty for none.

    Raises:
        ImageFailedError: It is not a definition, or needs what only an engine with containers can give.
    """
    try:
        definition = parse_definition(definition_json, _KINDS, _needs_docker).dated(newest)
    except InvalidArgument as error:
        raise ImageFailedError(
            "InvalidImageDefinition", f"the image definition cannot be read: {error.message}"
        ) from error
    assert isinstance(definition.base, DebianBase)
    if definition.platforms and platform not in definition.platforms:
        raise ImageFailedError(
            "UnsupportedPlatform",
            f"the image is for {', '.join(definition.platforms)}, and this host is {platform}: the process engine runs "
            "tasks in Python environments of its own host. Add that to the image (platform=), leave platform out, or "
            "join a host of that platform",
        )
    if not definition.has_sdk:
        raise _needs("an image without the SDK (install_flyte=False, or of a container task)")
    if definition.registry or definition.registry_secret:
        raise _needs(f"registry={definition.registry!r}" if definition.registry else "registry_secret=")
    layers: dict[int, InstallLayer | ProjectLayer | CopyLayer] = {}
    env_vars: dict[str, str] = {}
    for number, layer in enumerate(definition.layers):
        if isinstance(layer, EnvLayer):
            env_vars.update(layer.variables)
        elif isinstance(layer, CopyLayer) and not _is_inside(layer.destination):
            raise _needs(f"layers[{number}], which copies {layer.what} to {layer.destination!r},")
        elif isinstance(layer, InstallLayer | ProjectLayer | CopyLayer):
            layers[number] = layer
            _check_arguments(number, layer)
    for secret in secrets_of(definition.layers):
        if not secret.variable:
            raise _needs(f"the secret {secret.key!r} as a file")
    return EnvironmentPlan(
        definition.base.python, tuple(layers.values()), tuple(layers), env_vars, definition.title
    )


def _check_arguments(number: int, layer: InstallLayer | ProjectLayer | CopyLayer) -> None:
    """Refuses files of this host: no definition has them, so equal ones would be made of different files."""
    if isinstance(layer, CopyLayer):
        return
    arguments = layer.tool_args if isinstance(layer, ProjectLayer) else layer.extra_args
    for place in places_of_arguments(arguments):
        message = (
            f"layers[{number}].extra_args names {place!r}, a file of the host: it is no part of the image. Write what "
            "it says into the layer (with_requirements takes a file of yours along)"
        )
        raise ImageFailedError("InvalidImageDefinition", message)


def _is_inside(destination: str) -> bool:
    return not PurePosixPath(destination).is_absolute() and ".." not in PurePosixPath(destination).parts


def _needs_docker(where: str, kind: str) -> ImageFailedError:
    if kind == BUILT:
        return ImageFailedError(
            "UnsupportedLayer",
            "the image was built by its author (image.builder: local), and this host runs tasks as processes: that "
            "needs Docker. Choose image.builder: remote, or run this on a host with the Docker engine",
        )
    return _needs(f"image base {kind!r}" if where == "base" else f"layer {kind!r}")


def _needs(what: str) -> ImageFailedError:
    return ImageFailedError(
        "UnsupportedLayer",
        f"{what} needs the Docker engine; the process engine runs tasks in Python environments and gives Python "
        "packages (with_pip_packages, with_requirements, with_uv_project, with_poetry_project), files below the "
        "working directory (with_source_file, with_source_folder, with_code_bundle) and environment variables "
        "(with_env_vars). Leave it out, or run this on a host with the Docker engine",
    )

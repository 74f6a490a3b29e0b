"""What a Python environment can be made of: image definitions, as far as they need no container."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.common.errors import InvalidArgument
from services.common.image_definition import DebianBase, EnvLayer, InstallLayer, parse_definition
from services.executor.engines.base import ImageFailedError

_KINDS = frozenset({"debian", "pip", "requirements", "env"})


@dataclass(frozen=True, slots=True)
class Install:
    """One run of the package installer.

    Attributes:
        requirements: What to install, in the form of a requirements file.
        arguments: Further arguments of the installer: indexes, pre-releases, the author's own.
    """

    requirements: tuple[str, ...]
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EnvironmentPlan:
    """What to make of a definition.

    Attributes:
        python: Version, such as "3.12".
        installs: Runs of the installer, in the order of the layers.
        env_vars: Environment variables of processes that run in it.
    """

    python: str
    installs: tuple[Install, ...] = ()
    env_vars: dict[str, str] = field(default_factory=dict)


def plan(definition_json: str) -> EnvironmentPlan:
    """Reads a definition. An empty one stands for the default image: this Python version and nothing else.

    Raises:
        ImageFailedError: It is not a definition, or needs what only an engine with containers can give.
    """
    try:
        definition = parse_definition(definition_json, _KINDS, _needs_docker)
    except InvalidArgument as error:
        raise ImageFailedError(
            "InvalidImageDefinition", f"the image definition cannot be read: {error.message}"
        ) from error
    assert isinstance(definition.base, DebianBase)
    installs: list[Install] = []
    env_vars: dict[str, str] = {}
    for layer in definition.layers:
        if isinstance(layer, EnvLayer):
            env_vars.update(layer.variables)
        elif isinstance(layer, InstallLayer):
            installs.append(Install(layer.requirements, layer.arguments))
    return EnvironmentPlan(definition.base.python, tuple(installs), env_vars)


def _needs_docker(where: str, kind: str) -> ImageFailedError:
    what = f"image base {kind!r}" if where == "base" else f"layer {kind!r}"
    return ImageFailedError(
        "UnsupportedLayer",
        f"{what} needs the Docker engine; the process engine runs tasks in Python environments and gives "
        "Python packages (with_pip_packages, with_requirements) and environment variables (with_env_vars). "
        "Leave it out, or run this on a host with the Docker engine",
    )

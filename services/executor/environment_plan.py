"""Image definitions, as far as a Python environment can be made of them."""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import dataclass, field
from typing import Any

from services.executor.engines.base import ImageFailedError

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_VERSION = re.compile(r"3\.\d{1,2}(\.\d+)?")
_OWN_PACKAGES = frozenset({"flyte", "hangar-sdk"})
"""Requirements of these names stand for the SDK that every environment gets from its host."""


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
        definition = json.loads(definition_json or "{}")
        base, layers = definition.get("base") or {}, definition.get("layers") or []
        kind = str(base.get("kind") or "debian")
        if kind != "debian":
            raise _needs_docker(f"image base {kind!r}")
        installs: list[Install] = []
        env_vars: dict[str, str] = {}
        for layer in layers:
            layer_kind = str(layer["kind"])
            if layer_kind == "env":
                env_vars.update({str(name): str(value) for name, value in layer["vars"].items()})
            elif layer_kind == "pip":
                installs.append(Install(_wanted(layer.get("packages") or []), _arguments(layer)))
            elif layer_kind == "requirements":
                installs.append(Install(_wanted(layer.get("lines") or []), _arguments(layer)))
            else:
                raise _needs_docker(f"layer {layer_kind!r}")
        return EnvironmentPlan(_python(base.get("python")), tuple(installs), env_vars)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImageFailedError(
            "InvalidImageDefinition",
            f"the image definition cannot be read ({error!r}): {definition_json[:500]}",
        ) from error


def _python(version: Any) -> str:
    if version in (None, ""):
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise ValueError(f"python {version!r} is not a version such as '3.12'")
    return version


def _wanted(lines: list[str]) -> tuple[str, ...]:
    """The requirements without those that name the SDK: the environment gets that of its host."""
    return tuple(line for line in lines if line.strip() and not _is_own(line))


def _is_own(line: str) -> bool:
    match = _NAME.match(line)
    return match is not None and re.sub(r"[-_.]+", "-", match[1]).lower() in _OWN_PACKAGES


def _arguments(layer: dict[str, Any]) -> tuple[str, ...]:
    arguments: list[str] = []
    if layer.get("index_url"):
        arguments += ["--default-index", str(layer["index_url"])]
    for url in layer.get("extra_index_urls") or []:
        arguments += ["--index", str(url)]
    if layer.get("pre"):
        arguments += ["--prerelease", "allow"]
    if layer.get("extra_args"):
        arguments += shlex.split(str(layer["extra_args"]))
    return tuple(arguments)


def _needs_docker(what: str) -> ImageFailedError:
    return ImageFailedError(
        "UnsupportedLayer",
        f"{what} needs the Docker engine; the process engine runs tasks in Python environments and gives "
        "Python packages (with_pip_packages, with_requirements) and environment variables (with_env_vars). "
        "Leave it out, or run this on a host with the Docker engine",
    )

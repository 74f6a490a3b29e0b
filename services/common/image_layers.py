"""Bases and layers of images, typed."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_REGISTRY = re.compile(r'(?m)^source = \{ registry = "([a-z]+://[^"]*)"')
"""A line of a lock file, which may have megabytes."""
_HEAVY = re.compile(
    r"torch|torchvision|torchaudio|tensorflow(-.*)?|jax|jaxlib|nvidia-.*|triton|vllm|sglang|pyspark|xgboost|mxnet|paddlepaddle"
)
"""Packages of hundreds of megabytes: a layer of their own, which does not change with the small ones beside them."""
OWN_PACKAGES = frozenset({"flyte", "hangar-sdk"})
"""Requirements of these names stand for the SDK that every image and environment gets from its platform."""


@dataclass(frozen=True, slots=True)
class DebianBase:
    """Debian with a Python version.

    Attributes:
        python: Version, such as "3.12" or "3.12.4".
    """

    python: str


@dataclass(frozen=True, slots=True)
class ImageBase:
    """An existing container image.

    Attributes:
        uri: Its address.
    """

    uri: str


@dataclass(frozen=True, slots=True)
class BuiltBase:
    """A container image that its author has built: it is used as it is.

    Attributes:
        uri: Its address with its digest, or its identity in the engine that holds it ("sha256:…").
        name: Its name as a build, which its labels repeat.
        sdk: Digest of the platform's SDK in it; empty for an image without.
    """

    uri: str
    name: str
    sdk: str = ""

    @property
    def is_in_registry(self) -> bool:
        """False when only the engine that built it has it."""
        return "@" in self.uri


@dataclass(frozen=True, slots=True)
class Archive:
    """Local files of the author: a tar archive in the blob store, named by its content.

    Attributes:
        sha256: Hex SHA-256 of the archive.
        size: Its size in bytes.
    """

    sha256: str
    size: int

    @property
    def key(self) -> str:
        """Its key in the blob store."""
        return f"contexts/{self.sha256}.tar"


@dataclass(frozen=True, slots=True)
class DockerfileBase:
    """What a Dockerfile of the author makes.

    Attributes:
        text: The Dockerfile.
        context: Files that it copies; None when it copies none.
    """

    text: str
    context: Archive | None = None


@dataclass(frozen=True, slots=True)
class BuildSecret:
    """A secret that a layer sees while it is made, and that is in no layer.

    Attributes:
        key: Its name where it is kept.
        variable: Environment variable that holds it; empty when it is a file.
    """

    key: str
    variable: str = ""

    @property
    def file(self) -> str:
        """Path that it has when it is a file."""
        return f"/etc/flyte/secrets/{self.key}"


@dataclass(frozen=True, slots=True)
class InstallLayer:
    """Python packages, of kind "pip" or "requirements".

    Attributes:
        requirements: What to install, in the form of a requirements file, without the platform's SDK.
        index_url: Package index in place of the default one; may be empty.
        extra_index_urls: Further package indexes.
        pre: True to allow pre-releases.
        extra_args: Further arguments of the installer, by the author.
        exclude_newer: Date after which nothing counts that was published; empty for none.
        secrets: Secrets that the installer sees.
        settings: Settings of `uv` by the author, as the `[tool.uv]` of a `pyproject.toml`; empty for none.
    """

    requirements: tuple[str, ...]
    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    pre: bool = False
    extra_args: tuple[str, ...] = ()
    exclude_newer: str = ""
    secrets: tuple[BuildSecret, ...] = ()
    settings: str = ""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Arguments of `uv pip install` beside the requirements."""
        arguments = ["--default-index", self.index_url] if self.index_url else []
        for url in self.extra_index_urls:
            arguments += ["--index", url]
        if self.pre:
            arguments += ["--prerelease", "allow"]
        if self.exclude_newer:
            arguments += ["--exclude-newer", self.exclude_newer]
        return (*arguments, *self.extra_args)

    @property
    def names(self) -> tuple[str, ...]:
        """Normalised names of the packages that are asked for; lines without a name are left out."""
        found = (requirement_name(line) for line in self.requirements)
        return tuple(name for name in found if name)

    @property
    def requires_hashes(self) -> bool:
        """True when the author has nothing installed but what he gives a hash for."""
        words = [*self.extra_args, *(line.split()[0] for line in self.requirements)]
        return "--require-hashes" in words

    @property
    def has_date(self) -> bool:
        """True when the author says how new packages may be."""
        return bool(self.exclude_newer) or any(each.startswith("--exclude-newer") for each in self.extra_args)

    @property
    def heavy(self) -> InstallLayer | None:
        """Its heavy packages by themselves, with all options; None when that is nothing less."""
        if self.requires_hashes:
            return None  # a part of them would lack hashes of what it requires
        options = {line for line in self.requirements if line.startswith("-")}
        heavy = {line for line in self.requirements if _HEAVY.fullmatch(requirement_name(line))}
        if not heavy or len(options) + len(heavy) == len(set(self.requirements)):
            return None
        part = tuple(line for line in self.requirements if line in heavy or line in options)
        return replace(self, requirements=part)

    @property
    def file(self) -> tuple[str, str]:
        """Name and text of the file that it is installed from.

        Settings of `uv` count for a `pyproject.toml` only: sources of packages for what it names.
        """
        if not self.settings:
            return "requirements.txt", "".join(f"{line}\n" for line in self.requirements)
        wanted = json.dumps(self.requirements, ensure_ascii=False)
        project = f'[project]\nname = "hangar-image"\nversion = "0"\ndependencies = {wanted}\n'
        return "pyproject.toml", f"{project}\n{self.settings}"


@dataclass(frozen=True, slots=True)
class ProjectLayer:
    """The locked packages of a project, of kind "uv_project" or "poetry_project".

    Attributes:
        tool: "uv" or "poetry".
        pyproject: Text of its `pyproject.toml`.
        lock: Text of its lock file.
        install: How packages are installed; its requirements come from the lock file.
        tool_args: Further arguments of the tool, by the author.
        local: What the lock file has local sources for: path dependencies and members of a workspace; None for none.
        source: The project's files, when the project itself is installed too.
    """

    tool: str
    pyproject: str
    lock: str
    install: InstallLayer
    tool_args: tuple[str, ...] = ()
    local: Archive | None = None
    source: Archive | None = None

    @property
    def lock_name(self) -> str:
        """Name of the lock file."""
        return f"{self.tool}.lock"

    @property
    def archives(self) -> dict[str, Archive]:
        """Its files by what they are for."""
        found = {"local": self.local, "project": self.source}
        return {name: archive for name, archive in found.items() if archive is not None}

    def sync(self, uv: str, python: str, *, project: bool = False) -> tuple[str, ...]:
        """Returns the command that installs what is locked, to be run in the directory of the project.

        It leaves what else is installed, and the platform's SDK, as they are. The environment is the one that
        `UV_PROJECT_ENVIRONMENT` names.

        Args:
            uv: Path of `uv`.
            python: Its interpreter.
            project: True to install the project, too.
        """
        options = ["--no-dev", "--no-editable", "--inexact"]
        for name in sorted(OWN_PACKAGES):
            options += ["--no-install-package", name]
        for address in _registries(self.lock, self.pyproject):  # else uv takes the lock file for an old one
            options += ["--index", address]
        checked = "--frozen" if _has_dynamic_dependencies(self.pyproject) else "--locked"
        only = [] if project else ["--no-install-project"]
        return (
            *(uv, "sync", "--python", python, checked, *only, *options),
            *self.install.arguments,
            *self.tool_args,
        )

    def export(self, uv: str, project: str, output: str, python: str) -> tuple[str, ...]:
        """Returns the command of Poetry that writes what is locked as a requirements file.

        Args:
            uv: Path of `uv`.
            project: Directory with `pyproject.toml` and the lock file.
            output: File to write.
            python: Interpreter to run the tool with.
        """
        tool = [uv, "tool", "run", "--quiet", "--python", python, "--from", "poetry>=2,<3"]
        command = [*tool, "--with", "poetry-plugin-export", "poetry", "export", "--no-interaction"]
        return (*command, "--directory", project, "--output", output, *self.tool_args)


@dataclass(frozen=True, slots=True)
class CopyLayer:
    """Files of the author, of kind "source_file", "source_folder" or "code_bundle".

    Attributes:
        archive: The files, with the paths that they get below the destination.
        destination: Directory, absolute or relative to the working directory.
        what: What is copied, for people.
    """

    archive: Archive
    destination: str
    what: str


@dataclass(frozen=True, slots=True)
class EnvLayer:
    """Environment variables.

    Attributes:
        variables: Names and values.
    """

    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AptLayer:
    """Debian packages.

    Attributes:
        packages: Their names.
        secrets: Secrets that the installer sees.
    """

    packages: tuple[str, ...]
    secrets: tuple[BuildSecret, ...] = ()


@dataclass(frozen=True, slots=True)
class CommandsLayer:
    """Shell commands.

    Attributes:
        commands: The commands.
        secrets: Secrets that they see.
    """

    commands: tuple[str, ...]
    secrets: tuple[BuildSecret, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkdirLayer:
    """The working directory.

    Attributes:
        path: Absolute path.
    """

    path: str


Base: TypeAlias = DebianBase | ImageBase | DockerfileBase | BuiltBase
Layer: TypeAlias = (
    InstallLayer | ProjectLayer | CopyLayer | EnvLayer | AptLayer | CommandsLayer | WorkdirLayer
)


def secrets_of(layers: tuple[Layer, ...]) -> tuple[BuildSecret, ...]:
    """Returns the secrets that layers see while they are made."""
    found: list[BuildSecret] = []
    for layer in layers:
        if isinstance(layer, ProjectLayer):
            found += layer.install.secrets
        elif isinstance(layer, InstallLayer | AptLayer | CommandsLayer):
            found += layer.secrets
    return tuple(dict.fromkeys(found))


def requirement_name(line: str) -> str:
    """Returns the normalised name of the package that a requirement asks for, empty when it has none."""
    match = _NAME.match(line)
    return re.sub(r"[-_.]+", "-", match[1]).lower() if match else ""


def _registries(lock: str, pyproject: str) -> list[str]:
    """Addresses of the indexes that a lock file of `uv` names and its project does not."""
    indexes = _tables(_table(_table(_toml(pyproject).get("tool")).get("uv")).get("index"))
    named = {str(index.get("url")).rstrip("/") for index in indexes}
    return sorted(url for url in set(_REGISTRY.findall(lock)) if url.rstrip("/") not in named)


def _has_dynamic_dependencies(pyproject: str) -> bool:
    """Says whether only the project's own build knows what it requires: `uv` would need all of its files to look."""
    dynamic = _table(_toml(pyproject).get("project")).get("dynamic")
    return isinstance(dynamic, list) and "dependencies" in dynamic


def _toml(text: str) -> dict[str, Any]:
    """Data of a file, none of one that cannot be read: the tool that reads it next says why."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _tables(value: object) -> list[dict[str, Any]]:
    return [_table(each) for each in value] if isinstance(value, list) else []

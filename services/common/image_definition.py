"""Image definitions as the SDK writes them: canonical JSON in, typed base and layers out.

Whoever makes something of a definition says which kinds of bases and layers it can give; another kind is refused by
its name. An empty text stands for the default image: this Python version and no layers.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from services.common.errors import InvalidArgument

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_VERSION = re.compile(r"3\.\d{1,2}(\.\d+)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
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
class InstallLayer:
    """Python packages, of kind "pip" or "requirements".

    Attributes:
        requirements: What to install, in the form of a requirements file, without the platform's SDK.
        index_url: Package index in place of the default one; may be empty.
        extra_index_urls: Further package indexes.
        pre: True to allow pre-releases.
        extra_args: Further arguments of the installer, by the author.
    """

    requirements: tuple[str, ...]
    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    pre: bool = False
    extra_args: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """Arguments of `uv pip install` beside the requirements."""
        arguments = ["--default-index", self.index_url] if self.index_url else []
        for url in self.extra_index_urls:
            arguments += ["--index", url]
        if self.pre:
            arguments += ["--prerelease", "allow"]
        return (*arguments, *self.extra_args)

    @property
    def names(self) -> tuple[str, ...]:
        """Normalised names of the packages that are asked for; lines without a name are left out."""
        found = (requirement_name(line) for line in self.requirements)
        return tuple(name for name in found if name)


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
    """

    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CommandsLayer:
    """Shell commands.

    Attributes:
        commands: The commands.
    """

    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkdirLayer:
    """The working directory.

    Attributes:
        path: Absolute path.
    """

    path: str


Base: TypeAlias = DebianBase | ImageBase
Layer: TypeAlias = InstallLayer | EnvLayer | AptLayer | CommandsLayer | WorkdirLayer


@dataclass(frozen=True, slots=True)
class Definition:
    """The software that tasks run in.

    Attributes:
        base: What it is based on.
        layers: What comes on top, in the author's order.
    """

    base: Base
    layers: tuple[Layer, ...] = ()


def parse_definition(
    text: str, kinds: Collection[str], refuse: Callable[[str, str], Exception]
) -> Definition:
    """Reads a definition.

    Args:
        text: The definition as JSON; empty for the default image.
        kinds: Kinds of bases and layers that the caller can give.
        refuse: Makes the error for another kind, of where it is ("layers[2]" or "base") and the kind.

    Raises:
        InvalidArgument: It is no definition (reason ``IMAGE_DEFINITION_INVALID``). The message and the metadata
            name the field.
        Exception: What `refuse` made.
    """
    try:
        definition = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        _invalid("", f"is no JSON ({error})", "send the definition that the SDK makes: Image.definition_json")
    if not isinstance(definition, dict):
        _invalid("", f"is {_shown(definition)}", "it has to be an object with base and layers")
    layers = definition.get("layers")
    layers = [] if layers is None else layers
    if not isinstance(layers, list):
        _invalid("layers", f"is {_shown(layers)}", "it has to be a list")
    base = _Fields("base", definition.get("base") or {"kind": "debian"})
    if base.kind not in kinds:
        raise refuse("base", base.kind)
    parsed_base = _BASES[base.kind](base)
    parsed: list[Layer] = []
    for number, each in enumerate(layers):
        fields = _Fields(f"layers[{number}]", each)
        if fields.kind not in kinds:
            raise refuse(fields.where, fields.kind)
        parsed.append(_LAYERS[fields.kind](fields))
    return Definition(parsed_base, tuple(parsed))


def definition_digest(text: str) -> str:
    """Returns the identity of a definition: hex BLAKE2b-128 of its text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def requirement_name(line: str) -> str:
    """Returns the normalised name of the package that a requirement asks for, empty when it has none."""
    match = _NAME.match(line)
    return re.sub(r"[-_.]+", "-", match[1]).lower() if match else ""


class _Fields:
    """The fields of one layer or base, read with checks that name them."""

    def __init__(self, where: str, fields: object) -> None:
        self.where = where
        if not isinstance(fields, dict) or not isinstance(fields.get("kind"), str):
            _invalid(where, f"is {_shown(fields)}", 'it has to be an object with a "kind"')
        self._fields: dict[str, Any] = fields
        self.kind: str = fields["kind"]

    def flag(self, name: str) -> bool:
        value = self._fields.get(name) or False
        if not isinstance(value, bool):
            _invalid(f"{self.where}.{name}", f"is {_shown(value)}", "it has to be true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        value = self._fields.get(name)
        if value in (None, "") and default is not None:
            return default
        if not isinstance(value, str) or not value.strip() or _has_controls(value):
            _invalid(f"{self.where}.{name}", f"is {_shown(value)}", "it has to be one line of text")
        return value

    def texts(self, name: str, *, required: bool = False, lines: bool = False) -> tuple[str, ...]:
        values = self._fields.get(name) or []
        if not isinstance(values, list):
            _invalid(f"{self.where}.{name}", f"is {_shown(values)}", "it has to be a list")
        if required and not values:
            _invalid(f"{self.where}.{name}", "is empty", "name at least one, or leave the layer out")
        for number, value in enumerate(values):
            if not isinstance(value, str) or "\0" in value or (_has_controls(value) and not lines):
                where = f"{self.where}.{name}[{number}]"
                _invalid(where, f"is {_shown(value)}", "it has to be one line of text")
        return tuple(values)

    def pairs(self, name: str) -> dict[str, str]:
        values = self._fields.get(name)
        if not isinstance(values, dict):
            _invalid(
                f"{self.where}.{name}", f"is {_shown(values)}", "it has to be an object of names and values"
            )
        for key, value in values.items():
            if not _VARIABLE.fullmatch(key):
                where = f"{self.where}.{name}"
                _invalid(where, f"has the name {_shown(key)}", "use letters, digits and _, no digit first")
            if not isinstance(value, str) or "\0" in value:
                _invalid(f"{self.where}.{name}.{key}", f"is {_shown(value)}", "it has to be text")
        return dict(values)


def _debian(fields: _Fields) -> DebianBase:
    version = fields.text("python", default=f"{sys.version_info.major}.{sys.version_info.minor}")
    if not _VERSION.fullmatch(version):
        _invalid(f"{fields.where}.python", f"is {version!r}", "use a version such as '3.12'")
    return DebianBase(version)


def _install(fields: _Fields) -> InstallLayer:
    lines = fields.texts("packages" if fields.kind == "pip" else "lines")
    wanted = tuple(line for line in lines if line.strip() and requirement_name(line) not in OWN_PACKAGES)
    extra = fields.text("extra_args", default="")
    try:
        extra_args = tuple(shlex.split(extra))
    except ValueError as error:
        _invalid(f"{fields.where}.extra_args", f"is {extra!r} ({error})", "mend the quotes")
    return InstallLayer(
        wanted,
        fields.text("index_url", default=""),
        fields.texts("extra_index_urls"),
        fields.flag("pre"),
        extra_args,
    )


def _workdir(fields: _Fields) -> WorkdirLayer:
    path = fields.text("path")
    if not path.startswith("/"):
        _invalid(f"{fields.where}.path", f"is {path!r}", "use an absolute path such as '/app'")
    return WorkdirLayer(path)


_BASES: dict[str, Callable[[_Fields], Base]] = {
    "debian": _debian,
    "image": lambda fields: ImageBase(fields.text("uri")),
}
_LAYERS: dict[str, Callable[[_Fields], Layer]] = {
    "pip": _install,
    "requirements": _install,
    "env": lambda fields: EnvLayer(fields.pairs("vars")),
    "apt": lambda fields: AptLayer(fields.texts("packages", required=True)),
    "commands": lambda fields: CommandsLayer(fields.texts("commands", required=True, lines=True)),
    "workdir": _workdir,
}


def _has_controls(value: str) -> bool:
    return any(ord(character) < 32 and character != "\t" for character in value)


def _shown(value: object) -> str:
    text = json.dumps(value, default=str) if value is not None else "missing"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _invalid(field: str, what: str, fix: str) -> NoReturn:
    where = f"image definition: {field}" if field else "the image definition"
    raise InvalidArgument(
        f"{where} {what}: {fix}",
        reason="IMAGE_DEFINITION_INVALID",
        field=f"definition_json.{field}".rstrip("."),
    )

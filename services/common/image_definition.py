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
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from services.common.address_passwords import address_with_password
from services.common.errors import InvalidArgument
from services.common.image_layers import (
    OWN_PACKAGES,
    AptLayer,
    Archive,
    Base,
    BuildSecret,
    BuiltBase,
    CommandsLayer,
    CopyLayer,
    DebianBase,
    DockerfileBase,
    EnvLayer,
    ImageBase,
    InstallLayer,
    Layer,
    ProjectLayer,
    WorkdirLayer,
    requirement_name,
)
from services.common.local_places import place_of_requirement
from services.common.platforms import normalised
from services.common.uv_settings import settings_text

_VERSION = re.compile(r"3\.\d{1,2}(\.\d+)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"[0-9a-f]{32}")
_BUILT_IMAGE = re.compile(r"(\S+@)?sha256:[0-9a-f]{64}")
_SECRET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_REPOSITORY = re.compile(r"[a-z0-9]+([._-]+[a-z0-9]+)*")
_FAR_SOURCE = re.compile(
    r'(?m)^source = \{ (?:editable|directory|virtual|path) = "((?:\.\.|/|[a-z]+:)[^"]*)"'
)
"""Line of a lock file of `uv` with a place outside of its project."""
REGISTRY = re.compile(r"[A-Za-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*")
"""Host and port of a registry, and a path in it."""
NEWEST = "UV_EXCLUDE_NEWER"
"""Variable of the builder's host with the date that `Definition.dated` takes."""
PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?")
"""Operating system and architecture."""
BUILT = "built"
"""Kind of the base of an image that its author has built."""


@dataclass(frozen=True, slots=True)
class Definition:
    """The software that tasks run in.

    Attributes:
        base: What it is based on.
        layers: What comes on top, in the author's order.
        registry: Registry that the author names; empty for the platform's own.
        repository: Name in that registry; empty for the usual one.
        platforms: Platforms that the author names; empty for that of the host.
        registry_secret: Key of the secret with his credentials of registries; empty for none.
        title: What the author calls it, for people; may be empty.
        has_sdk: False for an image that only container tasks can use: without Python and the platform's SDK.
    """

    base: Base
    layers: tuple[Layer, ...] = ()
    registry: str = ""
    repository: str = ""
    platforms: tuple[str, ...] = ()
    registry_secret: str = ""
    title: str = ""
    has_sdk: bool = True

    def dated(self, newest: str) -> Definition:
        """Returns it with a date for the packages that have none: what is published later does not count.

        Args:
            newest: The date, as `uv` takes it; empty for none.
        """
        layers = tuple(
            replace(layer, exclude_newer=newest)
            if isinstance(layer, InstallLayer) and newest and not layer.has_date
            else layer
            for layer in self.layers
        )
        return replace(self, layers=layers)


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
    try:
        json.dumps(definition, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        around = error.object[max(error.start - 20, 0) : error.end + 20]
        _invalid("", f"is no Unicode text near {around!r}", "replace what is no character (a lone surrogate)")
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
        fields.check()
    has_sdk = definition.get("sdk", True)
    if not isinstance(has_sdk, bool):
        _invalid("sdk", f"is {_shown(has_sdk)}", "it has to be true or false")
    if isinstance(parsed_base, BuiltBase):
        _check_built(parsed_base, parsed, has_sdk=has_sdk)
    destination, login, title = _destination(base), _login(base), base.text("name", default="")
    base.check()
    for name in sorted(definition.keys() - {"base", "layers", "sdk"}):
        _invalid(name, "is not known", "leave it out; a definition has base, layers, sdk")
    return Definition(
        parsed_base, tuple(parsed), *destination, registry_secret=login, title=title, has_sdk=has_sdk
    )


def parse_built(text: str) -> Definition | None:
    """Reads the definition of an image that its author has built; None for one that has to be made.

    Raises:
        InvalidArgument: As `parse_definition`.
    """
    if f'"{BUILT}"' not in text:  # most are, and some are megabytes
        return None

    def refuse(where: str, kind: str) -> Exception:
        return InvalidArgument(f"image definition: {where}.kind is {kind!r}, which is not known")

    definition = parse_definition(text, KINDS, refuse)
    return definition if isinstance(definition.base, BuiltBase) else None


def definition_digest(text: str) -> str:
    """Returns the identity of a definition: hex BLAKE2b-128 of its text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class _Fields:
    """The fields of one layer or base, read with checks that name them."""

    def __init__(self, where: str, fields: object) -> None:
        self.where = where
        if not isinstance(fields, dict) or not isinstance(fields.get("kind"), str):
            _invalid(where, f"is {_shown(fields)}", 'it has to be an object with a "kind"')
        self._fields: dict[str, Any] = fields
        self._read = {"kind"}
        self.kind: str = fields["kind"]

    def check(self) -> None:
        """Refuses fields that nothing has read, and passwords in addresses of packages."""
        for name in sorted(self._fields.keys() - self._read):
            known = ", ".join(sorted(self._read))
            _invalid(f"{self.where}.{name}", "is not known", f"leave it out; {self.kind!r} has {known}")
        if self.kind not in _INSTALL_KINDS:
            return
        for name, value in self._fields.items():
            address = address_with_password(value)
            if address:
                _invalid(f"{self.where}.{name}", f"has a password in the address {address}", _PASSWORDS)

    def _get(self, name: str) -> Any:
        self._read.add(name)
        return self._fields.get(name)

    def settings(self, name: str) -> str:
        try:
            return settings_text(self._get(name))
        except ValueError as error:
            _invalid(f"{self.where}.{name}", "cannot be read", str(error))

    def flag(self, name: str) -> bool:
        value = self._get(name) or False
        if not isinstance(value, bool):
            _invalid(f"{self.where}.{name}", f"is {_shown(value)}", "it has to be true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        value = self._get(name)
        if value in (None, "") and default is not None:
            return default
        if not isinstance(value, str) or not value.strip() or _has_controls(value):
            _invalid(f"{self.where}.{name}", f"is {_shown(value)}", "it has to be one line of text")
        return value

    def texts(self, name: str, *, required: bool = False, lines: bool = False) -> tuple[str, ...]:
        values = self._get(name) or []
        if not isinstance(values, list):
            _invalid(f"{self.where}.{name}", f"is {_shown(values)}", "it has to be a list")
        if required and not values:
            _invalid(f"{self.where}.{name}", "is empty", "name at least one, or leave the layer out")
        for number, value in enumerate(values):
            if not isinstance(value, str) or "\0" in value or (_has_controls(value) and not lines):
                where = f"{self.where}.{name}[{number}]"
                _invalid(where, f"is {_shown(value)}", "it has to be one line of text")
        return tuple(values)

    def words(self, name: str) -> tuple[str, ...]:
        value = self.text(name, default="")
        try:
            return tuple(shlex.split(value))
        except ValueError as error:
            _invalid(f"{self.where}.{name}", f"is {value!r} ({error})", "mend the quotes")

    def document(self, name: str) -> str:
        value = self._get(name)
        if not isinstance(value, dict) or not isinstance(value.get("text"), str) or "\0" in value["text"]:
            _invalid(f"{self.where}.{name}", f"is {_shown(value)}", "it has to be an object with a text")
        return str(value["text"])

    def archive(self, name: str, *, required: bool = True) -> Archive | None:
        value = self._get(name)
        if value is None and not required:
            return None
        sha256, size = (value.get("sha256"), value.get("size")) if isinstance(value, dict) else (None, None)
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256) or not isinstance(size, int):
            fix = "it has to be an object with the sha256 and the size of an uploaded archive"
            _invalid(f"{self.where}.{name}", f"is {_shown(value)}", fix)
        return Archive(sha256, size)

    def secrets(self) -> tuple[BuildSecret, ...]:
        values = self._get("secret_mounts") or []
        found = []
        for number, value in enumerate(values if isinstance(values, list) else [values]):
            key, variable = (
                (value.get("key"), value.get("env", "")) if isinstance(value, dict) else (None, None)
            )
            if not isinstance(key, str) or not _SECRET.fullmatch(key):
                _invalid(
                    f"{self.where}.secret_mounts[{number}]",
                    f"is {_shown(value)}",
                    "it has to be an object with the key of a secret",
                )
            if not isinstance(variable, str) or (variable and not _VARIABLE.fullmatch(variable)):
                where = f"{self.where}.secret_mounts[{number}].env"
                _invalid(where, f"is {_shown(variable)}", "use the name of an environment variable")
            found.append(BuildSecret(key, variable))
        return tuple(found)

    def pairs(self, name: str) -> dict[str, str]:
        values = self._get(name)
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


def _destination(base: _Fields) -> tuple[str, str, tuple[str, ...]]:
    registry, name = base.text("registry", default="").rstrip("/"), base.text("name", default="")
    if registry and not REGISTRY.fullmatch(registry):
        _invalid("base.registry", f"is {registry!r}", "use a host and a path such as 'ghcr.io/team'")
    if registry and name and not _REPOSITORY.fullmatch(name):
        _invalid("base.name", f"is {name!r}", "use small letters, digits and '-' for an image in a registry")
    platforms = base.texts("platform")
    for number, platform in enumerate(platforms):
        if not PLATFORM.fullmatch(platform):
            _invalid(f"base.platform[{number}]", f"is {platform!r}", "use one such as 'linux/amd64'")
    return registry, name if registry else "", tuple(dict.fromkeys(map(normalised, platforms)))


def _login(base: _Fields) -> str:
    key = base.text("registry_secret", default="")
    if key and not _SECRET.fullmatch(key):
        _invalid("base.registry_secret", f"is {key!r}", "it has to be the key of a secret")
    return key


def _debian(fields: _Fields) -> DebianBase:
    version = fields.text("python", default=f"{sys.version_info.major}.{sys.version_info.minor}")
    if not _VERSION.fullmatch(version):
        _invalid(f"{fields.where}.python", f"is {version!r}", "use a version such as '3.12'")
    return DebianBase(version)


def _dockerfile(fields: _Fields) -> DockerfileBase:
    file = fields.document("dockerfile")
    return DockerfileBase(file, fields.archive("context", required=False))


def _built(fields: _Fields) -> BuiltBase:
    uri, name, sdk = fields.text("uri"), fields.text("name"), fields.text("sdk", default="")
    if not _BUILT_IMAGE.fullmatch(uri):
        fix = "use an address with a digest, such as 'ghcr.io/team/hangar@sha256:…', or the identity of an image"
        _invalid(f"{fields.where}.uri", f"is {uri!r}", fix)
    for field, value in (("name", name), ("sdk", sdk)):
        if not _DIGEST.fullmatch(value) and (value or field == "name"):
            _invalid(f"{fields.where}.{field}", f"is {value!r}", "it has to be 32 hexadecimal digits")
    return BuiltBase(uri, name, sdk)


def _check_built(base: BuiltBase, layers: list[Layer], *, has_sdk: bool) -> None:
    if layers:
        _invalid("layers", f"has {len(layers)}", "an image that is built takes no layers")
    if has_sdk and not base.sdk:
        _invalid("base.sdk", "is missing", "name the digest of the SDK in the image, or set sdk to false")


def _install(fields: _Fields) -> InstallLayer:
    name = "packages" if fields.kind == "pip" else "lines"
    lines = fields.texts(name)
    for number, line in enumerate(lines):
        place = place_of_requirement(line)
        if place:
            fix = (
                f"{place!r} is a place on a disk, and no part of the image: name a package of an index or an address, "
                "or copy it (with_source_folder) and install it there (with_commands)"
            )
            _invalid(f"{fields.where}.{name}[{number}]", f"is {line!r}", fix)
    fields.text("name", default="")  # of the file, for people
    wanted = tuple(line for line in lines if line.strip() and requirement_name(line) not in OWN_PACKAGES)
    return _installer(fields, wanted, fields.words("extra_args"))


def _installer(fields: _Fields, wanted: tuple[str, ...], extra_args: tuple[str, ...]) -> InstallLayer:
    return InstallLayer(
        wanted,
        fields.text("index_url", default=""),
        fields.texts("extra_index_urls"),
        fields.flag("pre"),
        extra_args,
        fields.text("exclude_newer", default=""),
        fields.secrets(),
        fields.settings("uv"),
    )


def _project(fields: _Fields) -> ProjectLayer:
    is_uv = fields.kind == "uv_project"
    mode = fields.text("mode", default="dependencies_only") if is_uv else "dependencies_only"
    source = fields.archive("source", required=mode == "install_project")
    pyproject, lock = fields.document("pyproject"), fields.document("lock")
    place = _FAR_SOURCE.search(lock) if is_uv else None
    if place:
        fix = "images have what is below the project only: take it from an index, an address or git"
        _invalid(f"{fields.where}.lock", f"takes a package from {place[1]!r}", fix)
    return ProjectLayer(
        "uv" if is_uv else "poetry",
        pyproject,
        lock,
        _installer(fields, (), ()),
        fields.words("extra_args"),
        fields.archive("local", required=False),
        source if mode == "install_project" else None,
    )


def _copy(fields: _Fields) -> CopyLayer:
    archive = fields.archive("archive")
    assert archive is not None  # it is required
    names = ", ".join(fields.texts("names")) or "the code"
    return CopyLayer(archive, fields.text("dst", default="."), names)


def _workdir(fields: _Fields) -> WorkdirLayer:
    path = fields.text("path")
    if not path.startswith("/"):
        _invalid(f"{fields.where}.path", f"is {path!r}", "use an absolute path such as '/app'")
    return WorkdirLayer(path)


_BASES: dict[str, Callable[[_Fields], Base]] = {
    "debian": _debian,
    "image": lambda fields: ImageBase(fields.text("uri")),
    "dockerfile": _dockerfile,
    BUILT: _built,
}
_LAYERS: dict[str, Callable[[_Fields], Layer]] = {
    "pip": _install,
    "requirements": _install,
    "uv_project": _project,
    "poetry_project": _project,
    "source_file": _copy,
    "source_folder": _copy,
    "code_bundle": _copy,
    "env": lambda fields: EnvLayer(fields.pairs("vars")),
    "apt": lambda fields: AptLayer(fields.texts("packages", required=True), fields.secrets()),
    "commands": lambda fields: CommandsLayer(
        fields.texts("commands", required=True, lines=True), fields.secrets()
    ),
    "workdir": _workdir,
}
_PASSWORDS = (
    "definitions are on record, where it must not be. Name the index ('corp=https://…') and give the password as a "
    "secret (secret_mounts=, as UV_INDEX_CORP_PASSWORD)"
)
_INSTALL_KINDS = frozenset(("pip", "requirements", "uv_project", "poetry_project"))
KINDS = frozenset((*_BASES, *_LAYERS))
"""Kinds of bases and layers that there are."""


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

"""Reads and checks a configuration."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from flyte import errors
from flyte.config._model import (
    AUTH_TYPES,
    BUILDERS,
    DEFAULT_DOMAIN,
    DEFAULT_PROJECT,
    AdminConfig,
    Config,
    ImageConfig,
    LocalConfig,
    TaskConfig,
)
from flyte.config._search import find_file

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})

_NOT_YET_AUTH = "only tokens are available yet: remove the key, and set FLYTE_API_KEY to the token"
_NO_TOKENS = (
    "a token does not belong in a file that others read: remove the key, and set FLYTE_API_KEY to the token"
)
_NO_REGISTRY = (
    "the backend has a registry of its own: remove the key, name a registry in Image.from_debian_base(registry=…), or "
    "set image.builder to local"
)
_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*")

# Section → key → type; a text instead of a type says why the documented key is refused.
_KEYS: dict[str, dict[str, type | str]] = {
    "admin": {
        "endpoint": str,
        "insecure": bool,
        "authType": str,
        "caCertFilePath": str,
        "clientId": _NOT_YET_AUTH,
        "apiKey": _NO_TOKENS,
    },
    "image": {"builder": str, "image_refs": dict, "registry": str},
    "task": {"org": "this platform has no organisations: remove the key", "project": str, "domain": str},
    "local": {"persistence": bool},
}


def auto(path: str | Path | None = None) -> Config:
    """Loads the given file, or the first one of the search order; then the environment's overrides.

    Raises:
        flyte.errors.InitializationError: When the given file does not exist, or its content is wrong.
    """
    if path is not None:
        return load(Path(path).expanduser())
    return load(find_file())


def load(path: Path | None) -> Config:
    """Loads a file, None for none, and the environment's overrides.

    Raises:
        flyte.errors.InitializationError: As `auto`.
    """
    values = [] if path is None else _read(path)
    values += _from_environment()
    found: dict[tuple[str, str], Any] = {}
    for value in values:
        found[value.section, value.key] = value.checked()
    return Config(
        admin=AdminConfig(
            found.get(("admin", "endpoint")),
            found.get(("admin", "insecure"), False),
            checked_auth_type(found.get(("admin", "authType")), "admin.authType"),
            found.get(("admin", "caCertFilePath")),
        ),
        task=TaskConfig(
            found.get(("task", "project"), DEFAULT_PROJECT), found.get(("task", "domain"), DEFAULT_DOMAIN)
        ),
        local=LocalConfig(found.get(("local", "persistence"), False)),
        source=path,
        overrides=tuple(sorted(value.origin for value in values if value.from_environment)),
        image=_images(found),
    )


def _images(found: Mapping[tuple[str, str], Any]) -> ImageConfig:
    builder = checked_builder(found.get(("image", "builder")) or "remote", "image.builder")
    registry = found.get(("image", "registry"))
    if registry is not None:
        registry = registry.rstrip("/")
        if builder != "local":
            raise _error(f"image.registry = {registry!r}: {_NO_REGISTRY}")
        if not _REGISTRY.fullmatch(registry):
            raise _error(
                f"image.registry = {registry!r} is no registry: write a host and a path without a scheme, such as "
                "ghcr.io/team"
            )
    return ImageConfig(found.get(("image", "image_refs")) or {}, builder, registry)


def checked_builder(value: str, name: str) -> str:
    """What builds images: "local" or "remote".

    Raises:
        flyte.errors.InitializationError: It is neither.
    """
    if value not in BUILDERS:
        raise _error(f"{name} = {value!r} is not one of {', '.join(BUILDERS)}")
    return value


def checked_auth_type(value: str | None, name: str) -> str | None:
    """A way to sign in that the contract knows, whether or not it is available.

    Raises:
        flyte.errors.InitializationError: When it is none.
    """
    if value is not None and value not in AUTH_TYPES:
        raise _error(f"{name} = {value!r} is not one of {', '.join(AUTH_TYPES)}")
    return value


@dataclass(frozen=True)
class _Value:
    """One entry, and where it came from."""

    section: str
    key: str
    value: Any
    origin: str
    from_environment: bool = False

    def checked(self) -> str | bool | dict[str, str] | None:
        """The value in its type."""
        expected = _KEYS[self.section][self.key]
        where = self.origin if self.from_environment else f"{self.origin}: {self.section}.{self.key}"
        if isinstance(expected, str):
            shown = "" if expected is _NO_TOKENS else f" = {self.value!r}"
            raise _error(f"{where}{shown}: {expected}")
        value: Any = self.value
        if expected is dict and value is not None:
            return _pairs(where, value)
        if value is None or (isinstance(value, expected) and value != ""):
            return cast("str | bool | None", value)
        if expected is bool and isinstance(self.value, str):
            if self.value.lower() in _TRUE:
                return True
            if self.value.lower() in _FALSE:
                return False
        wanted = "true or false" if expected is bool else "a text that is not empty"
        raise _error(f"{where} = {self.value!r} is not {wanted}")


def _pairs(where: str, value: Any) -> dict[str, str]:
    """Names and addresses; of an environment variable as NAME=ADDRESS,NAME=ADDRESS."""
    found = value
    if isinstance(value, str):
        found = {
            name.strip(): uri.strip() for name, _, uri in (part.partition("=") for part in value.split(","))
        }
    if not isinstance(found, Mapping) or not all(
        isinstance(part, str) and part for pair in found.items() for part in pair
    ):
        raise _error(f"{where} = {value!r} is no list of names and addresses of images: write name: address")
    return dict(found)


def _read(path: Path) -> list[_Value]:
    import yaml

    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise errors.InitializationError(
            "ConfigFileNotFoundError",
            f"Configuration file {path} does not exist. Make one: flyte create config "
            f"--endpoint HOST:PORT -o {path}",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _error(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _error(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if document is None:
        return []
    if not isinstance(document, Mapping):
        raise _error(f"{path} must contain sections ({', '.join(_KEYS)}), not {type(document).__name__}")
    return [value for section, content in document.items() for value in _section(path, str(section), content)]


def _section(path: Path, section: str, content: Any) -> list[_Value]:
    if section not in _KEYS:
        raise _error(f"{path}: unknown section {section!r}{_nearest(section, _KEYS)}")
    if content is None:
        return []
    if not isinstance(content, Mapping):
        raise _error(
            f"{path}: section {section} = {content!r} must contain keys ({', '.join(_KEYS[section])})"
        )
    for key in content:
        if key not in _KEYS[section]:
            raise _error(f"{path}: unknown key {section}.{key}{_nearest(str(key), _KEYS[section])}")
    return [_Value(section, str(key), value, str(path)) for key, value in content.items()]


def _from_environment() -> list[_Value]:
    values = []
    for section, keys in _KEYS.items():
        for key in keys:
            name = f"FLYTE_{section}_{key}".upper()
            if os.environ.get(name):
                values.append(_Value(section, key, os.environ[name], name, from_environment=True))
    return values


def _nearest(name: str, known: Iterable[str]) -> str:
    """The nearest valid name, or all of them."""
    by_lower = {valid.lower(): valid for valid in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    if close:
        return f". Did you mean {by_lower[close[0]]!r}?"
    return f". Valid here: {', '.join(by_lower.values())}"


def _error(message: str) -> errors.InitializationError:
    return errors.InitializationError("InvalidConfigError", message)

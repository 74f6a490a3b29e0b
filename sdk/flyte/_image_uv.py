"""What images take of the files of `uv`: settings in a script's header, and what lock files name on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_UV_SOURCE = re.compile(
    r'(?m)^name = "([^"]*)"\n(?:version = .*\n)?source = \{ (editable|directory|virtual|path|registry) = "([^"]*)"'
)
_POETRY_SOURCE = re.compile(
    r'(?m)^\[package\.source\]\ntype = "(?:directory|file)"\nurl = "(?P<place>[^"]*)"'
)
"""Lock files may have megabytes, and these lines are as their tools write them."""
_HONOURED = """
index sources index-url extra-index-url find-links no-index index-strategy prerelease resolution fork-strategy
constraint-dependencies override-dependencies exclude-dependencies build-constraint-dependencies
extra-build-dependencies exclude-newer exclude-newer-package no-binary no-binary-package no-build no-build-package
no-build-isolation no-build-isolation-package config-settings config-settings-package dependency-metadata no-sources
no-sources-package allow-insecure-host
"""
"""Settings that say what is installed and where it comes from."""
_OF_THE_MACHINE = """
cache-dir cache-keys check-url compile-bytecode concurrent-builds concurrent-downloads concurrent-installs
keyring-provider link-mode managed native-tls no-cache offline package preview preview-features publish-url
pypy-install-mirror python-downloads python-downloads-json-url python-install-mirror python-preference
required-version system-certs trusted-publishing
"""
"""Settings that say how `uv` works on the author's machine: they change nothing in an image."""


def header_settings(path: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a script's `[tool.uv]` that say what is installed.

    Args:
        path: The script, for messages.
        header: Its header.

    Raises:
        ValueError: A setting does not count in images, or names a place on this machine.
    """
    tool = header.get("tool", {})
    settings = tool.get("uv", {}) if isinstance(tool, dict) else tool
    if not isinstance(settings, dict):
        raise ValueError(f"image: {path}: [tool.uv] in the script's header must be a table")
    kept = {}
    for key, value in settings.items():
        if key in _HONOURED.split():
            for where, place in _local_places(key, value):
                raise ValueError(
                    f"image: {path}: [tool.uv] {where} names {place!r}, a place on this machine, which images cannot "
                    "reach: name an index or an address that hosts reach, or add the files with with_uv_project"
                )
            kept[key] = _plain(value)
        elif key not in _OF_THE_MACHINE.split():
            raise ValueError(
                f"image: {path}: [tool.uv] {key} in the script's header does not count in images: leave it out"
            )
    return kept


def _local_places(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if key == "sources":
        for name, source in value.items() if isinstance(value, dict) else ():
            for entry in source if isinstance(source, list) else [source]:
                for field in ("path", "workspace"):
                    if isinstance(entry, dict) and entry.get(field):
                        yield f"sources.{name}.{field}", str(entry[field])
        return
    entries = value if isinstance(value, list) else [value]
    if key == "index":
        addresses = [entry.get("url") for entry in entries if isinstance(entry, dict)]
    else:
        addresses = entries if key in {"index-url", "extra-index-url", "find-links"} else []
    for address in addresses:
        if isinstance(address, str) and (":" not in address or address.startswith("file:")):
            yield key, address


def _plain(value: Any) -> Any:
    """A value of TOML as JSON has it: dates become text."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value if isinstance(value, (str, bool, int, float)) else str(value)


def local_folders(pyproject: Path, lock: Path, text: str) -> list[str]:
    """The path dependencies and workspace members that a `uv.lock` names, relative to the project.

    Args:
        pyproject: The `pyproject.toml`.
        lock: The lock file.
        text: Its text.

    Raises:
        ValueError: The lock file is that of a workspace which the project is a member of, or it names something that
            is not below the project.
    """
    root = lock.absolute().parent
    if root != pyproject.absolute().parent and (root / "pyproject.toml").is_file():
        raise ValueError(
            f"image: {lock} is the lock file of {root / 'pyproject.toml'}, not of {pyproject}: give that one as "
            "pyproject_file, and for a member of its workspace extra_args='--package NAME'"
        )
    found = []
    for name, kind, place in _UV_SOURCE.findall(text):
        if place == "." or (kind == "registry" and "://" in place):
            continue
        if place.startswith("..") or Path(place).is_absolute() or kind == "registry":
            raise ValueError(
                f"image: {lock} takes {name} from {place!r}, and images have what is below the project only: move it "
                "there, or take it from an index, an address or git"
            )
        found.append(place)
    return sorted(set(found))


def check_poetry_lock(lock: Path, text: str) -> None:
    """Refuses path dependencies, which Poetry cannot export for another place.

    Raises:
        ValueError: The lock file names one.
    """
    match = _POETRY_SOURCE.search(text)
    if match:
        raise ValueError(
            f"image: {lock} takes a package from {match['place']!r}, a place on this machine, which images cannot "
            "reach: take it from an index, an address or git, or add it with with_source_folder"
        )

"""Platforms of images: operating system and architecture, such as "linux/arm64"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?")
_SAME = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "arm64/v8": "arm64",
    "i386": "386",
    "i686": "386",
    "x86": "386",
    "arm": "arm/v7",
    "armhf": "arm/v7",
    "armv7l": "arm/v7",
}


def platform_names(where: str, given: Any) -> tuple[str, ...]:
    """One platform or several, each by the name that engines give it, each once, in order.

    Args:
        where: What was called, for messages.
        given: A platform, such as "linux/arm64" or "linux/aarch64", or several.

    Raises:
        TypeError: It is neither a string nor a sequence of strings.
        ValueError: One of them cannot be read, or there is none.
    """
    several = [given] if isinstance(given, str) else given
    if not isinstance(several, Iterable) or isinstance(several, bytes):
        raise TypeError(f"{where}: platform takes 'linux/amd64' or several of that kind, not {given!r}")
    names = {_name(where, each) for each in several}
    if not names:
        raise ValueError(
            f"{where}: platform is empty: name at least one, such as 'linux/amd64', or leave it out"
        )
    return tuple(sorted(names))


def _name(where: str, platform: Any) -> str:
    if not isinstance(platform, str):
        raise TypeError(f"{where}: a platform is a string such as 'linux/amd64', not {platform!r}")
    system, _, machine = platform.strip().lower().partition("/")
    name = f"{system}/{_SAME.get(machine, machine)}"
    if not _PLATFORM.fullmatch(name):
        raise ValueError(f"{where}: platform {platform!r} cannot be read: write one such as 'linux/amd64'")
    return name

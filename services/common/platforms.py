"""Names of platforms as image engines write them: operating system and architecture, such as "linux/arm64"."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

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


def platform_name(system: str, machine: str) -> str:
    """Returns the name of a platform.

    Args:
        system: Operating system, such as "Linux".
        machine: Architecture as kernels or engines call it, such as "x86_64" or "amd64".
    """
    return f"{system.lower()}/{_SAME.get(machine.lower(), machine.lower())}"


def normalised(name: str) -> str:
    """Returns the usual name of a platform that goes by several, such as "linux/aarch64"."""
    system, _, machine = name.partition("/")
    return platform_name(system, machine)


def image_platform(found: Mapping[str, Any]) -> str:
    """Returns the platform of an image as an engine describes it."""
    parts = (found.get("Architecture"), found.get("Variant"))
    return platform_name(str(found.get("Os") or "linux"), "/".join(filter(None, parts)))


def architecture(name: str) -> str:
    """Returns the architecture of a platform as names of images have it: "arm64", or "arm-v7"."""
    return name.partition("/")[2].replace("/", "-")


def host_platform() -> str:
    """Returns the platform of this process's own host."""
    return platform_name(platform.system(), platform.machine())

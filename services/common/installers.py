"""What installers of packages say when a package is to blame, and not the network or the disk."""

from __future__ import annotations

import re

_INVALID = re.compile(
    r"No solution found when resolving"  # uv
    r"|No matching distribution found"  # pip
    r"|Unable to locate package|has no installation candidate|Version '[^']*' for '[^']*' was not found"  # apt
)

_OUTAGE = re.compile(
    r"error sending request for url|HTTP status (server error \(5\d\d|client error \(429)"  # uv
    r"|Temporary failure resolving|Could not connect to \S+:\d+|\s50[0234]  "  # apt
)


def is_outage(output: str) -> bool:
    """Says whether packages could not be had because of the network or of who serves them: they may be soon.

    Args:
        output: What the installer wrote.
    """
    return bool(_OUTAGE.search(output))


def failure_code(output: str) -> str:
    """Code of the failure of an image whose packages were to be installed.

    Args:
        output: What the installer wrote.

    Returns:
        "PackagesUnavailable" when they cannot be had now, "InvalidPackage" when a package does not exist, or fits no
        other; else "ImageBuildError".
    """
    if is_outage(output):
        return "PackagesUnavailable"
    return "InvalidPackage" if _INVALID.search(output) else "ImageBuildError"

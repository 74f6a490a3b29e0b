"""What installers of packages say when a package is to blame, and not the network or the disk."""

from __future__ import annotations

import re

_INVALID = re.compile(
    r"No solution found when resolving"  # uv
    r"|No matching distribution found"  # pip
    r"|Unable to locate package|has no installation candidate|Version '[^']*' for '[^']*' was not found"  # apt
)


def failure_code(output: str) -> str:
    """Code of the failure of an image whose packages were to be installed.

    Args:
        output: What the installer wrote.

    Returns:
        "InvalidPackage" when a package does not exist, or fits no other; else "ImageBuildError".
    """
    return "InvalidPackage" if _INVALID.search(output) else "ImageBuildError"

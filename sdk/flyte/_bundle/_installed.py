"""Tells installed software from the user's own code."""

from __future__ import annotations

import sys
import sysconfig
from functools import lru_cache
from pathlib import Path

_SITE_FOLDERS = frozenset({"site-packages", "dist-packages"})


def is_installed(path: Path) -> bool:
    """True for files of the standard library, of installed packages and of virtual environments."""
    if _SITE_FOLDERS.intersection(path.parts):
        return True
    return any(path.is_relative_to(folder) for folder in _installation_folders()) or _in_environment(
        path.parent
    )


@lru_cache(maxsize=1)
def _installation_folders() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {Path(path) for name in names if (path := sysconfig.get_path(name))}
    if sys.prefix != sys.base_prefix:
        folders.add(Path(sys.prefix))
    return tuple(folders | {folder.resolve() for folder in folders})


@lru_cache(maxsize=4096)
def _in_environment(folder: Path) -> bool:
    """True below a directory that is a virtual environment."""
    if (folder / "pyvenv.cfg").is_file():
        return True
    return folder.parent != folder and _in_environment(folder.parent)

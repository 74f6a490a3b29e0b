"""Where a configuration file is looked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def find_file() -> Path | None:
    """The first configuration file of the search order, None when there is none.

    The order: ``./config.yaml``, ``./.flyte/config.yaml``, ``<git root>/.flyte/config.yaml``,
    ``$UCTL_CONFIG``, ``$FLYTECTL_CONFIG``, ``~/.union/config.yaml``, ``~/.flyte/config.yaml``.
    """
    return next((path for path in candidates() if path.is_file()), None)


def candidates() -> Iterator[Path]:
    """Where a configuration file may be, in the order of precedence."""
    here = Path.cwd()
    yield here / "config.yaml"
    yield here / ".flyte" / "config.yaml"
    git_root = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), None)
    if git_root is not None:
        yield git_root / ".flyte" / "config.yaml"
    for variable in ("UCTL_CONFIG", "FLYTECTL_CONFIG"):
        if value := os.environ.get(variable):
            yield Path(value).expanduser()
    home = Path.home()
    yield home / ".union" / "config.yaml"
    yield home / ".flyte" / "config.yaml"

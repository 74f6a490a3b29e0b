"""Packages that the image of a task may lack."""

from __future__ import annotations

import importlib
from typing import Any

from flyte import errors


def need(module: str, why: str) -> Any:
    """Imports a library.

    Raises:
        RuntimeUserError: It is not installed ("MissingPackage"); the message says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise errors.RuntimeUserError(
            "MissingPackage",
            f"{why} needs {package}, which is not installed here ({error}): add it to the image of the task's "
            "environment, "
            f'flyte.Image.from_debian_base().with_pip_packages("{package}")',
        ) from error

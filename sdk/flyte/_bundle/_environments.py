"""What a task's environments say of its code: where it is, and which further files belong to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyte import errors
from flyte._bundle._modules import file_of
from flyte._bundle._root import detect_root
from flyte._environment import walk

if TYPE_CHECKING:
    from flyte._environment import TaskEnvironment
    from flyte._task import TaskTemplate


def root_of(task: TaskTemplate[..., Any]) -> Path:
    """The directory that a task's module is imported from.

    What runs as ``__main__`` counts when the task's module is below its directory: a script in the root of a
    project imports its packages from there.

    Raises:
        flyte.errors.CodeBundleError: When the task was not defined in a file.
    """
    module = sys.modules.get(task.func.__module__)
    file = file_of(module) if module is not None else None
    if file is None:
        raise errors.CodeBundleError(
            f"Task {task.name} was not defined in a file, and no worker can import it. Put it into a file."
        )
    root = detect_root(file)
    main = sys.modules.get("__main__")
    script = file_of(main) if main is not None else None
    if script is not None:
        script_root = detect_root(script)
        if root.is_relative_to(script_root):
            return script_root
    return root


def root_of_environment(environment: TaskEnvironment) -> Path:
    """The directory that the module which declares an environment is imported from."""
    return detect_root(Path(environment.declared_in).absolute())


def included_paths(task: TaskTemplate[..., Any]) -> list[Path]:
    """Files and directories that the task's environment, and those that it depends on, ask to include.

    Raises:
        flyte.errors.CodeBundleError: When a pattern matches nothing.
        ValueError: When two of these environments have the same name.
    """
    paths: list[Path] = []
    for environment in walk([task.environment]):
        base = Path(environment.declared_in).resolve().parent
        for pattern in environment.include:
            found = sorted(base.glob(pattern)) if any(c in pattern for c in "*?[") else [base / pattern]
            if not found:
                raise errors.CodeBundleError(
                    f"include={pattern!r} of environment {environment.name!r} matches nothing below {base}."
                )
            paths.extend(found)
    return paths

"""Loads the Python file that a command line names, and finds its tasks."""

from __future__ import annotations

import difflib
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from flyte._tracebacks import user_text

if TYPE_CHECKING:
    from flyte._task import TaskTemplate


@dataclass(frozen=True)
class LoadedFile:
    """A file of tasks.

    Attributes:
        path: The file.
        root: Directory that its code is bundled from.
        tasks: Its tasks by the names that they have in the file.
    """

    path: Path
    root: Path
    tasks: dict[str, TaskTemplate[..., Any]]


def load_file(name: str, root_dir: str | None) -> LoadedFile:
    """Imports a file as Python would import it as a module, and finds its tasks.

    Args:
        name: The file.
        root_dir: Directory that its code is bundled from; detected unless given.

    Raises:
        click.UsageError: When there is no such file, it cannot be imported, or it has no tasks.
    """
    from flyte._task import TaskTemplate

    module, root = load_module_file(name, root_dir)
    tasks = {key: value for key, value in vars(module).items() if isinstance(value, TaskTemplate)}
    if not tasks:
        raise click.UsageError(
            f"No tasks found in {name}. A task is a function with @env.task, where "
            'env = flyte.TaskEnvironment(name="my_env").'
        )
    return LoadedFile(_existing(name), root, tasks)


def load_module_file(name: str, root_dir: str | None) -> tuple[ModuleType, Path]:
    """Imports a file as Python would import it as a module.

    Args:
        name: The file.
        root_dir: Directory that its code is bundled from; detected unless given.

    Returns:
        The module, and the directory that its code is bundled from.

    Raises:
        click.UsageError: When there is no such file, or it cannot be imported.
    """
    from flyte._bundle._modules import module_name
    from flyte._bundle._root import check_root, detect_root
    from flyte._loading import load_module
    from flyte.errors import BaseRuntimeError

    path = _existing(name)
    try:
        root = detect_root(path) if root_dir is None else Path(root_dir).expanduser().resolve()
        if not path.is_relative_to(root):
            raise click.UsageError(f"File {name} is not below the root directory {root} (--root-dir).")
        check_root(root)
        module_path = module_name(path, root, (".",))
    except BaseRuntimeError as error:
        raise click.UsageError(error.message) from None
    for folder in {root: None, detect_root(path): None}:
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    try:
        module = load_module(module_path)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the user's module raises, SystemExit too
        raise click.UsageError(_why_not_loaded(name, error)) from None
    if getattr(module, "__file__", None) is None or Path(module.__file__ or "").resolve() != path:
        raise click.UsageError(
            f"File {name} cannot be imported as {module_path!r}: that name belongs to "
            f"{getattr(module, '__file__', None) or 'another module'}. Rename the file."
        )
    return module, root


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        raise click.UsageError(f"{name} is a directory. Name a Python file in it.")
    if not path.is_file():
        siblings = [entry.name for entry in path.parent.glob("*.py")] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, siblings, n=1, cutoff=0.5)
        hint = f" Did you mean {path.parent / close[0]}?" if close else ""
        raise click.UsageError(f"File {name} does not exist.{hint}")
    if path.suffix != ".py":
        raise click.UsageError(f"{name} is not a Python file (.py).")
    return path.resolve()


def _why_not_loaded(name: str, error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f'{name} cannot be imported: it calls sys.exit. Put that below `if __name__ == "__main__":`.'
    hint = ""
    if isinstance(error, ModuleNotFoundError):
        hint = (
            f"\n{error.name} is needed to read the file: install it in this environment too, or import it "
            "inside the task."
        )
    shown = user_text(error) or "".join(traceback.format_exception_only(error))
    return f"{name} cannot be imported.\n{shown.rstrip()}{hint}"

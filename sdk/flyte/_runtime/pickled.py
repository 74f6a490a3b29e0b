"""Tasks that came pickled, from a notebook."""

from __future__ import annotations

import json
import linecache
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from flyte import errors


class PickledCode:
    """The tasks in a pickle of a code bundle.

    Args:
        path: The file.

    Raises:
        ModuleLoadError: It was made by another version of Python, or cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                header = json.loads(file.readline())
                pickle = file.read()
        except (OSError, ValueError) as error:
            raise errors.ModuleLoadError(f"the pickled code {path.name} cannot be read: {error}") from error
        self.modules = frozenset(header["modules"])
        """Modules whose functions are in it."""
        _check_python(tuple(header["python"]))
        for name, lines in header["sources"].items():
            linecache.cache[name] = (sum(map(len, lines)), None, lines, name)
        self._tasks = self._load(pickle)

    def task(self, name: str) -> Any:
        """A task by its fully qualified name.

        Raises:
            ModuleLoadError: There is none.
        """
        try:
            return self._tasks[name]
        except KeyError:
            there = ", ".join(self._tasks) or "none"
            raise errors.ModuleLoadError(
                f"the pickled code has no task {name!r}, it has {there}: was its cell run before the run was started?"
            ) from None

    def _load(self, pickle: bytes) -> dict[str, Any]:
        import cloudpickle

        main = ModuleType("__main__")
        before, sys.modules["__main__"] = sys.modules.get("__main__"), main
        try:
            content = cloudpickle.loads(pickle)
        except BaseException as error:
            if before is not None:
                sys.modules["__main__"] = before
            hint = ""
            if isinstance(error, ModuleNotFoundError):
                hint = f": add {error.name} to the image of the environment"
            raise errors.ModuleLoadError(
                f"the pickled code cannot be loaded: {type(error).__name__}: {error}{hint}"
            ) from error
        vars(main).update(content["classes"])
        return {
            task.name: task for environment in content["environments"] for task in environment.tasks.values()
        }


def _check_python(version: tuple[int, ...]) -> None:
    mine = sys.version_info[: len(version)]
    if version != mine:
        theirs, ours = (".".join(map(str, each)) for each in (version, mine))
        image = f'flyte.Image.from_debian_base(python_version="{theirs}")'
        raise errors.ModuleLoadError(
            f"the code was pickled by Python {theirs}, and this worker has Python {ours}, which cannot load it: give "
            f"the environment image={image}, or run the notebook with Python {ours}"
        )

"""Loads the user's module and finds the task in it."""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from flyte import _code, _loading, errors
from flyte._runtime.frames import Header
from flyte._runtime.order import IMAGE_DIRECTORY
from flyte._runtime.pickled import PickledCode

_MAX_LINKS = 1000


class CodeLoader:
    """Imports user code from one code bundle. A worker serves one bundle only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._code_dir: str | None = None
        self._tasks: dict[tuple[str, str], Any] = {}
        self._pickled: PickledCode | None = None

    def load(self, run: Header) -> Any:
        """The task object that a `run` frame names.

        Raises:
            ModuleLoadError: The module cannot be imported or has no such task. The cause is what it raised.
            RuntimeSystemError: The frame names another bundle than the ones before.
        """
        if self._code_dir is None:
            self._enter(run)
        elif self._code_dir != run["code_dir"]:
            raise errors.RuntimeSystemError(
                "WrongWorker", f"this worker runs the code in {self._code_dir}, not that in {run['code_dir']}"
            )
        place = (str(run["module"]), str(run["attribute"]))
        task = self._tasks.get(place)
        if task is None:
            pickle = str(run.get("pickle") or "")
            task = self._find_pickled(pickle, place[1]) if pickle else self._find(*place)
            self._tasks[place] = task
        return task

    def _enter(self, run: Header) -> None:
        """Makes the bundle importable, and its files readable in the working directory."""
        _loading.set_worker()
        code_dir = str(run["code_dir"])
        python_path = [str(part) for part in run.get("python_path") or ["."]]
        if code_dir:
            roots = [code_dir, *_image_directories()]
            for place in reversed([(root, part) for root in roots for part in python_path]):
                sys.path.insert(0, os.path.normpath(Path(*place)))
            importlib.invalidate_caches()
        self._work_in(code_dir)
        _code.set_process(
            _code.CodeIdentity(
                bundle_digest=str(run.get("bundle_digest") or Path(code_dir).name),
                python_path=tuple(python_path),
                version=str(run.get("version") or ""),
                main_module=str(run["module"]),
                images=_images(code_dir),
            )
        )
        self._code_dir = code_dir

    def _work_in(self, code_dir: str) -> None:
        """Gives the process a working directory of its own, in which the files of bundle and image appear.

        Both are shared between workers: what user code writes must not land in them.
        """
        work = self._directory / "work"
        work.mkdir(exist_ok=True)
        for directory in [*filter(None, [code_dir]), *_image_directories()]:
            with os.scandir(directory) as entries:
                for count, entry in enumerate(entries):
                    if count >= _MAX_LINKS:
                        break
                    if not os.path.lexists(work / entry.name):
                        os.symlink(entry.path, work / entry.name)
        os.chdir(work)

    def _find_pickled(self, pickle: str, name: str) -> Any:
        if self._pickled is None:
            self._pickled = PickledCode(Path(self._code_dir or "", pickle))
            modules = self._pickled.modules
            _code.set_process(replace(_code.current(), pickle=pickle, pickled_modules=modules))
        return self._pickled.task(name)

    def _find(self, module_name: str, attribute: str) -> Any:
        try:
            module = _loading.load_module(module_name)
        except BaseException as error:
            hint = ""
            if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
                hint = (
                    ": it is neither in the code that was sent nor in the image; with copy_style 'none' the image "
                    "has to bring it (Image.with_code_bundle)"
                )
            raise errors.ModuleLoadError(
                f"module {module_name!r} cannot be imported: {type(error).__name__}: {error}{hint}"
            ) from error
        main = sys.modules.get("__main__")
        if main is None or getattr(main, "__package__", None) == __package__:
            # What was pickled by a script as `__main__.Thing` is found in the script's module.
            sys.modules["__main__"] = module
        task: Any = module
        for name in attribute.split("."):
            try:
                task = getattr(task, name)
            except AttributeError:
                raise errors.ModuleLoadError(
                    f"module {module_name!r} has no {attribute!r}: the task was renamed, is defined "
                    "conditionally, or stands below a call of flyte.run (put that call below "
                    '`if __name__ == "__main__":`)'
                ) from None
        if not callable(getattr(task, "func", None)):
            raise errors.ModuleLoadError(f"{module_name}.{attribute} is no task but {type(task).__name__!r}")
        return task


def _image_directories() -> list[str]:
    """Where files of the author are in the image: one directory, or none when it has none that can be read."""
    directory = os.environ.get(IMAGE_DIRECTORY, "")
    return [directory] if directory and os.access(directory, os.R_OK | os.X_OK) else []


def _images(code_dir: str) -> dict[str, str]:
    """Definitions of images by the name of their environment, as they came with the bundle."""
    path = os.path.join(code_dir, ".flyte", "images.json")
    if not code_dir or not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return dict(json.load(file))

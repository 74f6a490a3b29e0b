"""Code that no worker can import: tasks of a notebook or an interactive session, pickled by value."""

from __future__ import annotations

import io
import json
import linecache
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from flyte import _code, errors
from flyte._bundle._modules import file_of
from flyte._environment import TaskEnvironment

if TYPE_CHECKING:
    from flyte._task import TaskTemplate

PICKLE_FILE = ".flyte/notebook.pkl"
"""Where the pickled tasks are in a bundle: a line of JSON, then the pickle."""

_lock = threading.Lock()


def interactive_modules(tasks: Iterable[TaskTemplate[..., Any]], wanted: bool | None) -> frozenset[str]:
    """Modules of tasks that are to be pickled.

    Args:
        tasks: The tasks.
        wanted: True for all of them, False for none, None for those that were defined interactively.
    """
    if wanted is False:
        return frozenset()
    modules = {task.origin.func.__module__ for task in tasks}
    return frozenset(modules if wanted else (module for module in modules if _is_interactive(module)))


def _is_interactive(name: str) -> bool:
    module = sys.modules.get(name)
    return name == "__main__" and (module is None or (file_of(module) is None and not module.__spec__))


def pickled_code(environments: Iterable[TaskEnvironment], modules: frozenset[str]) -> bytes:
    """The content of `PICKLE_FILE`: environments with their tasks, and what these refer to in the modules.

    Raises:
        flyte.errors.CodeBundleError: Something cannot be pickled; names the task and why.
        ValueError: An environment asks to include files.
    """
    import cloudpickle

    found = {environment.name: environment for environment in environments}
    for module in map(sys.modules.get, modules):
        for value in list(vars(module).values()) if module is not None else ():
            if isinstance(value, TaskEnvironment):
                found.setdefault(value.name, value)
    for environment in found.values():
        if environment.include:
            raise ValueError(
                f"include={environment.include!r} of environment {environment.name!r} has no effect in interactive "
                "mode, where there is no declaring file: pass the files as inputs, or put the tasks into a file"
            )
    identity = _code.CodeIdentity(pickle=PICKLE_FILE, pickled_modules=modules)
    with _lock, _code.using(identity), _by_value(modules):
        try:
            pickle = cloudpickle.dumps({"environments": list(found.values()), "classes": _classes(modules)})
        except Exception as error:
            raise _explained(found.values(), error) from error
    header = {
        "python": list(sys.version_info[:2]),
        "modules": sorted(modules),
        "sources": _sources(found.values(), modules),
    }
    return b"\n".join([json.dumps(header, sort_keys=True).encode(), pickle])


@contextmanager
def _by_value(modules: frozenset[str]) -> Iterator[None]:
    """Inside, cloudpickle writes functions and classes of these modules by value; it always does of ``__main__``."""
    import cloudpickle

    with ExitStack() as stack:
        for name in modules - {"__main__"}:
            module = sys.modules.get(name)
            if module is not None and name not in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.register_pickle_by_value(module)
                stack.callback(cloudpickle.unregister_pickle_by_value, module)
        yield


def _classes(modules: frozenset[str]) -> dict[str, type]:
    """Classes that are defined in ``__main__``: annotations that are text name them."""
    import cloudpickle

    main: ModuleType | None = sys.modules.get("__main__") if "__main__" in modules else None
    found = {}
    for name, value in list(vars(main).items()) if main is not None else ():
        if isinstance(value, type) and value.__module__ == "__main__" and not name.startswith("_"):
            try:
                cloudpickle.dumps(value)
            except Exception:  # noqa: BLE001, S112 - tasks that need it say so; others need not know it
                continue
            found[name] = value
    return found


def _sources(environments: Iterable[TaskEnvironment], modules: frozenset[str]) -> dict[str, list[str]]:
    """The lines of the cells: they are in no file, and a worker shows them in tracebacks."""
    names = {
        task.func.__code__.co_filename
        for environment in environments
        for task in environment.tasks.values()
        if task.origin.func.__module__ in modules
    }
    main = sys.modules.get("__main__")
    for value in list(vars(main).values()) if main is not None else ():
        code = getattr(value, "__code__", None)
        if code is not None and getattr(value, "__module__", None) == "__main__":
            names.add(code.co_filename)
    return {name: lines for name in sorted(names) if (lines := linecache.getlines(name))}


def _explained(environments: Iterable[TaskEnvironment], error: Exception) -> errors.CodeBundleError:
    """The error that names the task whose function cannot be pickled."""
    culprit = " the notebook"
    for environment in environments:
        for task in environment.tasks.values():
            try:
                _pickle_alone(task.func)
            except Exception as cause:  # noqa: BLE001 - whatever objects of the user raise
                culprit, error = f" task {task.name}", cause
    return errors.CodeBundleError(
        f"The code of{culprit} cannot be pickled: {type(error).__name__}: {error}. A function takes along "
        "the variables that it uses: make such objects (connections, locks, open files) inside of the task."
    )


def _pickle_alone(function: Callable[..., Any]) -> None:
    """Pickles a function without the tasks that it calls."""
    import cloudpickle

    from flyte._task import TaskTemplate

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, (TaskTemplate, TaskEnvironment)):
                return str, (obj.name,)
            return super().reducer_override(obj)

    Pickler(io.BytesIO()).dump(function)

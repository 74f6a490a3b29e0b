"""Imports user code for the platform: in a worker, or for the command line.

A script may start runs at module level, without ``if __name__ == "__main__":``. Whoever imports it for its
tasks must not start them again: `flyte.run` then ends the import, and the tasks that are defined above it are used.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from types import ModuleType

from flyte import errors

_loading = 0
_in_worker = False


class DriverCodeReached(BaseException):
    """An import came to a call that starts a run. No error: what stands below it is for the author of the script."""


def set_worker() -> None:
    """Says that this process is a worker: it talks to its executor only, not to a backend."""
    global _in_worker  # noqa: PLW0603 - a process is a worker or not
    _in_worker = True


def in_worker() -> bool:
    """True in a worker."""
    return _in_worker


def check_client_use() -> None:
    """Called before anything that talks to a backend.

    Raises:
        DriverCodeReached: User code is being imported.
        flyte.errors.FeatureNotAvailableError: It was called by a running task.
    """
    if _loading:
        raise DriverCodeReached
    if _in_worker:
        raise errors.FeatureNotAvailableError(
            "runs cannot be started or asked for inside a task: call the task itself, and it becomes an "
            "action of this run"
        )


def load_module(name: str) -> ModuleType:
    """Imports a module, up to the first call at its module level that starts a run.

    Raises:
        Exception: Whatever the module raises.
    """
    global _loading  # noqa: PLW0603
    known = sys.modules.get(name)
    if known is not None:
        return known
    _loading += 1
    try:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except DriverCodeReached as reached:
            if not _is_own(reached, module):
                del sys.modules[name]
                raise errors.ModuleLoadError(
                    f"importing {name!r} starts a run in another module that it imports: put that call there "
                    'below `if __name__ == "__main__":`'
                ) from None
        except BaseException:
            del sys.modules[name]
            raise
    finally:
        _loading -= 1
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


def _is_own(reached: DriverCodeReached, module: ModuleType) -> bool:
    """True when the module itself made the call, perhaps through the SDK, and no other module that it imports."""
    for frame, _ in traceback.walk_tb(reached.__traceback__):
        if frame.f_code.co_name == "<module>" and frame.f_globals is not module.__dict__:
            return False
    return True

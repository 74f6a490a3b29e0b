"""The Flyte 2 programming model, for Hangar.

Public names are imported when they are first used, so that `import flyte` stays fast.

Example:
    ```python
    import flyte

    env = flyte.TaskEnvironment(name="my_env")

    @env.task
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    run = flyte.run(greet, name="World")
    ```
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flyte import durable, errors, io, models, notify, remote, report, storage, types
    from flyte._accelerators import AMD_GPU, GPU, HABANA_GAUDI, TPU, Device, GPUAccelerator, Neuron
    from flyte._build import build, build_images
    from flyte._cache import Cache, CachePolicy, FunctionBodyPolicy, VersionParameters
    from flyte._condition import condition
    from flyte._context import TaskContext, ctx, custom_context, get_custom_context, group
    from flyte._current import current_domain, current_project
    from flyte._deploy import Deployment, deploy
    from flyte._docs import Documentation
    from flyte._dry_run import DryRun
    from flyte._environment import TaskEnvironment
    from flyte._image import Image
    from flyte._initialize import init, init_from_api_key, init_from_config, init_in_cluster
    from flyte._link import Link
    from flyte._logging import logger
    from flyte._map import map  # noqa: A004 - the name of the public contract
    from flyte._progress import progress
    from flyte._python_script import run_python_script
    from flyte._rerun import rerun
    from flyte._resources import Resources
    from flyte._retry import Backoff, RetryStrategy
    from flyte._reuse import ReusePolicy
    from flyte._run import run, with_runcontext
    from flyte._task import TaskTemplate
    from flyte._timeout import Timeout
    from flyte._trace import trace
    from flyte._version import __version__
    from flyte.io import Dir as Directory
    from flyte.io import File

__all__ = [
    "AMD_GPU",
    "GPU",
    "HABANA_GAUDI",
    "TPU",
    "Backoff",
    "Cache",
    "CachePolicy",
    "Deployment",
    "Device",
    "Directory",
    "Documentation",
    "DryRun",
    "File",
    "FunctionBodyPolicy",
    "GPUAccelerator",
    "Image",
    "Link",
    "Neuron",
    "Resources",
    "RetryStrategy",
    "ReusePolicy",
    "TaskContext",
    "TaskEnvironment",
    "TaskTemplate",
    "Timeout",
    "VersionParameters",
    "__version__",
    "build",
    "build_images",
    "condition",
    "ctx",
    "current_domain",
    "current_project",
    "custom_context",
    "deploy",
    "durable",
    "errors",
    "extras",
    "get_custom_context",
    "group",
    "init",
    "init_from_api_key",
    "init_from_config",
    "init_in_cluster",
    "io",
    "logger",
    "map",
    "models",
    "notify",
    "progress",
    "remote",
    "report",
    "rerun",
    "run",
    "run_python_script",
    "storage",
    "trace",
    "types",
    "with_runcontext",
]

# Public name → module that owns it. Names without a module are modules themselves.
_OWNERS: dict[str, str] = {
    "AMD_GPU": "_accelerators",
    "GPU": "_accelerators",
    "HABANA_GAUDI": "_accelerators",
    "TPU": "_accelerators",
    "Backoff": "_retry",
    "Cache": "_cache",
    "CachePolicy": "_cache",
    "Deployment": "_deploy",
    "Device": "_accelerators",
    "Directory": "io",
    "Documentation": "_docs",
    "DryRun": "_dry_run",
    "File": "io",
    "FunctionBodyPolicy": "_cache",
    "GPUAccelerator": "_accelerators",
    "Image": "_image",
    "Link": "_link",
    "Neuron": "_accelerators",
    "Resources": "_resources",
    "RetryStrategy": "_retry",
    "ReusePolicy": "_reuse",
    "TaskContext": "_context",
    "TaskEnvironment": "_environment",
    "TaskTemplate": "_task",
    "Timeout": "_timeout",
    "VersionParameters": "_cache",
    "__version__": "_version",
    "build": "_build",
    "build_images": "_build",
    "condition": "_condition",
    "ctx": "_context",
    "current_domain": "_current",
    "current_project": "_current",
    "custom_context": "_context",
    "get_custom_context": "_context",
    "deploy": "_deploy",
    "group": "_context",
    "init": "_initialize",
    "init_from_api_key": "_initialize",
    "init_from_config": "_initialize",
    "init_in_cluster": "_initialize",
    "logger": "_logging",
    "map": "_map",
    "progress": "_progress",
    "rerun": "_rerun",
    "run": "_run",
    "run_python_script": "_python_script",
    "trace": "_trace",
    "with_runcontext": "_run",
}
_ALIASES = {"Directory": "Dir"}
_MODULES = ("durable", "errors", "extras", "io", "models", "notify", "remote", "report", "storage", "types")


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used; refuse those of later versions by name."""
    if name in _OWNERS:
        value = getattr(importlib.import_module(f"flyte.{_OWNERS[name]}"), _ALIASES.get(name, name))
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"flyte.{name}")
    from flyte._availability import NAMES

    if name in NAMES:
        raise AttributeError(f"flyte.{name} is not available in this version: {NAMES[name]}")
    raise AttributeError(f"module 'flyte' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})

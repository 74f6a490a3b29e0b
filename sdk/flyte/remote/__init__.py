"""What is on the backend: runs, actions, projects, deployed tasks and uploaded files.

Names are imported when they are first used: a task that calls a deployed one needs no gRPC.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flyte.remote._action import Action, ActionDetails, ActionInputs, ActionOutputs, AttemptDetails
    from flyte.remote._filters import TimeFilter
    from flyte.remote._image_build import ImageBuild
    from flyte.remote._project import Project
    from flyte.remote._run import Run, RunDetails
    from flyte.remote._task import Task, TaskHandle
    from flyte.remote._upload import upload_dir, upload_file

__all__ = [
    "Action",
    "ActionDetails",
    "ActionInputs",
    "ActionOutputs",
    "AttemptDetails",
    "ImageBuild",
    "Project",
    "Run",
    "RunDetails",
    "Task",
    "TaskHandle",
    "TimeFilter",
    "upload_dir",
    "upload_file",
]

_OWNERS: dict[str, str] = {
    "Action": "_action",
    "ActionDetails": "_details",
    "ActionInputs": "_action",
    "ActionOutputs": "_action",
    "AttemptDetails": "_details",
    "ImageBuild": "_image_build",
    "Project": "_project",
    "Run": "_run",
    "RunDetails": "_run",
    "Task": "_task",
    "TaskHandle": "_task",
    "TimeFilter": "_filters",
    "upload_dir": "_upload",
    "upload_file": "_upload",
}

# Name of the contract → what to do instead.
_LATER: dict[str, str] = {
    "App": "apps are not built yet; run the server outside of the platform",
    "Secret": "secrets are not built yet; pass the value with env_vars=",
    "Trigger": "triggers are not built yet; start runs from the scheduler of your system with `flyte run`",
    "User": "there are no users yet: one token stands for everybody",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used; refuse those of later versions by name."""
    if name in _OWNERS:
        value = getattr(importlib.import_module(f"flyte.remote.{_OWNERS[name]}"), name)
        globals()[name] = value
        return value
    if name in _LATER:
        raise AttributeError(f"flyte.remote.{name} is not available in this version: {_LATER[name]}")
    raise AttributeError(f"module 'flyte.remote' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})

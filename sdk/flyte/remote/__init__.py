"""What is on the backend: runs, actions, projects and tasks."""

from flyte.remote._action import Action, ActionDetails, ActionInputs, ActionOutputs, AttemptDetails
from flyte.remote._image_build import ImageBuild
from flyte.remote._project import Project
from flyte.remote._run import Run, RunDetails
from flyte.remote._task import Task

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
]

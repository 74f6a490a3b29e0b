"""`flyte.deploy`: makes tasks known on the backend, so that others can call them by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flyte import errors
from flyte._bundle._select import CopyStyle
from flyte._client._twins import twin
from flyte._texts import check_version

if TYPE_CHECKING:
    from flyte._environment import TaskEnvironment

_Rows = list[list[tuple[str, str]]]


@dataclass(frozen=True)
class DeployedTask:
    """A task as it was deployed.

    Attributes:
        name: Fully qualified name.
        version: Version.
        entrypoint: True when it is meant to be started by people.
        changed: False when this version was the newest deployment already.
    """

    name: str
    version: str
    entrypoint: bool = False
    changed: bool = True


@dataclass(frozen=True)
class DeployedEnvironment:
    """An environment as it was deployed.

    Attributes:
        name: Its name.
        environment: The environment.
        image: Digest of the definition of its image.
        tasks: Its tasks.
    """

    name: str
    environment: TaskEnvironment
    image: str
    tasks: tuple[DeployedTask, ...]


@dataclass(frozen=True)
class Deployment:
    """What `flyte.deploy` deployed.

    Attributes:
        envs: The environments by name: those that were given, and all that they depend on.
        version: Version of all their tasks.
        project: Project.
        domain: Domain.
        dryrun: True when nothing was sent.

    Example:
        ```python
        for deployment in flyte.deploy(env):
            print(deployment.summary_repr())
        ```
    """

    envs: dict[str, DeployedEnvironment] = field(default_factory=dict)
    version: str = ""
    project: str = ""
    domain: str = ""
    dryrun: bool = False

    @property
    def tasks(self) -> list[DeployedTask]:
        """The tasks of all environments."""
        return [task for environment in self.envs.values() for task in environment.tasks]

    def summary_repr(self) -> str:
        """One line that says what was deployed."""
        tasks = self.tasks
        changed = sum(task.changed for task in tasks)
        what = f"{_count(len(tasks), 'task')} of {_count(len(self.envs), 'environment')}"
        where = f"{self.project}/{self.domain}"
        if self.dryrun:
            return f"Would deploy {what} to {where} as version {self.version}"
        news = f"{changed} changed" if changed else "nothing changed"
        return f"Deployed {what} to {where} as version {self.version} ({news})"

    def env_repr(self) -> _Rows:
        """The environments: per row the names and values of its cells."""
        return [
            [("environment", environment.name), ("image", environment.image)]
            for environment in self.envs.values()
        ]

    def table_repr(self) -> _Rows:
        """What others can use now: per row the names and values of its cells."""
        return [
            [("type", "task"), ("name", task.name), ("version", task.version), ("triggers", "")]
            for task in self.tasks
        ]


@twin
async def deploy(
    *envs: TaskEnvironment,
    dryrun: bool = False,
    version: str | None = None,
    interactive_mode: bool | None = None,
    copy_style: CopyStyle = "loaded_modules",
    dry_run: bool | None = None,
) -> list[Deployment]:
    """Makes the tasks of environments, and of all that these depend on, known under their names.

    They can then be called by other programs (`flyte.remote.Task.get`), from the command line
    (``flyte run deployed-task``), and by tasks. Deploying again what has not changed does nothing.

    Args:
        *envs: The environments.
        dryrun: True to pack everything and send nothing.
        version: Version of all tasks. Unless given it follows from code, images and settings.
        interactive_mode: As in `flyte.with_runcontext`.
        copy_style: As in `flyte.with_runcontext`.
        dry_run: The same as `dryrun`.

    Returns:
        What was deployed.

    Raises:
        flyte.errors.DeploymentError: There is nothing to deploy, or `copy_style` is "none" without a version, or the
            version was deployed with other content.
        ValueError: Two environments have the same name, or the version cannot be part of an address.
        flyte.errors.CodeBundleError: When the code cannot be packed.

    Example:
        ```python
        flyte.init_from_config()
        deployments = flyte.deploy(env, version="1.4")
        ```
    """
    from flyte._environment import TaskEnvironment, walk

    for environment in envs:
        if not isinstance(environment, TaskEnvironment):
            raise TypeError(
                f"flyte.deploy takes environments, such as flyte.TaskEnvironment, not {environment!r}"
            )
    if dry_run is not None and dryrun and not dry_run:
        raise ValueError("dryrun=True and dry_run=False are the same setting: give one of them")
    check_version(version)
    if copy_style == "none" and not version:
        raise errors.DeploymentError(
            'copy_style="none" needs version=…: nothing is sent along that a version could be derived from'
        )
    environments = walk(envs)
    if not any(environment.tasks for environment in environments):
        names = ", ".join(environment.name for environment in environments)
        raise errors.DeploymentError(
            f"There is nothing to deploy: {names or 'no environment'} has no tasks. A task is a function with @env.task"
        )
    from flyte._client._deploy import send

    return [await send(environments, bool(dryrun or dry_run), version, interactive_mode, copy_style)]


def deployment_of(
    environments: Iterable[TaskEnvironment],
    specs: dict[str, dict[str, Any]],
    changed: set[str],
    **more: Any,
) -> Deployment:
    """A deployment of environments whose tasks have these definitions."""
    envs = {}
    for environment in environments:
        mine = [specs[name] for name in environment.tasks]
        tasks = tuple(
            DeployedTask(
                spec["name"], spec["code"]["version"], bool(spec.get("entrypoint")), spec["name"] in changed
            )
            for spec in mine
        )
        image = str(mine[0]["image"].get("digest", "")) if mine else ""
        envs[environment.name] = DeployedEnvironment(environment.name, environment, image, tasks)
    return Deployment(envs, **more)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"

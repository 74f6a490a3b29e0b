"""Deployed tasks: the versions that others can call by name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hangar.core.v1.task_spec_pb2 import Image, TaskSpec
from hangar.scheduler.v1 import scheduler_service_pb2 as messages
from services.common.errors import AlreadyExists, InvalidArgument, NotFound
from services.common.names import check_domain, check_name
from services.scheduler.frames import PrepareImage
from services.scheduler.sessions import Sessions
from services.scheduler.shell import Shell
from services.scheduler.specs import Spec, Specs
from services.scheduler.store import Store
from services.scheduler.validation import check_spec

MOST_TASKS = 1000
"""Most tasks of one deployment."""
MOST_IMAGES = 100
"""Most images that hosts are told of at once."""


class Deployments:
    """Makes tasks known, and finds them.

    Args:
        shell: Writes the ledger.
        store: Reads it.
        specs: Completes definitions.
        sessions: The hosts that prepare images.
    """

    def __init__(self, shell: Shell, store: Store, specs: Specs, sessions: Sessions) -> None:
        self._shell = shell
        self._store = store
        self._specs = specs
        self._sessions = sessions
        self._one_at_a_time = asyncio.Lock()

    async def deploy(self, request: messages.DeployTasksRequest) -> list[str]:
        """Makes the tasks of a request the newest ones of their names, all or none.

        Returns:
            Names of those whose newest version or definition was another one.

        Raises:
            InvalidArgument: The request is wrong.
            AlreadyExists: A version was deployed with another definition (reason ``TASK_VERSION_EXISTS``).
        """
        project, domain = request.project, request.domain
        check_name("project", project)
        check_domain(domain)
        _check(request.tasks)
        specs = [self._specs.add(task) for task in request.tasks]
        names = [spec.message.name for spec in specs]
        async with self._one_at_a_time:
            known = await self._shell.read(self._store.deployed_versions, project, domain, names)
            changed = [spec for spec in specs if _is_change(spec, known.get(spec.message.name, []))]
            if not changed:
                return []

            def record(now: int) -> None:
                for spec in changed:
                    self._shell.recorder.definitions.deployed(project, domain, spec, now)

            await self._shell.write(record, self._preparations(changed))
        return [spec.message.name for spec in changed]

    def prepare(self, images: Sequence[Image]) -> int:
        """Tells the connected hosts that run containers of images. Returns how many there are.

        Raises:
            InvalidArgument: There are too many images, or none.
        """
        if not 1 <= len(images) <= MOST_IMAGES:
            message = f"images has {len(images)} entries: name 1 to {MOST_IMAGES} at once"
            raise InvalidArgument(message, reason="REQUEST_INVALID", field="images")
        known = self._shell.scheduler.world.nodes
        told = [
            PrepareImage(node, image)
            for image in images
            for node in self._nodes_of(image)
            if node in known and known[node].inventory.runs_containers
        ]
        self._shell.submit((), told)
        return len({each.node for each in told})

    async def find(self, project: str, domain: str, name: str, version: str) -> TaskSpec:
        """Returns the definition of a task, of the version that was deployed last unless one is given.

        Raises:
            NotFound: There is none (reason ``TASK_NOT_FOUND``).
        """
        serialised = await self._shell.read(self._store.deployed_spec, project, domain, name, version)
        if serialised is None:
            which = f"task {name!r}" + (f" in version {version!r}" if version else "")
            message = (
                f"{which} is not deployed in project {project!r}, domain {domain!r}: check the name, or deploy it with "
                "`flyte deploy`"
            )
            raise NotFound(message, reason="TASK_NOT_FOUND", task=name)
        return TaskSpec.FromString(serialised)

    def _preparations(self, specs: Sequence[Spec]) -> list[PrepareImage]:
        images = {spec.message.image.digest: spec.message.image for spec in specs}
        return [PrepareImage(node, image) for image in images.values() for node in self._nodes_of(image)]

    def _nodes_of(self, image: Image) -> list[str]:
        """The connected hosts of the platforms that an image is for."""
        known = self._shell.scheduler.world.nodes
        return [
            node
            for node in self._sessions.nodes()
            if not image.platforms or (node in known and known[node].inventory.platform in image.platforms)
        ]


def _is_change(spec: Spec, known: list[tuple[str, str]]) -> bool:
    """False when the newest deployment is this definition already.

    Raises:
        AlreadyExists: The version has another one.
    """
    name, version = spec.message.name, spec.message.code.version
    if dict(known).get(version, spec.digest) != spec.digest:
        raise AlreadyExists(
            f"version {version!r} of task {name!r} is deployed with another definition: choose another version, or "
            "leave it out to have one that follows from the content",
            reason="TASK_VERSION_EXISTS",
            task=name,
        )
    return not known or known[0] != (version, spec.digest)


def _check(tasks: Sequence[TaskSpec]) -> None:
    if not 1 <= len(tasks) <= MOST_TASKS:
        message = f"tasks has {len(tasks)} definitions: deploy 1 to {MOST_TASKS} at once"
        raise InvalidArgument(message, reason="REQUEST_INVALID", field="tasks")
    seen: set[str] = set()
    for task in tasks:
        check_spec(task)
        if not task.code.version:
            message = f"the code of task {task.name!r} has no version: give one in code.version"
            raise InvalidArgument(message, reason="REQUEST_INVALID", field="task.code.version")
        if task.name in seen:
            message = f"tasks names {task.name!r} twice: a deployment has one version of a task"
            raise InvalidArgument(message, reason="REQUEST_INVALID", field="tasks")
        seen.add(task.name)

"""Sends tasks to the backend to be deployed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import json_format

from flyte import errors
from flyte._bundle._select import CopyStyle, checked_copy_style
from flyte._client._packing import pack
from flyte._client._submit import send_code
from flyte._deploy import Deployment, deployment_of
from flyte._initialize import require_session
from hangar.admin.v1 import task_service_pb2
from hangar.core.v1 import task_spec_pb2

if TYPE_CHECKING:
    from flyte._environment import TaskEnvironment


async def send(
    environments: list[TaskEnvironment],
    dry_run: bool,
    version: str | None,
    interactive: bool | None,
    copy_style: CopyStyle,
) -> Deployment:
    """Packs the tasks of environments and deploys them, unless it is a dry run.

    Raises:
        flyte.errors.DeploymentError: The version was deployed with other content.
        flyte.errors.BaseRuntimeError: As `flyte.deploy`.
    """
    session = require_session()
    tasks = [task for environment in environments for task in environment.tasks.values()]
    packed = await pack(
        tasks,
        session,
        copy_style=checked_copy_style(copy_style, version),
        version=version,
        interactive=interactive,
        dry_run=dry_run,
    )
    changed = set(packed.specs)
    if not dry_run:
        client = await session.client()
        await send_code(client, session.project, session.domain, packed)
        request = task_service_pb2.DeployTasksRequest(
            project=session.project,
            domain=session.domain,
            tasks=[json_format.ParseDict(spec, task_spec_pb2.TaskSpec()) for spec in packed.specs.values()],
        )
        try:
            answer = await client.call(client.tasks.DeployTasks, request)
        except errors.RuntimeUserError as error:
            if error.code == "TaskVersionExistsError":
                raise errors.DeploymentError(error.message) from None
            raise
        changed = set(answer.changed)
    return deployment_of(
        environments,
        packed.specs,
        changed,
        version=packed.version,
        project=session.project,
        domain=session.domain,
        dryrun=dry_run,
    )

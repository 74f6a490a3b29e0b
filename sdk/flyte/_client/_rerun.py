"""Asks the backend for a run like an earlier one."""

from __future__ import annotations

from typing import Any

from flyte import errors
from flyte._client._submit import random_name
from flyte._initialize import require_session
from flyte.remote import Run
from flyte.remote._convert import run_identifier
from hangar.admin.v1 import run_service_pb2


async def rerun_remote(
    run: Run | str, scope: tuple[str | None, str | None], *, name: str | None, **settings: Any
) -> Run:
    """Creates a run like an earlier one; see `flyte.rerun`.

    Args:
        run: The earlier run, or its name.
        scope: Project and domain of a name, None for the configured ones.
        name: Name of the new run, None for a generated one.
        **settings: Further fields of the request.
    """
    session = require_session()
    if isinstance(run, Run):
        earlier = run_identifier(run.project, run.domain, run.name)
    else:
        earlier = run_identifier(scope[0] or session.project, scope[1] or session.domain, run)
    if name == earlier.name:
        raise ValueError(f"name={name!r} is the earlier run's own: choose another one, or leave it out")
    retried = False

    def note_retry() -> None:
        nonlocal retried
        retried = True

    client = await session.client()
    request = run_service_pb2.RerunRunRequest(id=earlier, name=name or random_name(), **settings)
    answer = await client.call(client.runs.RerunRun, request, on_retry=note_retry)
    if name is not None and not answer.created and not retried:
        raise errors.RuntimeUserError(
            "RunAlreadyExistsError",
            f"Run {name!r} exists already in project {earlier.project!r}, domain {earlier.domain!r}. Choose another "
            f"name, or leave it out to have one generated. It is at {answer.run.url}",
        )
    return Run(session, answer.run)

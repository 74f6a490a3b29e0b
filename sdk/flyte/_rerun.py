"""`flyte.rerun`: a run with the task, inputs and settings of an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flyte._client._twins import twin
from flyte.errors import ActionNotFoundError

if TYPE_CHECKING:
    from flyte._local import LocalRun
    from flyte.remote import Run


@twin
async def rerun(
    run: Run | LocalRun | str,
    recover: bool = False,
    *,
    name: str | None = None,
    project: str | None = None,
    domain: str | None = None,
    env_vars: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    overwrite_cache: bool | None = None,
    queue: str | None = None,
    interruptible: bool | None = None,
) -> Any:
    """Runs the task of an earlier run again, with its code, inputs and settings.

    Args:
        run: The earlier run, or its name.
        recover: Take over the result of every child and traced call that succeeded in the earlier run, which must have
            ended; only the rest runs.
        name: Name of the new run; generated unless given.
        project: Project of the earlier run, when only its name is given; the configured one unless given.
        domain: Domain of it, likewise.
        env_vars: Environment variables, beside those of the earlier run.
        labels: Labels, beside those of the earlier run.
        overwrite_cache: Whether to compute cached results anew; as the earlier run did unless given.
        queue: Queue of actions whose tasks name none; the earlier run's unless given.
        interruptible: Whether actions may run on hosts whose capacity can be taken away; as the earlier run unless
            given.

    Returns:
        The new run, of the kind of the earlier one.

    Raises:
        flyte.errors.ActionNotFoundError: There is no such run.
        flyte.errors.FeatureNotAvailableError: It is the name of a recorded local run: a record has neither code nor
            settings. The message says how to start it again.
        flyte.errors.RuntimeUserError: It is to be recovered and has not ended (code "RUN_NOT_ENDED"), or the new name
            is taken (code "RunAlreadyExistsError").

    Example:
        ```python
        again = flyte.rerun("nightly-1", recover=True)
        again.wait()
        ```
    """
    from flyte._local import LocalRun

    if isinstance(run, LocalRun):
        if any(value is not None for value in (project, domain, queue, interruptible)):
            raise ValueError(
                "project, domain, queue and interruptible have no effect on a local run: leave them out"
            )
        from flyte._local._rerun import rerun_local

        return await rerun_local(
            run, recover=recover, name=name, env_vars=env_vars, labels=labels, overwrite_cache=overwrite_cache
        )
    from flyte.remote import Run as RemoteRun

    if not isinstance(run, (str, RemoteRun)):
        raise TypeError(f"flyte.rerun takes a run or the name of one, not {run!r}")
    from flyte._client._rerun import rerun_remote
    from flyte._initialize import current_session
    from flyte._local._rerun import refuse_recorded
    from flyte._placement import check_interruptible, check_queue
    from flyte._texts import check_env_vars, texts

    if isinstance(run, RemoteRun) and (project or domain):
        raise ValueError("project and domain belong to the name of a run: a run has its own")
    if isinstance(run, str) and current_session() is None:
        refuse_recorded(run)
    try:
        return await rerun_remote(
            run,
            (project, domain),
            recover=recover,
            name=name,
            env_vars=check_env_vars(env_vars or {}),
            labels=texts("labels", labels),
            overwrite_cache=overwrite_cache,
            queue=check_queue(queue) or "",
            interruptible=check_interruptible(interruptible),
        )
    except ActionNotFoundError:
        if isinstance(run, str):
            refuse_recorded(run)
        raise

"""A local run with the task, inputs and settings of an earlier one of this process; of others none."""

from __future__ import annotations

from collections.abc import Mapping

from flyte import errors
from flyte._availability import refuse
from flyte._local._persistence import configured_store
from flyte._local._run import LocalRun
from flyte._local._start import start_local_run
from flyte._local._store import default_store
from flyte.models import ActionPhase


async def rerun_local(
    run: LocalRun,
    *,
    recover: bool,
    name: str | None,
    env_vars: Mapping[str, str] | None,
    labels: Mapping[str, str] | None,
    overwrite_cache: bool | None,
) -> LocalRun:
    """Runs the task of an earlier local run again; see `flyte.rerun`.

    Raises:
        RuntimeUserError: It is to be recovered and has not ended (code "RUN_NOT_ENDED").
    """
    state, root = run._state, run.actions[0]
    if recover and not run.done():
        raise errors.RuntimeUserError(
            "RUN_NOT_ENDED", f"run {run.name} has not ended: wait for its end or abort it, then recover it"
        )
    recovered = dict(state.recovered) if recover else {}
    if recover:
        for action in run.actions[1:]:
            if action.phase is ActionPhase.SUCCEEDED and action.outputs_document is not None:
                recovered[action.key] = (action.outputs_document, f"{run.name}/{action.name}")
    return await start_local_run(
        root.task,
        (),
        root.task.interface.load_inputs(root.inputs_document),
        name=name,
        env_vars={**state.env_vars, **(env_vars or {})},
        labels={**state.labels, **(labels or {})},
        overwrite_cache=state.overwrite_cache if overwrite_cache is None else overwrite_cache,
        disable_cache=state.disable_cache,
        custom_context=state.custom_context,
        recovered=recovered,
        store=configured_store(),
    )


def refuse_recorded(name: str) -> None:
    """Says of a name that it is a recorded local run's, if it is.

    Raises:
        FeatureNotAvailableError: It is: the record has inputs and results, but neither code nor settings.
    """
    for row in default_store().query("SELECT task FROM run WHERE name = ?", name):
        raise refuse(
            f"flyte.rerun({name!r}), the name of a recorded local run of {row['task']},",
            "its record has neither code nor settings. Start the task again with the inputs that `flyte get io "
            f"{name} --local` shows; in the process that ran it, pass the run itself to flyte.rerun",
        )

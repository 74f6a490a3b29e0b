"""`flyte run --local`: runs a task in this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from flyte.cli import _exit
from flyte.cli._arguments import shown_value

if TYPE_CHECKING:
    from flyte._local import LocalRun
    from flyte._task import TaskTemplate
    from flyte.cli._run_command import RunOptions
    from flyte.cli._settings import Settings


def launch_locally(
    task: TaskTemplate[..., Any], inputs: dict[str, Any], options: RunOptions, settings: Settings
) -> int:
    """Runs a task in this process, and shows how it ended.

    Returns:
        The exit code.
    """
    from flyte._client._loop import LOOP
    from flyte._local import start_local_run
    from flyte._local._persistence import configured_store

    starting = start_local_run(
        task,
        (),
        inputs,
        name=options.name,
        env_vars=options.env,
        labels=options.labels,
        store=configured_store(settings.config),
        wait=False,
    )
    run = LOOP.run(starting)
    try:
        run.wait(quiet=True)
    except KeyboardInterrupt:
        run.abort("interrupted")
        click.echo("Interrupted: the local run has ended.", err=True)
        return _exit.INTERRUPTED
    return _report(run, settings)


def _report(run: LocalRun, settings: Settings) -> int:
    error = run.error
    outputs = _plain_outputs(run) if error is None else {}
    if settings.as_json:
        value = {
            "name": run.name,
            "path": run.url,
            "phase": run.phase.value,
            "outputs": outputs,
            "error": {"code": error.code, "message": error.message} if error is not None else None,
        }
        click.echo(
            json.dumps(value, ensure_ascii=False, indent=2 if settings.output_format == "json" else None)
        )
    elif error is None:
        click.echo(f"Completed Local Run {run.name}")
        click.echo(f"Path: {run.url}")
        for name, value in outputs.items():
            click.echo(f"{name}: {shown_value(value)}" if len(outputs) > 1 else shown_value(value))
    if not settings.as_json:
        for path in filter(None, [action.report_path() for action in run.actions]):
            click.echo(f"Report: {path}")
    if error is not None:
        click.echo(f"✕ Execution failed: {error.code}: {error.message}", err=True)
        if error.user_traceback.strip():
            click.echo(error.user_traceback.rstrip(), err=True)
    return _exit.of_run(error)


def _plain_outputs(run: LocalRun) -> dict[str, Any]:
    """Outputs as JSON has them."""
    from flyte._types import loads

    document = run.action.outputs_document
    values: dict[str, Any] = loads(document) if document is not None else {}
    return {} if values == {"o0": None} else values

"""`flyte run --local`: runs a task in this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from flyte.cli import _exit
from flyte.cli._arguments import shown_value

if TYPE_CHECKING:
    from flyte._local import LocalRun
    from flyte._local._store import LocalStore
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
    from flyte._local._persistence import configured_store

    refused = {
        "--service-account": (options.service_account, "tasks run as you"),
        "--debug": (
            options.debug,
            "run the file in your debugger: flyte.with_runcontext(mode='local').run(…)",
        ),
    }
    for name, (value, why) in refused.items():
        if value:
            raise click.UsageError(f"{name} is not available for local runs: {why}.")
    without_effect = {
        "--image": bool(options.images),
        "--copy-style": options.copy_style != "loaded_modules",
    }
    for name in [name for name, is_given in without_effect.items() if is_given]:
        click.echo(f"{name} has no effect on a local run: its tasks run in this process.", err=True)
    store = configured_store(settings.config)
    started: list[LocalRun] = []
    try:
        if options.tui:
            _watch(task, inputs, options, store, started)
        else:
            started.append(_start(task, inputs, options, store))
        started[0].wait(quiet=True)
    except KeyboardInterrupt:
        for run in started:
            run.abort("interrupted")
        click.echo("Interrupted: the local run has ended.", err=True)
        return _exit.INTERRUPTED
    return _report(started[0], settings)


def _start(
    task: TaskTemplate[..., Any],
    inputs: dict[str, Any],
    options: RunOptions,
    store: LocalStore | None,
    *,
    echo: bool = True,
) -> LocalRun:
    from flyte._client._loop import LOOP
    from flyte._local import start_local_run

    return LOOP.run(
        start_local_run(
            task,
            (),
            inputs,
            name=options.name,
            env_vars=options.env,
            labels=options.labels,
            version=options.version,
            raw_data_path=options.raw_data_path,
            store=store,
            echo=echo,
            wait=False,
        )
    )


def _watch(
    task: TaskTemplate[..., Any],
    inputs: dict[str, Any],
    options: RunOptions,
    store: LocalStore | None,
    started: list[LocalRun],
) -> None:
    """Starts the run below the text interface; returns when the user has left that and the run has ended.

    It is shown from its record: without `local.persistence` from one that is not kept.
    """
    import tempfile
    from pathlib import Path

    from flyte._local import _logs
    from flyte._local._store import LocalStore
    from flyte._tui import show
    from flyte._tui._source import LocalSource

    with tempfile.TemporaryDirectory(prefix="flyte-tui-", ignore_cleanup_errors=True) as directory:
        shown = store or LocalStore(Path(directory))

        def begin() -> LocalSource:
            started.append(_start(task, inputs, options, shown, echo=False))
            return LocalSource(shown, started[0].name)

        show(begin=begin)
        _logs.renew()
        if not started[0].done():
            click.echo(f"Run {started[0].name} goes on in this process; Ctrl-C ends it.", err=True)
        started[0].wait(quiet=True)


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

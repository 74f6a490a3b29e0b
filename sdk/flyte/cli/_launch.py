"""Starts a run for the command line, shows its progress, and turns its end into an exit code."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from flyte import errors
from flyte.cli import _exit
from flyte.cli._arguments import shown_value

if TYPE_CHECKING:
    from flyte._task import TaskTemplate
    from flyte.cli._load import LoadedFile
    from flyte.cli._run_command import RunOptions
    from flyte.cli._settings import Settings
    from flyte.remote import Run


def launch(
    file: LoadedFile,
    task: TaskTemplate[..., Any],
    inputs: dict[str, Any],
    options: RunOptions,
    settings: Settings,
) -> int:
    """Runs a task as the options say.

    Returns:
        The exit code.
    """
    if options.local:
        from flyte.cli._local_launch import launch_locally

        return launch_locally(task, inputs, options, settings)
    from flyte._client._submit import random_name
    from flyte._environment import walk
    from flyte._run import with_runcontext
    from flyte.cli._code_options import check_images

    check_images(options.images, walk([task.environment]))

    session = settings.open_session(options.project, options.domain, starts_backend=True)
    session.root_dir = file.root
    session.sync_local_sys_paths = options.sync_local_sys_paths
    session.own_images = options.images
    if not options.detach or session.builds_locally:  # what is built here is waited for anyway
        from flyte.cli._images import build_with_progress

        build_with_progress(
            walk([task.environment]),
            session,
            file.root,
            settings,
            is_run=True,
            bakes_code=options.copy_style == "none",
        )
    name = options.name or random_name()
    context = with_runcontext(
        mode="remote",
        name=name,
        version=options.version,
        copy_style=options.copy_style,  # type: ignore[arg-type]  # checked by the function
        env_vars=options.env,
        labels=options.labels,
        raw_data_path=options.raw_data_path,
        service_account=options.service_account,
        debug=options.debug,
    )
    try:
        run: Run = context.run(task, **inputs)
    except KeyboardInterrupt:
        click.echo(
            f"Interrupted while run {name} was being created; it may exist (flyte get run {name}).", err=True
        )
        return _exit.INTERRUPTED
    return attend(run, settings, follow=options.follow, detach=options.detach, tui=options.tui)


def attend(
    run: Run, settings: Settings, *, follow: bool, detach: bool, tui: bool = False, shows_outputs: bool = True
) -> int:
    """Shows a new run, waits for its end unless it is to be left alone, and shows that.

    From the moment that a run exists, an interrupt asks whether to leave it alone.

    Returns:
        The exit code.
    """
    announced = False
    while True:
        try:
            from flyte.cli._progress import show_progress

            if not announced and not settings.as_json:
                announced = True
                click.echo(f"{run.name}\n{run.url}")
            if detach:
                if settings.as_json:
                    _print_json(settings, run, {})
                return _exit.SUCCESS
            if tui:
                from flyte._tui import show
                from flyte._tui._source import RemoteSource

                tui = False  # after it, or an interrupt at the question, progress is shown as ever
                show(RemoteSource(run))
            show_progress(run, settings, follow=follow)
            return report(run, settings, shows_outputs=shows_outputs)
        except KeyboardInterrupt:
            if _detaches(run):
                return _exit.INTERRUPTED


def report(run: Run, settings: Settings, *, shows_outputs: bool = True) -> int:
    """Prints how a run ended, and its outputs.

    Returns:
        The exit code.
    """
    from flyte.remote._action import ROOT
    from flyte.remote._convert import end_line

    error = run.error
    outputs = _plain_outputs(run) if error is None and shows_outputs else {}
    if settings.as_json and (shows_outputs or error is not None):
        _print_json(settings, run, outputs)
    elif error is None and not settings.as_json:
        click.echo(end_line(ROOT, run.pb, None))
        for name, value in outputs.items():
            click.echo(f"{name}: {shown_value(value)}" if len(outputs) > 1 else shown_value(value))
    if error is not None:
        click.echo(end_line(ROOT, run.pb, error), err=True)
        _explain(run, error)
    return _exit.of_run(error)


def _explain(run: Run, error: errors.BaseRuntimeError) -> None:
    """The user's traceback, and where to look."""
    if error.user_traceback.strip():
        click.echo(error.user_traceback.rstrip(), err=True)
    click.echo(
        f"  its log:          flyte get logs {run.name}\n"
        f"  what else failed: flyte get action {run.name} --in-phase failed",
        err=True,
    )


def _plain_outputs(run: Run) -> dict[str, Any]:
    """Outputs as JSON has them."""
    from flyte.remote import Run as RemoteRun

    plain = RemoteRun(run._session, run.pb)
    outputs = plain.outputs()
    return {} if tuple(outputs) == (None,) else outputs.named_outputs


def _detaches(run: Run) -> bool:
    """Asks, on a terminal, whether to leave the run alone; elsewhere says that it goes on.

    Returns:
        False to go on waiting.
    """
    if sys.stdin.isatty() and sys.stderr.isatty():
        from flyte.cli._ask import ask

        if not ask(f"\nDetach from run {run.name}? It goes on without you [Y/n]: "):
            return False
    click.echo(
        f"Run {run.name} goes on: {run.url}\n"
        f"  watch it:  flyte get run {run.name}\n"
        f"  abort it:  flyte abort {run.name}",
        err=True,
    )
    return True


def _print_json(settings: Settings, run: Run, outputs: dict[str, Any]) -> None:
    error = run.error
    value = {
        "name": run.name,
        "project": run.project,
        "domain": run.domain,
        "url": run.url,
        "phase": run.known_phase.value,
        "outputs": outputs,
        "error": {"code": error.code, "message": error.message} if error is not None else None,
    }
    indent = 2 if settings.output_format == "json" else None
    click.echo(json.dumps(value, ensure_ascii=False, indent=indent))

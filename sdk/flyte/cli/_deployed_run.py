"""`flyte run deployed-task ENV.TASK[:VERSION] --input value`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from flyte.cli._arguments import options_of, values_of
from flyte.cli._groups import Command
from flyte.cli._settings import settings_of

if TYPE_CHECKING:
    from flyte._definition import Definition
    from flyte.cli._run_command import RunOptions
    from flyte.cli._settings import Settings
    from flyte.remote import Task


class DeployedTasks(click.Group):
    """The group whose commands are the deployed tasks."""

    def __init__(self) -> None:
        super().__init__(
            name="deployed-task",
            help="Run a deployed task. Without a name: list them.",
            invoke_without_command=True,
            callback=_list_tasks,
            subcommand_metavar="[ENV.TASK[:VERSION] [--INPUT VALUE]...]",
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """None: they are on the backend, and listed by calling it."""
        return []

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The first argument names the task."""
        if args[0].startswith("-"):
            raise click.NoSuchOption(args[0], ctx=ctx)
        return args[0], _command(ctx, args[0]), args[1:]


def _list_tasks() -> None:
    from flyte.cli._table import write_rows
    from flyte.remote import Task

    ctx = click.get_current_context()
    if ctx.invoked_subcommand is not None:
        return
    settings, _ = _opened(ctx)
    rows = [
        {"name": task.name, "version": task.version, "inputs": task.inputs, "outputs": task.outputs}
        for task in Task.listall(limit=1000)
    ]
    write_rows(settings, ("name", "version", "inputs", "outputs"), rows, "No task is deployed.")


def _command(ctx: click.Context, place: str) -> click.Command:
    """The command that runs a task, with the options that its definition says."""
    from flyte.remote import Task

    name, _, version = place.partition(":")
    if "." not in name:
        raise click.UsageError(f"{name!r} is no deployed task: write ENV.TASK or ENV.TASK:VERSION.", ctx)
    settings, options = _opened(ctx)
    handle = Task.get(name, version=version or None, auto_version=None if version else "latest")
    task = handle.fetch()
    definition = _definition(task)

    def callback(**given: Any) -> int:
        values = values_of(definition, given, click.get_current_context())
        return _launch(task, values, options, settings)

    return Command(
        name=place,
        params=options_of(definition),
        callback=callback,
        help=f"{task.description or f'Run {task.name}.'}\n\nVersion {task.version}.",
    )


def _definition(task: Task) -> Definition:
    from flyte._client._loop import LOOP
    from flyte._initialize import require_session

    return LOOP.run(task.definition(require_session()))


def _opened(ctx: click.Context) -> tuple[Settings, RunOptions]:
    """The settings, and the session that the options of ``flyte run`` ask for."""
    from flyte.cli._run_command import RunOptions

    options = ctx.find_object(RunOptions)
    assert options is not None  # `run` set it
    if options.local:
        raise click.UsageError("--local runs code of this machine: a deployed task runs on its backend.", ctx)
    _refuse(ctx, options)
    settings = settings_of(ctx.find_root())
    settings.open_session(options.project, options.domain, starts_backend=True)
    return settings, options


def _refuse(ctx: click.Context, options: RunOptions) -> None:
    """Refuses options that are about code: nothing is sent along."""
    given = {
        "--version": options.version,
        "--copy-style": options.copy_style != "loaded_modules",
        "--image": options.images,
        "--root-dir": options.root_dir,
        "--no-sync-local-sys-paths": not options.sync_local_sys_paths,
    }
    for name, value in given.items():
        if value:
            raise click.UsageError(f"{name} has no effect on a deployed task: leave it out.", ctx)


def _launch(task: Task, inputs: dict[str, Any], options: RunOptions, settings: Settings) -> int:
    from flyte._run import with_runcontext
    from flyte.cli._launch import attend

    context = with_runcontext(
        mode="remote",
        name=options.name,
        project=options.run_project,
        domain=options.run_domain,
        env_vars=options.env,
        service_account=options.service_account,
        raw_data_path=options.raw_data_path,
        debug=options.debug,
        labels=options.labels,
    )
    run: Any = context.run(task, **inputs)
    return attend(run, settings, follow=options.follow, detach=options.detach, tui=options.tui)

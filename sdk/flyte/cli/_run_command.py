"""`flyte run FILE TASK --input value`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from flyte.cli._arguments import key_values, options_of, values_of
from flyte.cli._code_options import code_options
from flyte.cli._groups import Command, unknown, write_examples
from flyte.cli._load import LoadedFile, load_file
from flyte.cli._settings import format_option, scope_options, settings_of

if TYPE_CHECKING:
    from flyte._task import TaskTemplate

_EXAMPLES = """
flyte run hello.py                             list the tasks of hello.py
flyte run hello.py greet --help                list the inputs of greet
flyte run hello.py greet --name World          run it and wait for it
flyte run --detach hello.py greet --name World run it and return at once
flyte run --follow hello.py greet --name World print what its tasks write, too
flyte run --local hello.py greet --name World  run it in this process
flyte run deployed-task                        list the deployed tasks
flyte run deployed-task my_env.greet --name W  run one
flyte run python-script train.py --cpu 2       run a file without tasks in it
flyte run hello.py sum --values '[1, 2, 3]'    lists and structures are JSON, or @FILE
"""

PYTHON_SCRIPT = "python-script"
"""Stands in front of a file that is run as it is."""
DEPLOYED = "deployed-task"
"""Stands in place of a file for what is deployed."""


@dataclass(frozen=True)
class RunOptions:
    """The options of ``flyte run`` before the file."""

    local: bool
    detach: bool
    follow: bool
    tui: bool
    name: str | None
    project: str | None
    domain: str | None
    copy_style: str
    root_dir: str | None
    version: str | None
    images: dict[str, str]
    env: dict[str, str]
    labels: dict[str, str]
    sync_local_sys_paths: bool = True
    raw_data_path: str | None = None
    service_account: str | None = None
    debug: bool = False
    run_project: str | None = None
    run_domain: str | None = None


class FileGroup(click.Group):
    """The group whose commands are Python files."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """What stands in place of a file; beside that any file will do."""
        return [DEPLOYED, PYTHON_SCRIPT]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """What stands in place of a file."""
        if cmd_name == PYTHON_SCRIPT:
            from flyte.cli._script_command import python_script

            return python_script
        if cmd_name == DEPLOYED:
            from flyte.cli._deployed_run import DeployedTasks

            return DeployedTasks()
        return None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Files, beside options and commands."""
        from click.shell_completion import CompletionItem

        return [*super().shell_complete(ctx, incomplete), CompletionItem(incomplete, type="file")]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The first argument is the file."""
        if args[0].startswith("-"):
            raise click.NoSuchOption(args[0], ctx=ctx)
        named = self.get_command(ctx, args[0])
        if named is not None:
            return args[0], named, args[1:]
        return args[0], TaskGroup(load_file(args[0], ctx.params["root_dir"])), args[1:]

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What follows ``flyte run``."""
        return ["[OPTIONS]", "FILE.py|deployed-task|python-script", "TASK", "[--INPUT VALUE]..."]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes examples as they are."""
        write_examples(self.epilog, formatter)


class TaskGroup(click.Group):
    """The tasks of a file."""

    def __init__(self, file: LoadedFile) -> None:
        super().__init__(
            name=file.path.name,
            help=f"Run a task of {file.path.name}.",
            no_args_is_help=True,
            subcommand_metavar="TASK [--INPUT VALUE]...",
        )
        self.file = file

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the tasks, in the order of the file."""
        return list(self.file.tasks)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command that runs a task; its fully qualified name is good, too."""
        task = self.file.tasks.get(cmd_name) or next(
            (task for task in self.file.tasks.values() if task.name == cmd_name), None
        )
        return None if task is None else task_command(self.file, task)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the task; says which are there when there is none."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(
                unknown(f"task in {self.file.path.name} named", args[0], list(self.file.tasks)), ctx
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes names and descriptions of the tasks."""
        rows = [(name, _first_line(task.description)) for name, task in self.file.tasks.items()]
        with formatter.section("Tasks"):
            formatter.write_dl(rows)


def task_command(file: LoadedFile, task: TaskTemplate[..., Any]) -> click.Command:
    """The command that runs a task."""

    def callback(**given: Any) -> int:
        from flyte.cli._launch import launch

        ctx = click.get_current_context()
        options = ctx.find_object(RunOptions)
        assert options is not None  # `run` set it
        settings = _settings_above(ctx)
        for name, value in (("--run-project", options.run_project), ("--run-domain", options.run_domain)):
            if value is not None:
                raise click.UsageError(
                    f"{name} is for deployed tasks: use {name.replace('run-', '')} for a file."
                )
        return launch(file, task, values_of(task, given, ctx), options, settings)

    return Command(
        name=task.func.__name__,
        params=options_of(task),
        callback=callback,
        help=_description(task),
        epilog=_example_of(file, task),
    )


def _settings_above(ctx: click.Context) -> Any:
    """`run` replaced the context's object by its own options; the settings are above."""
    return settings_of(ctx.find_root())


def _description(task: TaskTemplate[..., Any]) -> str:
    outputs = ", ".join(variable.codec.name for variable in task.interface.outputs) or "nothing"
    return f"{task.description or f'Run {task.name}.'}\n\nReturns {outputs}."


def _example_of(file: LoadedFile, task: TaskTemplate[..., Any]) -> str:
    inputs = [
        f"--{variable.name.replace('_', '-')} {variable.type_name}"
        for variable in task.interface.inputs
        if variable.required
    ]
    return " ".join(["flyte run", file.path.name, task.func.__name__, *inputs])


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _check_tui(detach: bool, follow: bool, as_json: bool) -> None:
    from flyte._tui import check_installed

    for name, given in (("--detach", detach), ("--follow", follow), ("--output-format json", as_json)):
        if given:
            raise click.UsageError(f"--tui and {name} exclude each other.")
    check_installed()
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("--tui needs a terminal: leave it out, or run the command on one.")


@click.group(
    cls=FileGroup,
    name="run",
    epilog=_EXAMPLES,
    no_args_is_help=True,
    context_settings={"max_content_width": 110},
)
@click.option("--local", is_flag=True, help="Run in this process, without a backend.")
@click.option("--detach", is_flag=True, help="Return as soon as the run is created.")
@click.option("-f", "--follow", is_flag=True, help="Print what all its tasks write, too.")
@click.option(
    "--tui", is_flag=True, help="Show it on the whole terminal, with logs and details of every action."
)
@click.option("--name", help="Name of the run.  [default: generated]")
@scope_options
@code_options("Version of the code.  [default: made of its content]")
@click.option("-e", "--env", multiple=True, metavar="KEY=VALUE", help="Environment variable of all actions.")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="Label of the run.")
@click.option(
    "--raw-data-path", metavar="PATH", help="Where tasks write bulk data.  [default: the backend's]"
)
@click.option("--run-project", help="Project of the run, for deployed-task only.  [default: the task's]")
@click.option("--run-domain", help="Domain of the run, for deployed-task only.  [default: the task's]")
@click.option("--service-account", help="Not available: tasks run as the backend's executor.")
@click.option("--debug", is_flag=True, help="Not available: run the file with mode='local' in your debugger.")
@click.option("-v", "--verbose", count=True, help="Say when actions change their phase.")
@format_option
@click.pass_context
def run(
    ctx: click.Context,
    local: bool,
    detach: bool,
    follow: bool,
    tui: bool,
    name: str | None,
    project: str | None,
    domain: str | None,
    copy_style: str,
    version: str | None,
    images: dict[str, str],
    root_dir: str | None,
    env: tuple[str, ...],
    label: tuple[str, ...],
    raw_data_path: str | None,
    sync_local_sys_paths: bool,
    run_project: str | None,
    run_domain: str | None,
    service_account: str | None,
    debug: bool,
    verbose: int,
) -> None:
    """Run a task of a Python file, or a deployed one.

    Prints the run's name and its page, waits for its end, and prints how it ended and the outputs.
    The exit code is 0 when it succeeded, 1 when the task or its image failed, 2 for a wrong command line, 3 when it
    was aborted, 4 when it timed out, 5 when the platform failed, 6 when access was denied, 7 when
    something was not found.
    """
    if detach and follow:
        raise click.UsageError("--detach and --follow exclude each other.")
    if tui:
        _check_tui(detach, follow, settings_of(ctx).as_json)
    if local and detach:
        raise click.UsageError("--local and --detach exclude each other: a local run ends with this process.")
    settings = settings_of(ctx)
    ctx.find_root().obj = replace(settings, verbosity=settings.verbosity + verbose)
    ctx.obj = RunOptions(
        local=local,
        detach=detach,
        follow=follow,
        tui=tui,
        name=name,
        project=project,
        domain=domain,
        copy_style=copy_style,
        root_dir=root_dir,
        version=version,
        images=images,
        env=key_values("--env", env),
        labels=key_values("--label", label),
        sync_local_sys_paths=sync_local_sys_paths,
        raw_data_path=raw_data_path,
        service_account=service_account,
        debug=debug,
        run_project=run_project,
        run_domain=run_domain,
    )

"""Entry point of the `flyte` command."""

from __future__ import annotations

import os
import sys

import click

from flyte.cli import _exit
from flyte.cli._groups import LazyGroup
from flyte.cli._settings import FORMATS, Settings

_COMMANDS = {
    "run": ("flyte.cli._run_command:run", "Run a task of a Python file."),
    "build": ("flyte.cli._images:build", "Build the images of an environment."),
    "deploy": ("flyte.cli._deploy:deploy", "Deploy tasks, so that they can be called by name."),
    "get": (
        "flyte.cli._get:get",
        "Show runs, actions, inputs and outputs, logs, tasks, images, projects, configuration.",
    ),
    "rerun": (
        "flyte.cli._rerun:rerun",
        "Run the task of an earlier run again, all of it or what did not succeed.",
    ),
    "abort": ("flyte.cli._abort:abort", "Abort a run, an action or the build of an image."),
    "delete": ("flyte.cli._delete:delete", "Remove an image."),
    "signal": ("flyte.cli._signal:signal", "Give a condition that a run waits for its value."),
    "create": ("flyte.cli._create:create", "Create a configuration file or a project."),
    "update": ("flyte.cli._update:update", "Change a project."),
    "start": (
        "flyte.cli._backend:start",
        "Start the embedded backend of this machine, or the text interface.",
    ),
    "stop": ("flyte.cli._backend:stop", "Stop the embedded backend. Runs are kept."),
    "status": ("flyte.cli._backend:status", "Say whether the embedded backend runs, and where."),
    "whoami": ("flyte.cli._whoami:whoami", "Say as whom commands talk to which backend."),
    "completion": ("flyte.cli._completion:completion", "Write the script for completion in a shell."),
    "gen": ("flyte.cli._gen:gen", "Generate documentation."),
}

_EXAMPLES = """
flyte run hello.py greet --name World    run a task; starts a backend on this machine when there is none
flyte run hello.py --help                list the tasks of a file
flyte deploy hello.py env                make its tasks known, to be called by name
flyte run --local hello.py greet ...     run it in this process
flyte get run                            list runs
flyte get logs RUN                       show what a run wrote
flyte abort RUN                          abort it
flyte signal RUN true                    answer the condition that it waits for
"""


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from flyte._version import __version__

        click.echo(f"Flyte SDK version: {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    commands_at=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=_EXAMPLES,
)
@click.option("--endpoint", help="Backend, such as dns:///flyte.example.com or localhost:8090.")
@click.option("--insecure/--secure", default=None, help="Use plain text, or TLS, to the backend.")
@click.option(
    "-c", "--config", metavar="FILE", help="Configuration file.  [default: search, see flyte get config]"
)
@click.option("-v", "--verbose", count=True, help="Say more; repeat for details of errors.")
@click.option("--org", help="Not available: this platform has no organisations.")
@click.option("--auth-type", help="Not available: the token of the backend goes into FLYTE_API_KEY.")
@click.option("--log-format", type=click.Choice(["console", "json"]), help="How the command itself logs.")
@click.option("--reset-root-logger", is_flag=True, help="Let all loggers write as the SDK's own does.")
@click.option(
    "-of", "--output-format", type=click.Choice(FORMATS), default="table", help="How to write results."
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version.",
)
@click.pass_context
def cli(
    ctx: click.Context,
    endpoint: str | None,
    insecure: bool | None,
    config: str | None,
    verbose: int,
    org: str | None,
    auth_type: str | None,
    log_format: str | None,
    reset_root_logger: bool,
    output_format: str,
) -> None:
    """Run Python functions as tasks on a backend, and see what they do."""
    ctx.obj = Settings(endpoint, insecure, config, verbose, output_format)  # type: ignore[arg-type]  # a choice
    if verbose:
        import logging

        logging.basicConfig(level=logging.DEBUG if verbose > 1 else logging.INFO, format="%(message)s")
    if org is not None:
        raise click.UsageError("--org is not available: this platform has no organisations. Leave it out.")
    if auth_type is not None:
        raise click.UsageError(
            "--auth-type is not available: the token of the backend goes into the environment variable FLYTE_API_KEY."
        )
    if log_format is not None or reset_root_logger:
        from flyte._logging import configure, log_variables

        level = (10 if verbose > 1 else 20) if verbose else None  # of the standard library: DEBUG or INFO
        configure(log_variables(level, log_format or "console", reset_root=reset_root_logger))


def invoke(arguments: list[str]) -> int:
    """Runs a command line.

    Args:
        arguments: What follows ``flyte``.

    Returns:
        The exit code.
    """
    try:
        result = cli.main(args=arguments, prog_name="flyte", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return _exit.INTERRUPTED
    except BrokenPipeError:
        return _exit.SUCCESS
    except Exception as error:  # noqa: BLE001 - the last line of defence turns anything into one message
        return _report(error, verbose="-vv" in arguments or arguments.count("-v") > 1)
    return result if isinstance(result, int) else _exit.SUCCESS


def _report(error: Exception, *, verbose: bool) -> int:
    from flyte import errors

    if verbose:
        import traceback

        traceback.print_exception(error)
    known = isinstance(error, (errors.BaseRuntimeError, ValueError, TypeError))
    text = (
        str(error) if known else f"{type(error).__name__}: {error} (a defect of the SDK: -vv shows details)"
    )
    click.echo(f"Error: {text}", err=True)
    code = _exit.of_error(error)
    hint = _exit.hint(error, code)
    if hint and hint not in text:
        click.echo(f"Next: {hint}", err=True)
    return code


def main() -> None:
    """Runs the command line of this process, and ends it with the exit code."""
    code = invoke(sys.argv[1:])
    try:
        sys.stdout.flush()
    except (
        BrokenPipeError
    ):  # the reader, such as `head`, has left: nothing more can be written at the exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


if __name__ == "__main__":
    main()

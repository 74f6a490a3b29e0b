"""`flyte run python-script FILE.py`: a Python file as it is, without tasks in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from flyte.cli import _exit
from flyte.cli._groups import Command
from flyte.cli._settings import settings_of
from flyte.cli._table import write_json

if TYPE_CHECKING:
    from flyte.cli._run_command import RunOptions
    from flyte.cli._settings import Settings

_EXAMPLES = """
flyte run python-script train.py --cpu 2 --memory 4Gi --packages scikit-learn,pandas
flyte run python-script train.py --extra-args --epochs,3 --output-dir out
flyte run --local python-script train.py --include-files '*.csv'
"""


def _parts(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> list[str]:
    return [part for value in values for part in value.split(",") if part]


@click.command(cls=Command, name="python-script", epilog=_EXAMPLES)
@click.argument("script", metavar="FILE.py", type=click.Path(exists=True, dir_okay=False))
@click.option("--cpu", help="Cores, such as 2 or 500m.")
@click.option("--memory", help="Memory, such as 2Gi.")
@click.option("--gpu", type=click.IntRange(min=1), help="Number of GPUs.")
@click.option("--gpu-type", help="Type of the GPUs, such as A100.")
@click.option("--image", help="Address of an image that has what the script imports.")
@click.option(
    "--packages", multiple=True, callback=_parts, help="Packages that it needs, separated by commas."
)
@click.option("--timeout", type=click.FloatRange(min=0), help="Longest run time in seconds.")
@click.option(
    "--extra-args", multiple=True, callback=_parts, help="Arguments of the script, separated by commas."
)
@click.option(
    "--output-dir", metavar="DIR", help="Directory whose content is kept, below that of the script."
)
@click.option("--include-files", multiple=True, metavar="GLOB", help="Further files; may be repeated.")
@click.option("--queue", help="Queue of the run.")
@click.pass_context
def python_script(ctx: click.Context, /, script: str, **given: Any) -> int:
    """Run FILE.py as it is on a backend, or with `flyte run --local` here.

    Shows the last lines that it wrote and its exit code. The exit code of the command is 1 when that is not 0.
    """
    from flyte._python_script import run_python_script
    from flyte.cli._run_command import RunOptions

    options = ctx.find_object(RunOptions)
    assert options is not None  # `run` set it
    refused = {
        "--tui": options.tui,
        "--env": options.env,
        "--label": options.labels,
        "--version": options.version,
        "--copy-style": options.copy_style != "loaded_modules",
        "--image before python-script": options.images,
        "--root-dir": options.root_dir,
        "--no-sync-local-sys-paths": not options.sync_local_sys_paths,
        "--raw-data-path": options.raw_data_path,
        "--run-project": options.run_project,
        "--run-domain": options.run_domain,
        "--service-account": options.service_account,
        "--debug": options.debug,
    }
    for name, value in refused.items():
        if value:
            raise click.UsageError(f"{name} is not available for scripts: leave it out.")
    settings = settings_of(ctx.find_root())
    if not options.local:
        settings.open_session(options.project, options.domain, starts_backend=True)
    mode = "local" if options.local else "remote"
    run: Any = run_python_script(script, **given, name=options.name, mode=mode)
    if options.local:
        run.wait(quiet=True)
        return _shown(run, settings)
    return _attended(run, settings, options)


def _attended(run: Any, settings: Settings, options: RunOptions) -> int:
    from flyte.cli._launch import attend

    code = attend(run, settings, follow=options.follow, detach=options.detach, shows_outputs=False)
    return code if options.detach or code != _exit.SUCCESS else _shown(run, settings)


def _shown(run: Any, settings: Settings) -> int:
    """Prints how a script ended that did run."""
    if run.error is not None:
        click.echo(f"✕ Execution failed: {run.error.code}: {run.error.message}", err=True)
        return _exit.of_run(run.error)
    result = run.result()
    directory = result.directory.path if result.directory is not None else None
    if settings.as_json:
        record = {
            "run": run.name,
            "exit_code": result.exit_code,
            "output": result.output,
            "directory": directory,
        }
        write_json(settings, record)
    else:
        click.echo(result.output, nl=not result.output.endswith("\n"))
        click.echo(f"The script ended with exit code {result.exit_code}.")
        if directory is not None:
            click.echo(f"Its output directory is {directory}")
    return _exit.SUCCESS if result.exit_code == 0 else _exit.TASK_FAILED

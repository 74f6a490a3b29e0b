"""`flyte deploy FILE [ENV_VAR]`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flyte.cli._code_options import code_options
from flyte.cli._groups import Command, unknown
from flyte.cli._settings import format_option, scope_options, settings_of
from flyte.cli._table import write_json, write_rows

if TYPE_CHECKING:
    from flyte._bundle._select import CopyStyle
    from flyte._deploy import Deployment
    from flyte._environment import TaskEnvironment
    from flyte.cli._settings import Settings

_EXAMPLES = """
flyte deploy hello.py env                       deploy the environment that hello.py calls env
flyte deploy --all hello.py                     deploy every environment of hello.py
flyte deploy --all --root-dir src src/app/main.py  imports start in src
flyte deploy --recursive --ignore-load-errors workflows    every file below workflows
flyte deploy --dry-run hello.py env             show what would be deployed
flyte run deployed-task my_env.greet --name World   run it
"""
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})


@click.command(cls=Command, epilog=_EXAMPLES)
@scope_options
@code_options("Version of all tasks.  [default: follows from code, images and settings]")
@click.option("--dry-run", "--dryrun", is_flag=True, help="Pack everything and show it, but send nothing.")
@click.option("-r", "--recursive", is_flag=True, help="FILE is a directory: deploy every file below it.")
@click.option("--all", "everything", is_flag=True, help="Deploy every environment of the file.")
@click.option(
    "-i",
    "--ignore-load-errors",
    is_flag=True,
    help="With --recursive: leave out files that cannot be imported.",
)
@format_option
@click.argument("file")
@click.argument("env_var", required=False)
@click.pass_context
def deploy(
    ctx: click.Context,
    project: str | None,
    domain: str | None,
    version: str | None,
    dry_run: bool,
    copy_style: CopyStyle,
    images: dict[str, str],
    root_dir: str | None,
    recursive: bool,
    everything: bool,
    ignore_load_errors: bool,
    sync_local_sys_paths: bool,
    file: str,
    env_var: str | None,
) -> None:
    """Deploy task environments, so that their tasks can be called by name.

    ENV_VAR is the variable of FILE that holds the environment. What an environment depends on is deployed, too.
    """
    import flyte
    from flyte._environment import walk
    from flyte.cli._code_options import check_images
    from flyte.cli._image_progress import ImageProgress

    if env_var is not None and (everything or recursive):
        raise click.UsageError("ENV_VAR excludes --all and --recursive: they deploy every environment.", ctx)
    if ignore_load_errors and not recursive:
        raise click.UsageError("--ignore-load-errors belongs to --recursive: a single file has to load.", ctx)
    if recursive:
        root, environments = _below(file, root_dir, ignore=ignore_load_errors)
    else:
        root, environments = _of_file(file, root_dir, env_var, everything=everything)
    check_images(images, walk(environments))
    settings = settings_of(ctx)
    session = settings.open_session(project, domain, starts_backend=not dry_run)
    session.root_dir = root
    session.own_images = images
    session.sync_local_sys_paths = sync_local_sys_paths
    with closing(ImageProgress(settings)) as progress:
        session.build_watcher = progress.see
        deployments = flyte.deploy(*environments, dryrun=dry_run, version=version, copy_style=copy_style)
    _report(settings, deployments)


def _of_file(
    file: str, root_dir: str | None, env_var: str | None, *, everything: bool
) -> tuple[Path, list[TaskEnvironment]]:
    from flyte.cli._load import load_module_file

    module, root = load_module_file(file, root_dir)
    found = _environments(vars(module))
    name = Path(file).name
    if not found:
        raise click.UsageError(
            f'No environments found in {name}. An environment is flyte.TaskEnvironment(name="my_env").'
        )
    if everything:
        return root, _distinct(found)
    if env_var is None:
        if len(found) == 1:
            return root, _distinct(found)
        raise click.UsageError(
            f"{name} has several environments: name one of {', '.join(found)}, or deploy all with --all."
        )
    if env_var not in found:
        raise click.UsageError(unknown(f"environment in {name} in a variable named", env_var, list(found)))
    return root, [found[env_var]]


def _below(folder: str, root_dir: str | None, *, ignore: bool) -> tuple[Path, list[TaskEnvironment]]:
    """The environments of all files below a directory, which is the root unless another one is named."""
    from flyte.cli._load import load_module_file

    directory = Path(folder).expanduser()
    if not directory.is_dir():
        raise click.UsageError(f"{folder} is not a directory; --recursive needs one.")
    root = Path(root_dir).expanduser().resolve() if root_dir is not None else directory.resolve()
    found: list[TaskEnvironment] = []
    failures = []
    for path in _python_files(directory):
        try:
            module, _ = load_module_file(str(path), str(root))
        except click.UsageError as error:
            failures.append(error.message)
            continue
        found.extend(_environments(vars(module)).values())
    for message in failures if ignore else ():
        click.echo(f"Left out: {message}", err=True)
    if failures and not ignore:
        more = "\n".join(failures)
        raise click.UsageError(f"{more}\n--ignore-load-errors leaves such files out.")
    if not found:
        raise click.UsageError(f"No environments found below {folder}.")
    return root, _distinct({str(id(each)): each for each in found})


def _python_files(directory: Path) -> Iterator[Path]:
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = Path(entry.path)
            if entry.is_dir():
                if not (
                    entry.name.startswith(".") or entry.name in _SKIPPED or (path / "pyvenv.cfg").is_file()
                ):
                    yield from _python_files(path)
            elif path.suffix == ".py":
                yield path


def _environments(names: dict[str, Any]) -> dict[str, TaskEnvironment]:
    from flyte._environment import TaskEnvironment

    return {name: value for name, value in names.items() if isinstance(value, TaskEnvironment)}


def _distinct(environments: dict[str, TaskEnvironment]) -> list[TaskEnvironment]:
    return list({id(environment): environment for environment in environments.values()}.values())


def _report(settings: Settings, deployments: list[Deployment]) -> None:
    environments = [dict(row) for deployment in deployments for row in deployment.env_repr()]
    entities = [dict(row) for deployment in deployments for row in deployment.table_repr()]
    if settings.as_json:
        [deployment] = deployments
        changed = [task.name for task in deployment.tasks if task.changed]
        value = {
            "version": deployment.version,
            "project": deployment.project,
            "domain": deployment.domain,
            "dry_run": deployment.dryrun,
            "environments": environments,
            "entities": entities,
            "changed": [] if deployment.dryrun else changed,
        }
        write_json(settings, value)
        return
    write_rows(settings, ("environment", "image"), environments, "There are no environments.")
    write_rows(settings, ("type", "name", "version", "triggers"), entities, "There are no tasks.")
    for deployment in deployments:
        click.echo(deployment.summary_repr())

"""`flyte get project`, `flyte get task` and `flyte get config`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from flyte.cli._groups import Command
from flyte.cli._settings import format_option, scope_options, settings_of
from flyte.cli._table import write_record, write_rows

if TYPE_CHECKING:
    from flyte.remote import Project, Task


@click.command(cls=Command, epilog="flyte get project\nflyte get project demo")
@click.argument("id", required=False)
@click.option("--archived", is_flag=True, help="List archived projects, too.")
@format_option
@click.pass_context
def project(ctx: click.Context, id: str | None, archived: bool) -> None:
    """List projects, or show the project ID."""
    from flyte.remote import Project

    settings = settings_of(ctx)
    settings.open_session()
    if id is not None:
        write_record(settings, project_record(Project.get(id)))
        return
    rows = [project_record(found) for found in Project.listall(include_archived=archived)]
    write_rows(settings, ("id", "name", "description", "domains", "archived"), rows, "There are no projects.")


def project_record(project: Project) -> dict[str, Any]:
    """What is shown of a project."""
    return {
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "labels": project.labels,
        "domains": list(project.domains),
        "archived": project.archived,
        "created": project.created_at,
    }


@click.command(cls=Command, epilog="flyte get task\nflyte get task my_env.greet")
@click.argument("name", required=False)
@click.argument("version", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Most tasks.")
@click.option("--entrypoint", is_flag=True, help="Only tasks that people are meant to start.")
@scope_options
@format_option
@click.pass_context
def task(
    ctx: click.Context,
    name: str | None,
    version: str | None,
    limit: int,
    entrypoint: bool,
    project: str | None,
    domain: str | None,
) -> None:
    """List deployed tasks, each in its newest version; the versions of the task NAME; or show one of them."""
    from flyte.remote import Task

    settings = settings_of(ctx)
    settings.open_session(project, domain)
    if version is not None:
        write_record(settings, _task_record(Task.get(name or "", version=version).fetch()))
        return
    found = Task.listall(by_task_name=name, limit=limit, entrypoint=entrypoint or None)
    rows = [_task_record(each) for each in found]
    columns = ("name", "version", "environment", "inputs", "outputs", "deployed")
    write_rows(settings, columns, rows, "No task is deployed. See: flyte deploy --help")


def _task_record(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "version": task.version,
        "environment": task.environment,
        "inputs": task.inputs,
        "outputs": task.outputs,
        "entrypoint": task.entrypoint,
        "description": task.description,
        "created": task.created_at,
        "deployed": task.deployed_at,
    }


@click.command(cls=Command, epilog="flyte get config\nflyte -c other.yaml get config")
@format_option
@click.pass_context
def config(ctx: click.Context) -> None:
    """Show the configuration that commands use here, and where it comes from."""
    from flyte._client._addresses import data_directory

    settings = settings_of(ctx)
    found = settings.open_session().config
    record = {
        "file": str(found.source) if found.source is not None else None,
        "endpoint": found.admin.endpoint,
        "insecure": found.admin.insecure,
        "project": found.task.project,
        "domain": found.task.domain,
        "image_builder": found.image.builder,
        "image_registry": found.image.registry,
        "image_refs": dict(found.image.image_refs),
        "local_persistence": found.local.persistence,
        "overrides": list(found.overrides),
    }
    if settings.as_json:
        write_record(settings, record)
        return
    embedded = f"the embedded backend of this machine (state in {data_directory()})"
    write_record(
        settings,
        {
            **record,
            "file": record["file"] or "none found (flyte create config makes one)",
            "endpoint": record["endpoint"] or embedded,
        },
    )

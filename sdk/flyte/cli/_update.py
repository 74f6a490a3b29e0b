"""`flyte update …`."""

from __future__ import annotations

from typing import Any

import click

from flyte.cli._groups import Command, LazyGroup
from flyte.cli._settings import format_option, settings_of
from flyte.cli._table import write_done

_COMMANDS = {"project": ("flyte.cli._update:project", "Change a project.")}


@click.group(cls=LazyGroup, commands_at=_COMMANDS, no_args_is_help=True)
def update() -> Any:
    """Change a project."""


@click.command(
    cls=Command, epilog='flyte update project demo --name "The demo"\nflyte update project demo --archive'
)
@click.argument("id")
@click.option("--name", help="New name.")
@click.option("--description", help="New description.")
@click.option("-l", "--label", multiple=True, metavar="KEY=VALUE", help="New labels, instead of all it has.")
@click.option("--archive/--unarchive", "archived", default=None, help="Take no new runs, or take them again.")
@format_option
@click.pass_context
def project(
    ctx: click.Context,
    id: str,
    name: str | None,
    description: str | None,
    label: tuple[str, ...],
    archived: bool | None,
) -> None:
    """Change what is given of the project ID."""
    from flyte.cli._arguments import key_values
    from flyte.cli._get_other import project_record
    from flyte.remote import Project

    if name is None and description is None and not label and archived is None:
        raise click.UsageError(
            "Nothing to change: give --name, --description, --label, --archive or --unarchive."
        )
    labels = key_values("--label", label)
    settings = settings_of(ctx)
    settings.open_session()
    changed = Project.get(id).update(name, description, labels or None, archived)
    write_done(settings, f"Project {id} updated.", project_record(changed))

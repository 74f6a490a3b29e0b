"""`flyte create …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from flyte.cli._groups import Command, LazyGroup
from flyte.cli._settings import format_option, settings_of
from flyte.cli._table import write_done

_COMMANDS = {
    "config": ("flyte.cli._create:config", "Create a configuration file."),
    "project": ("flyte.cli._create:project", "Create a project."),
}

_EXAMPLES = """
flyte create config --endpoint localhost:8090 --insecure --project demo
flyte create project --id demo --name "Demo"
"""


@click.group(cls=LazyGroup, commands_at=_COMMANDS, epilog=_EXAMPLES, no_args_is_help=True)
def create() -> Any:
    """Create a configuration file or a project."""


@click.command(
    cls=Command,
    epilog="flyte create config --endpoint localhost:8090 --insecure\nflyte create config --local-persistence",
)
@click.option("--endpoint", help="Backend, such as dns:///flyte.example.com or localhost:8090.")
@click.option("--insecure", is_flag=True, help="Use plain text instead of TLS.")
@click.option("--org", help="Not available: this platform has no organisations.")
@click.option("-p", "--project", help="Project of new runs.")
@click.option("-d", "--domain", help="Domain of new runs: development, staging or production.")
@click.option(
    "--builder",
    type=click.Choice(["local", "remote"]),
    help="What builds images: remote for the backend, local for this machine, with its Docker.",
)
@click.option("--auth-type", help="Not available: the token of the backend goes into FLYTE_API_KEY.")
@click.option("--local-persistence", is_flag=True, help="Record local runs, for flyte start tui.")
@click.option(
    "-o",
    "--output",
    default=".flyte/config.yaml",
    show_default=True,
    metavar="FILE",
    help="The file to write.",
)
@click.option("--force", is_flag=True, help="Overwrite the file without asking.")
def config(
    endpoint: str | None,
    insecure: bool,
    org: str | None,
    project: str | None,
    domain: str | None,
    builder: str | None,
    auth_type: str | None,
    local_persistence: bool,
    output: str,
    force: bool,
) -> None:
    """Create a configuration file that every command and program below its directory uses."""
    import yaml

    from flyte._client._channel import Endpoint
    from flyte.errors import InitializationError

    refused = {
        "--org": (org, "this platform has no organisations"),
        "--auth-type": (
            auth_type,
            "the token of the backend goes into the environment variable FLYTE_API_KEY",
        ),
    }
    for name, (value, why) in refused.items():
        if value:
            raise click.UsageError(f"{name} is not available: {why}. Leave it out.")
    if endpoint is None and not local_persistence and builder is None:
        raise click.UsageError(
            "Missing option --endpoint, such as --endpoint localhost:8090, --builder, or --local-persistence."
        )
    try:
        if endpoint is not None:
            Endpoint.parse(endpoint, insecure=insecure)
    except InitializationError as error:
        raise click.UsageError(f"--{error.message}") from None
    path = Path(output).expanduser()
    if path.exists() and not force and not click.confirm(f"{path} exists. Overwrite it?"):
        click.echo(f"Will not overwrite the existing config file at {path}")
        return
    content: dict[str, dict[str, Any]] = {}
    if endpoint is not None:
        content["admin"] = {"endpoint": endpoint, "insecure": insecure}
    if builder is not None:
        content["image"] = {"builder": builder}
    task = {key: value for key, value in {"project": project, "domain": domain}.items() if value}
    if task:
        content["task"] = task
    if local_persistence:
        content["local"] = {"persistence": True}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}.") from None
    click.echo(f"Config file written to {path}")


@click.command(cls=Command, epilog='flyte create project --id demo --name "Demo" -l team=data')
@click.option("--id", required=True, help="Identifier: lower case letters, digits and hyphens.")
@click.option("--name", help="Name for people.  [default: the identifier]")
@click.option("--description", default="", help="What it is for.")
@click.option("-l", "--label", multiple=True, metavar="KEY=VALUE", help="Label; may be repeated.")
@format_option
@click.pass_context
def project(ctx: click.Context, id: str, name: str | None, description: str, label: tuple[str, ...]) -> None:
    """Create a project. It has the domains development, staging and production."""
    from flyte.cli._arguments import key_values
    from flyte.cli._get_other import project_record
    from flyte.remote import Project

    labels = key_values("--label", label)
    settings = settings_of(ctx)
    settings.open_session()
    created = Project.create(id, name or id, description, labels)
    write_done(settings, f"Project {id} created successfully!", project_record(created))

"""`flyte get io`."""

from __future__ import annotations

from typing import Any

import click

from flyte.cli._get_action import actions_of
from flyte.cli._groups import Command
from flyte.cli._settings import format_option, local_option, scope_options, settings_of
from flyte.cli._table import write_json


@click.command(cls=Command, epilog="flyte get io RUN\nflyte -of json get io RUN ACTION --outputs-only")
@click.argument("run")
@click.argument("action", required=False, default="a0")
@click.option("-i", "--inputs-only", is_flag=True, help="Only inputs.")
@click.option("-o", "--outputs-only", is_flag=True, help="Only outputs.")
@local_option
@scope_options
@format_option
@click.pass_context
def io(
    ctx: click.Context,
    run: str,
    action: str,
    inputs_only: bool,
    outputs_only: bool,
    local: bool,
    project: str | None,
    domain: str | None,
) -> None:
    """Show inputs and outputs of RUN, or of its ACTION."""
    if inputs_only and outputs_only:
        raise click.UsageError("--inputs-only and --outputs-only exclude each other.")
    settings = settings_of(ctx)
    found = actions_of(settings, local, project, domain).get(run_name=run, name=action)
    shown: dict[str, Any] = {}
    if not outputs_only:
        shown["inputs"] = dict(found.inputs())
    if not inputs_only:
        succeeded = found.known_phase.value == "succeeded"
        outputs = found.outputs() if succeeded else None
        shown["outputs"] = (
            outputs.named_outputs if outputs is not None and tuple(outputs) != (None,) else None
        )
    if settings.as_json:
        write_json(settings, shown)
        return
    for title, values in shown.items():
        click.echo(title.capitalize())
        _write_values(
            values, f"none: the action is {found.known_phase.value}" if title == "outputs" else "none"
        )


def _write_values(values: dict[str, Any] | None, none: str) -> None:
    from flyte.cli._arguments import shown_value

    if not values:
        click.echo(f"  ({none})")
        return
    for name, value in values.items():
        click.echo(f"  {name}: {shown_value(value)}")

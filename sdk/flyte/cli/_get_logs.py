"""`flyte get logs`."""

from __future__ import annotations

import click

from flyte.cli._get_action import actions_of
from flyte.cli._groups import Command
from flyte.cli._settings import format_option, local_option, scope_options, settings_of
from flyte.cli._table import write_json


@click.command(
    cls=Command,
    epilog="flyte get logs RUN --follow\nflyte get logs RUN ACTION --attempt 0 --lines 20 --show-ts",
)
@click.argument("run")
@click.argument("action", required=False, default="a0")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until the action has ended.")
@click.option(
    "-l",
    "--lines",
    type=click.IntRange(min=1),
    help="Only so many of the last lines.  [default: all of them]",
)
@click.option("--show-ts", is_flag=True, help="Show the time of each line.")
@click.option("--pretty", is_flag=True, help="Show the time of each line, apart from what the task wrote.")
@click.option(
    "--filter-system", is_flag=True, help="Only what user code wrote: there is nothing else in these logs."
)
@click.option("-a", "--attempt", type=click.IntRange(min=0), help="Attempt, from 0.  [default: the newest]")
@local_option
@scope_options
@format_option
@click.pass_context
def logs(
    ctx: click.Context,
    run: str,
    action: str,
    follow: bool,
    lines: int | None,
    show_ts: bool,
    pretty: bool,
    filter_system: bool,
    attempt: int | None,
    local: bool,
    project: str | None,
    domain: str | None,
) -> None:
    """Show what RUN wrote, or its ACTION."""
    if follow and lines is not None:
        raise click.UsageError("--follow shows all lines: leave --lines out.")
    settings = settings_of(ctx)
    found = actions_of(settings, local, project, domain).get(run_name=run, name=action)
    for line in found.get_logs(attempt=attempt, max_lines=lines, follow=follow):
        if settings.as_json:
            entry = {"time": line.time, "text": line.text}
            write_json(settings, entry if line.attempt is None else {**entry, "attempt": line.attempt})
        else:
            click.echo(line.render(show_ts=show_ts, apart=pretty))

"""`flyte get report`."""

from __future__ import annotations

from pathlib import Path

import click

from flyte.cli._groups import Command
from flyte.cli._settings import format_option, scope_options, settings_of
from flyte.cli._table import write_record


@click.command(cls=Command, epilog="flyte get report RUN --open")
@click.argument("run")
@click.argument("action", required=False, default="a0")
@click.option(
    "-a",
    "--attempt",
    type=click.IntRange(min=0),
    help="Attempt, from 0.  [default: the newest that has a report]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="File to write to; - for standard output.  [default: RUN-ACTION.html]",
)
@click.option("--open", "opens", is_flag=True, help="Open the file in a browser.")
@scope_options
@format_option
@click.pass_context
def report(
    ctx: click.Context,
    run: str,
    action: str,
    attempt: int | None,
    output: Path | None,
    opens: bool,
    project: str | None,
    domain: str | None,
) -> None:
    """Write the report of RUN, or of its ACTION, to a file."""
    from flyte.remote import Action

    to_output = output == Path("-")
    if opens and to_output:
        raise click.UsageError("--open needs a file: leave `-o -` out.")
    settings = settings_of(ctx)
    settings.open_session(project, domain)
    html = Action.get(run_name=run, name=action).get_report(attempt)
    if to_output:
        click.echo(html, nl=False)
        return
    path = (output or Path(f"{run}-{action}.html")).absolute()
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise click.FileError(str(path), error.strerror) from error
    if settings.as_json:
        write_record(settings, {"path": str(path), "size": path.stat().st_size})
    else:
        click.echo(str(path))
    if opens:
        import webbrowser

        if not webbrowser.open(path.as_uri()):
            raise click.ClickException(f"no browser can be opened here: the report is in {path}")

"""`flyte get code`."""

from __future__ import annotations

import click

from flyte.cli._groups import Command
from flyte.cli._settings import format_option, scope_options, settings_of
from flyte.cli._table import write_done

_EXAMPLES = """
flyte get code RUN                    the code that a run was started with
flyte get code my_env.greet -o code   that of a deployed task, in its newest version
flyte get code my_env.greet:1.4       in a given one
"""


@click.command(cls=Command, epilog=_EXAMPLES)
@click.argument("name", metavar="RUN|ENV.TASK[:VERSION]")
@click.option("-o", "--output-dir", metavar="DIR", help="Empty directory to write to.  [default: the name]")
@scope_options
@format_option
@click.pass_context
def code(
    ctx: click.Context, name: str, output_dir: str | None, project: str | None, domain: str | None
) -> None:
    """Write the code of a run, or of a deployed task, to a directory."""
    from flyte.remote import Run, Task

    settings = settings_of(ctx)
    settings.open_session(project, domain)
    task, _, version = name.partition(":")
    found: Run | Task
    if "." in task:
        found = Task.get(task, version=version or None, auto_version=None if version else "latest").fetch()
    else:
        found = Run.get(name)
    place = output_dir or name.replace(":", "-")
    files = found.get_code(place)
    record = {"directory": place, "files": [str(path) for path in files]}
    write_done(settings, f"Wrote {len(files)} file{'s' * (len(files) != 1)} to {place}.", record)

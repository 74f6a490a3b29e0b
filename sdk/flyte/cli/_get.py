"""`flyte get …`."""

from __future__ import annotations

from typing import Any

import click

from flyte.cli._groups import LazyGroup

_COMMANDS = {
    "run": ("flyte.cli._get_run:run", "List runs, or show one."),
    "action": ("flyte.cli._get_action:action", "List the actions of a run, or show one."),
    "io": ("flyte.cli._get_io:io", "Show inputs and outputs of a run or an action."),
    "report": ("flyte.cli._get_report:report", "Write the report of a run or an action to a file."),
    "logs": ("flyte.cli._get_logs:logs", "Show what a run or an action wrote."),
    "code": ("flyte.cli._get_code:code", "Write the code of a run or a deployed task to a directory."),
    "image": ("flyte.cli._images:image", "List images, or show one."),
    "project": ("flyte.cli._get_other:project", "List projects, or show one."),
    "task": ("flyte.cli._get_other:task", "List tasks, or show one."),
    "config": ("flyte.cli._get_other:config", "Show the configuration, and where it comes from."),
}

_EXAMPLES = """
flyte get run                          list runs, newest first
flyte get run --in-phase failed        only those that failed
flyte get run RUN                      show one
flyte get action RUN                   list its actions
flyte get io RUN                       show its inputs and outputs
flyte get logs RUN --follow            show what it writes
flyte get report RUN --open            look at its report
flyte get code RUN                     write the code that it runs to a directory
flyte -of json get run RUN             the same as JSON
"""


@click.group(cls=LazyGroup, commands_at=_COMMANDS, epilog=_EXAMPLES, no_args_is_help=True)
def get() -> Any:
    """Show runs, actions, inputs and outputs, logs, reports, code, tasks, images, projects or the configuration."""

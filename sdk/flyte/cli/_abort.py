"""`flyte abort …`."""

from __future__ import annotations

from typing import Any

import click

from flyte.cli._groups import Command, LazyGroup
from flyte.cli._settings import scope_options, settings_of

DEFAULT_REASON = "Manually aborted from the CLI"

_COMMANDS = {
    "run": ("flyte.cli._abort:run", "Abort a run."),
    "action": ("flyte.cli._abort:action", "Abort an action and everything below it."),
    "either": ("flyte.cli._abort:either", ""),
}

_EXAMPLES = """
flyte abort RUN                        abort a run
flyte abort RUN ACTION                 abort an action and everything below it
flyte abort RUN --reason "wrong data"  say why
"""


@click.group(
    cls=LazyGroup,
    commands_at=_COMMANDS,
    default="either",
    epilog=_EXAMPLES,
    no_args_is_help=True,
    subcommand_metavar="RUN [ACTION]",
)
def abort() -> Any:
    """Abort a run, or an action and everything below it."""


def _reason_option(function: Any) -> Any:
    return click.option("--reason", default=DEFAULT_REASON, show_default=True, help="Why, shown to people.")(
        function
    )


@click.command(cls=Command)
@click.argument("name")
@_reason_option
@scope_options
@click.pass_context
def run(ctx: click.Context, name: str, reason: str, project: str | None, domain: str | None) -> None:
    """Abort the run NAME."""
    settings_of(ctx).open_session(project, domain)
    _abort_run(name, reason)


@click.command(cls=Command)
@click.argument("run")
@click.argument("action")
@_reason_option
@scope_options
@click.pass_context
def action(
    ctx: click.Context, run: str, action: str, reason: str, project: str | None, domain: str | None
) -> None:
    """Abort the action ACTION of RUN, and everything below it."""
    settings_of(ctx).open_session(project, domain)
    _abort_action(run, action, reason)


@click.command(cls=Command, name="abort")
@click.argument("run")
@click.argument("action", required=False)
@_reason_option
@scope_options
@click.pass_context
def either(
    ctx: click.Context, run: str, action: str | None, reason: str, project: str | None, domain: str | None
) -> None:
    """Abort RUN, or its ACTION and everything below it."""
    settings_of(ctx).open_session(project, domain)
    if action is None:
        _abort_run(run, reason)
    else:
        _abort_action(run, action, reason)


def _abort_run(name: str, reason: str) -> None:
    from flyte.remote import Run

    run = Run.get(name)
    if run.abort(reason):
        click.echo(f"Run '{name}' has been aborted.")
    else:
        click.echo(f"Run '{name}' had ended already: {run.sync().known_phase.value}.")


def _abort_action(run: str, name: str, reason: str) -> None:
    from flyte.remote import Action

    action = Action.get(run_name=run, name=name)
    if action.abort(reason):
        click.echo(f"Action '{name}' of run '{run}' has been aborted.")
    else:
        click.echo(f"Action '{name}' of run '{run}' had ended already: {action.sync().known_phase.value}.")

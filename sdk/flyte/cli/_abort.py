"""`flyte abort …`."""

from __future__ import annotations

from typing import Any

import click

from flyte.cli._groups import Command, LazyGroup
from flyte.cli._settings import Settings, format_option, scope_options, settings_of
from flyte.cli._table import write_done

DEFAULT_REASON = "Manually aborted from the CLI"

_COMMANDS = {
    "run": ("flyte.cli._abort:run", "Abort a run."),
    "action": ("flyte.cli._abort:action", "Abort an action and everything below it."),
    "image": ("flyte.cli._images:abort_image", "End the build of an image."),
    "either": ("flyte.cli._abort:either", ""),
}

_EXAMPLES = """
flyte abort RUN                        abort a run
flyte abort RUN ACTION                 abort an action and everything below it
flyte abort RUN --reason "wrong data"  say why
flyte abort image NAME                 end the build of an image
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
    """Abort a run, an action and everything below it, or the build of an image."""


def _reason_option(function: Any) -> Any:
    return click.option("--reason", default=DEFAULT_REASON, show_default=True, help="Why, shown to people.")(
        function
    )


@click.command(cls=Command, epilog="flyte abort run RUN --reason 'wrong data'")
@click.argument("name")
@_reason_option
@scope_options
@format_option
@click.pass_context
def run(ctx: click.Context, name: str, reason: str, project: str | None, domain: str | None) -> None:
    """Abort the run NAME."""
    settings = settings_of(ctx)
    settings.open_session(project, domain)
    _abort_run(settings, name, reason)


@click.command(cls=Command, epilog="flyte abort action RUN ACTION")
@click.argument("run")
@click.argument("action")
@_reason_option
@scope_options
@format_option
@click.pass_context
def action(
    ctx: click.Context, run: str, action: str, reason: str, project: str | None, domain: str | None
) -> None:
    """Abort the action ACTION of RUN, and everything below it."""
    settings = settings_of(ctx)
    settings.open_session(project, domain)
    _abort_action(settings, run, action, reason)


@click.command(cls=Command, name="abort")
@click.argument("run")
@click.argument("action", required=False)
@_reason_option
@scope_options
@format_option
@click.pass_context
def either(
    ctx: click.Context, run: str, action: str | None, reason: str, project: str | None, domain: str | None
) -> None:
    """Abort RUN, or its ACTION and everything below it."""
    settings = settings_of(ctx)
    settings.open_session(project, domain)
    if action is None:
        _abort_run(settings, run, reason)
    else:
        _abort_action(settings, run, action, reason)


def _abort_run(settings: Settings, name: str, reason: str) -> None:
    from flyte.remote import Run

    run = Run.get(name)
    accepted = run.abort(reason)
    phase = run.sync().known_phase.value
    text = f"Run '{name}' has been aborted." if accepted else f"Run '{name}' had ended already: {phase}."
    write_done(settings, text, {"run": name, "aborted": accepted, "phase": phase})


def _abort_action(settings: Settings, run: str, name: str, reason: str) -> None:
    from flyte.remote import Action

    action = Action.get(run_name=run, name=name)
    accepted = action.abort(reason)
    phase = action.sync().known_phase.value
    end = "has been aborted." if accepted else f"had ended already: {phase}."
    record = {"run": run, "action": name, "aborted": accepted, "phase": phase}
    write_done(settings, f"Action '{name}' of run '{run}' {end}", record)

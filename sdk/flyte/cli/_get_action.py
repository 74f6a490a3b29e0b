"""`flyte get action`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from flyte.cli._groups import Command
from flyte.cli._phases import PHASES
from flyte.cli._settings import format_option, local_option, refuse_with_local, scope_options, settings_of
from flyte.cli._table import write_record, write_rows

if TYPE_CHECKING:
    from flyte._details import AttemptDetails
    from flyte._local._stored import StoredAction
    from flyte.cli._settings import Settings
    from flyte.remote import Action

_COLUMNS = (
    "action",
    "task",
    "type",
    "phase",
    "start",
    "end",
    "duration",
    "group",
    "parent",
    "attempts",
    "cache_status",
    "progress",
    "wait_reason",
)


@click.command(cls=Command, epilog="flyte get action RUN --in-phase failed\nflyte get action RUN ACTION")
@click.argument("run")
@click.argument("action", required=False)
@click.option("--in-phase", multiple=True, type=PHASES, help="Only actions in this phase; may be repeated.")
@local_option
@scope_options
@format_option
@click.pass_context
def action(
    ctx: click.Context,
    run: str,
    action: str | None,
    in_phase: tuple[str, ...],
    local: bool,
    project: str | None,
    domain: str | None,
) -> None:
    """List the actions of RUN in the order of their start; or show ACTION with its attempts."""
    settings = settings_of(ctx)
    actions = actions_of(settings, local, project, domain)
    if action is not None:
        write_record(settings, _record(actions.get(run_name=run, name=action), as_json=settings.as_json))
        return
    rows = [_row(found) for found in actions.listall(for_run_name=run, in_phase=in_phase or None)]
    write_rows(settings, _COLUMNS, rows, f"Run {run!r} has no actions that match.")


def actions_of(
    settings: Settings, local: bool, project: str | None, domain: str | None
) -> type[Action] | type[StoredAction]:
    """Where actions are found: on the backend, or among the recorded local runs.

    Raises:
        click.UsageError: A project or domain is given for local runs.
    """
    if local:
        from flyte._local._stored import StoredAction

        refuse_with_local(local, project=project, domain=domain)
        return StoredAction
    from flyte.remote import Action

    settings.open_session(project, domain)
    return Action


def _row(action: Action | StoredAction) -> dict[str, Any]:
    from flyte._marks import shown_duration

    duration = action.duration
    return {
        "run": action.run_name,
        "action": action.name,
        "task": action.task_name,
        "type": action.kind,
        "phase": action.known_phase.value,
        "start": action.start_time,
        "end": action.end_time,
        "duration": shown_duration(duration) if duration is not None else None,
        "duration_seconds": duration.total_seconds() if duration is not None else None,
        "group": action.group,
        "parent": action.parent,
        "attempts": action.attempts,
        "cache_status": action.cache_status,
        "progress": str(action.progress) if action.progress is not None else None,
        "wait_reason": action.wait_reason or None,
    }


def _record(action: Action | StoredAction, *, as_json: bool) -> dict[str, Any]:
    details = action.details()
    error = action.error
    attempts = [_attempt(attempt) for attempt in details.attempts]
    return {
        **_row(action),
        "cached_from": details.cached_from,
        "cache_reason": details.cache_reason or None,
        "links": dict(details.links) if as_json else "\n".join(f"{n}: {u}" for n, u in details.links.items()),
        "custom_context": dict(details.custom_context) or None,
        "error": f"{error.code}: {error.message}" if error is not None else None,
        "traceback": error.user_traceback if error is not None else None,
        "attempts": attempts if as_json else "\n".join(_attempt_line(attempt) for attempt in attempts),
    }


def _attempt(attempt: AttemptDetails) -> dict[str, Any]:
    error = attempt.error_info
    return {
        "number": attempt.number,
        "phase": attempt.phase.value,
        "node": attempt.node or None,
        "start": attempt.start_time,
        "end": attempt.end_time,
        "error": f"{error.code}: {error.message}" if error is not None else None,
        "peak_memory_bytes": attempt.peak_memory_bytes or None,
        "image": attempt.image or None,
    }


def _attempt_line(attempt: dict[str, Any]) -> str:
    parts = [str(attempt["number"]), attempt["phase"], f"on {attempt['node']}" if attempt["node"] else ""]
    image = f"in {attempt['image']}" if attempt["image"] else ""
    return "  ".join(part for part in [*parts, image, attempt["error"]] if part)

"""`flyte get run`."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import click

from flyte.cli._groups import Command
from flyte.cli._phases import PHASES
from flyte.cli._settings import format_option, local_option, refuse_with_local, scope_options, settings_of
from flyte.cli._table import write_record, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flyte._local._stored import StoredRun
    from flyte.remote import Run

_COLUMNS = ("name", "task", "phase", "start", "end", "duration", "labels")


@click.command(
    cls=Command,
    epilog="flyte get run --in-phase failed --label team=data\nflyte get run RUN\nflyte get run --local",
)
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Most runs.")
@click.option("--in-phase", multiple=True, type=PHASES, help="Only runs in this phase; may be repeated.")
@click.option("--task-name", help="Only runs of this task, such as my_env.greet.")
@click.option("--task-version", help="Only runs of this version of the code.")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="Only runs with this label.")
@click.option("--only-mine", is_flag=True, help="Not available: there are no users yet.")
@click.option("--created-after", type=click.DateTime(), help="Only runs created at or after this local time.")
@click.option("--created-before", type=click.DateTime(), help="Only runs created before this local time.")
@click.option(
    "--updated-after", type=click.DateTime(), help="Only runs that changed at or after this local time."
)
@click.option(
    "--updated-before", type=click.DateTime(), help="Only runs that last changed before this local time."
)
@click.option(
    "--sort-by",
    type=(click.Choice(["created_at", "updated_at"]), click.Choice(["asc", "desc"])),
    metavar="FIELD DIRECTION",
    help="created_at or updated_at (the newest change), asc or desc; created_at desc unless given.",
)
@local_option
@scope_options
@format_option
@click.pass_context
def run(
    ctx: click.Context,
    name: str | None,
    limit: int,
    in_phase: tuple[str, ...],
    task_name: str | None,
    task_version: str | None,
    only_mine: bool,
    label: tuple[str, ...],
    created_after: datetime | None,
    created_before: datetime | None,
    updated_after: datetime | None,
    updated_before: datetime | None,
    sort_by: tuple[str, Literal["asc", "desc"]] | None,
    local: bool,
    project: str | None,
    domain: str | None,
) -> None:
    """List runs, newest first unless asked otherwise; or show the run NAME with its root action."""
    from flyte.cli._arguments import key_values

    if only_mine:
        raise click.UsageError(
            "--only-mine is not available: there are no users yet. Give runs a label, and use --label."
        )
    settings = settings_of(ctx)
    filters: dict[str, Any] = {
        "in_phase": in_phase or None,
        "task_name": task_name,
        "limit": limit,
        "labels": key_values("--label", label) or None,
        "created_after": created_after,
        "created_before": created_before,
    }
    found: Iterable[Run | StoredRun]
    if local:
        from flyte._local._stored import StoredRun

        remote = {"updated_after": updated_after, "updated_before": updated_before, "sort_by": sort_by}
        refuse_with_local(local, task_version=task_version, project=project, domain=domain, **remote)
        where = "the local store"
        found = [StoredRun.get(name)] if name is not None else StoredRun.listall(**filters)
    else:
        from flyte.remote import Run

        session = settings.open_session(project, domain)
        where = f"project {session.project!r}, domain {session.domain!r}"
        filters |= {
            "task_version": task_version,
            "updated_at": (updated_after, updated_before),
            "sort_by": sort_by,
        }
        found = [Run.get(name)] if name is not None else Run.listall(**filters)
    if name is not None:
        write_record(settings, _record(next(iter(found))))
        return
    rows = [_row(run) for run in found]
    write_rows(settings, _COLUMNS, rows, f"There are no runs in {where} that match.")
    if len(rows) == limit and not settings.as_json:
        click.echo(f"The {'first' if sort_by else 'newest'} {limit}; --limit shows more.", file=sys.stderr)


def _row(run: Run | StoredRun) -> dict[str, Any]:
    from flyte._marks import shown_duration

    duration = run.duration
    return {
        "name": run.name,
        "task": run.task_name,
        "phase": run.known_phase.value,
        "start": run.created_at,
        "end": run.end_time,
        "duration": shown_duration(duration) if duration is not None else None,
        "duration_seconds": duration.total_seconds() if duration is not None else None,
        "labels": run.labels,
        "version": run.task_version,
        "project": run.project,
        "domain": run.domain,
        "url": run.url,
    }


def _record(run: Run | StoredRun) -> dict[str, Any]:
    details = run.details()
    action = details.action_details
    error = run.error
    last = action.attempts[-1] if action.attempts else None
    return {
        **_row(run),
        "actions": details.action_count,
        "attempts": len(action.attempts),
        "node": last.node or None if last is not None else None,
        "trace_id": getattr(details, "trace_id", None),
        "error": f"{error.code}: {error.message}" if error is not None else None,
        "traceback": error.user_traceback or None if error is not None else None,
    }

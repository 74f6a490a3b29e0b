"""`flyte start`, `flyte stop` and `flyte status`: the embedded backend."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from flyte.cli._exit import PLATFORM
from flyte.cli._groups import Command, LazyGroup
from flyte.cli._settings import format_option, settings_of
from flyte.cli._table import write_done

if TYPE_CHECKING:
    from pathlib import Path

    from flyte._client._addresses import BackendFile


_COMMANDS = {
    "backend": ("flyte.cli._backend:backend", "Start the embedded backend of this machine (the default)."),
    "tui": ("flyte.cli._start_tui:tui", "Show recorded local runs on the terminal."),
}

_EXAMPLES = """
flyte start                            start the embedded backend, and return
flyte start --foreground               start it and stay
flyte run hello.py greet --name World  use it
flyte stop                             stop it
flyte start tui                        show recorded local runs
"""


@click.group(
    cls=LazyGroup,
    commands_at=_COMMANDS,
    default="backend",
    default_without_arguments=True,
    epilog=_EXAMPLES,
    subcommand_metavar="[COMMAND] [OPTIONS]",
)
def start() -> Any:
    """Start the embedded backend of this machine, or the text interface of local runs."""


@click.command(cls=Command, epilog="flyte start\nflyte run hello.py greet --name World\nflyte stop")
@click.option(
    "--detach/--foreground", default=True, help="Return as soon as it is ready, or stay.  [default: detach]"
)
@format_option
@click.pass_context
def backend(ctx: click.Context, detach: bool) -> None:
    """Start the embedded backend of this machine: all services in one process.

    `flyte run` starts it by itself when there is no configuration.
    """
    from flyte._client._addresses import data_directory
    from flyte._client._embedded import find_backend, hangar_command, start_backend
    from flyte._client._loop import LOOP

    settings = settings_of(ctx)
    if not detach:
        command = hangar_command()
        os.execv(command, [command, "up"])  # noqa: S606 - the terminal belongs to the backend from here on
    directory = data_directory()
    found = LOOP.run(find_backend(directory))
    text = "The embedded backend runs already: gRPC {0.grpc}, pages {0.http}."
    if found is None:
        text = ""
        found = LOOP.run(start_backend(directory, lambda said: click.echo(said, err=True)))
    if text or settings.as_json:
        write_done(settings, text.format(found), _record(directory, found))


@click.command(cls=Command, epilog="flyte stop")
@format_option
@click.pass_context
def stop(ctx: click.Context) -> None:
    """Stop the embedded backend. Runs are kept, and go on when it is started again."""
    from flyte._client._embedded import stop_backend
    from flyte._client._loop import LOOP

    stopped = LOOP.run(stop_backend())
    text = "The embedded backend does not run."
    if stopped is not None:
        text = f"The embedded backend (process {stopped.pid}) has stopped."
    write_done(settings_of(ctx), text, {"stopped": stopped is not None})


@click.command(cls=Command, epilog="flyte status\nflyte -of json status")
@format_option
@click.pass_context
def status(ctx: click.Context) -> int:
    """Say whether the embedded backend runs, and where. The exit code is 5 when it does not."""
    from flyte._client._addresses import data_directory
    from flyte._client._embedded import find_backend
    from flyte._client._loop import LOOP

    settings = settings_of(ctx)
    directory = data_directory()
    found = LOOP.run(find_backend(directory))
    text = f"The embedded backend does not run (state in {directory}). Start it: flyte start"
    if found is not None:
        text = (
            f"The embedded backend runs as process {found.pid}: gRPC {found.grpc}, pages {found.http}, "
            f"state in {directory}. Stop it: flyte stop"
        )
    write_done(settings, text, _record(directory, found))
    return 0 if found is not None else PLATFORM


def _record(directory: Path, found: BackendFile | None) -> dict[str, Any]:
    record: dict[str, Any] = {"running": found is not None, "data_directory": str(directory)}
    if found is not None:
        record |= {"pid": found.pid, "grpc": found.grpc, "http": found.http, "started_at": found.started_at}
    return record

"""`hangar up`: the backend in the foreground."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import click

from services.common.data_directory import prepare_directory
from services.common.logging import configure_logging
from services.common.serve import wait_for_signal
from services.embedded.backend import Backend, log_path
from services.embedded.settings import Settings


async def run_backend(began: float, **given: object) -> None:
    """Starts the backend, says where it is, and stops it at SIGINT or SIGTERM, also while it starts.

    Args:
        began: When the process began, on the monotonic clock.
        **given: Settings of the command line; None where they were not given.
    """
    imported = time.monotonic() - began
    settings = Settings.load(**given)
    log = log_path(prepare_directory(settings.data_dir))
    configure_logging(settings.log_format, settings.log_level, file=log)
    backend = Backend(settings)
    signalled = asyncio.create_task(wait_for_signal())
    starting = asyncio.create_task(backend.start())
    await asyncio.wait([signalled, starting], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        click.echo("Stopped while starting.")
        return
    try:
        file = starting.result()
        click.echo(
            f"Hangar is ready after {time.monotonic() - began:.2f} s (of which imports {imported:.2f} s)."
        )
        click.echo(f"  gRPC   {backend.grpc}")
        click.echo(f"  pages  {file.http}")
        click.echo(f"  data   {settings.data_dir.expanduser().absolute()}")
        click.echo(f"  log    {_short(log)}")
        if backend.token is not None:
            click.echo(
                f"  token  {'`hangar token` prints it' if _is_stdout(log) else backend.token.reveal()}"
            )
        click.echo("Stop it with Ctrl-C.")
        received = await signalled
        click.echo(f"\nStopping ({received.name}) …")
    finally:
        signalled.cancel()
        await backend.stop()
    click.echo(_farewell(backend.orphan_seconds))


def _farewell(orphan_seconds: float) -> str:
    if not orphan_seconds:
        return "Stopped. Executors go on with what they run, and connect again when the backend is back."
    return (
        f"Stopped. Actions that run are left to their supervisors for {orphan_seconds:.0f} s: they go\n"
        "on when the backend is started again within that time; later they end, and run again then."
    )


def _is_stdout(log: Path) -> bool:
    """Says whether what is printed goes to the log: a token must not."""
    try:
        return os.path.samestat(log.stat(), os.fstat(1))
    except OSError:
        return True


def _short(path: Path) -> str:
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)

"""The `hangar` command, for those who operate the platform. What is heavy is imported where it is used."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from services.common.errors import HangarError
from services.embedded.serve_commands import serve

T = TypeVar("T")
_NOT_RUNNING = 3
_DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of everything that is kept. Default: $HANGAR_DATA_DIR, or the user's data directory.",
)
_LOG_LEVEL = click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Least level that is logged.",
)
_PORT = click.IntRange(0, 65535)


class _Commands(click.Group):
    """A group that shows errors of the platform as one message."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except HangarError as error:
            raise click.ClickException(error.message) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hangar", prog_name="hangar")
def main() -> None:
    """Operate Hangar: run the services, look after them.

    `hangar up` runs all of them in one process on this machine; `flyte` is the command to work with them.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # broken connections are ours to report


@main.command()
@_DATA_DIR
@click.option(
    "--host",
    help="Address to listen on. Default: 127.0.0.1. With others, such as 0.0.0.0, every call needs the token, which "
    "is made and shown.",
)
@click.option("--grpc-port", type=_PORT, help="Port for gRPC. Default: 8090, or any when that is in use.")
@click.option("--http-port", type=_PORT, help="Port for pages. Default: 8080, or any when that is in use.")
@click.option(
    "--without-executor", is_flag=True, help="Run no tasks here: executors of their own connect to it."
)
@_LOG_LEVEL
def up(
    data_dir: Path | None,
    host: str | None,
    grpc_port: int | None,
    http_port: int | None,
    without_executor: bool,
    log_level: str | None,
) -> None:
    """Run all services in this process, in the foreground, until Ctrl-C.

    Everything listens on loopback only, unless --host says otherwise. Runs are kept, and go on when it is started
    again. Settings: HANGAR_EMBEDDED_HOST, _GRPC_PORT, _HTTP_PORT, _EXECUTOR, HANGAR_DATA_DIR, HANGAR_TOKEN_FILE,
    HANGAR_LOG_LEVEL, and those of the services in it (`hangar serve SERVICE --help`).
    """
    began = time.monotonic()
    from services.embedded.up import run_backend

    asyncio.run(
        run_backend(
            began,
            data_dir=data_dir,
            host=host,
            grpc_port=grpc_port,
            http_port=http_port,
            executor=False if without_executor else None,
            log_level=log_level,
        )
    )


main.add_command(serve)


@main.command()
@_DATA_DIR
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of the token. Default: $HANGAR_TOKEN_FILE, or `token` in the data directory.",
)
def token(data_dir: Path | None, path: Path | None) -> None:
    """Print the token of this installation; make it when there is none.

    Whoever has it may do everything. Services demand it of every call (HANGAR_TOKEN_FILE names its file to them)
    and listen beyond loopback only with it. The SDK reads it from FLYTE_API_KEY, grpcurl sends it with
    -H "authorization: Bearer TOKEN", and browsers are asked for it.
    """
    from services.embedded.token import print_token

    print_token(data_dir, path)


@main.command()
@click.argument("address", default="127.0.0.1:8091")
def health(address: str) -> None:
    """Say whether the service at ADDRESS (host:port) serves. Exit code 1 when it does not."""
    from services.embedded.health import check_health

    check_health(address)
    click.echo(f"{address} is SERVING")


@main.command()
@_DATA_DIR
@click.option(
    "--database",
    help="URL of a PostgreSQL database of ledger and admin. Default: $HANGAR_SCHEDULER_DATABASE and "
    "$HANGAR_ADMIN_DATABASE, or the files in the data directory.",
)
def migrate(data_dir: Path | None, database: str | None) -> None:
    """Bring the databases to this version. With files in a data directory the backend must not run."""
    from services.embedded.upkeep import migrate_databases

    for name in migrate_databases(data_dir, database):
        click.echo(f"{name} is up to date")


@main.command()
@_DATA_DIR
@click.option(
    "--database",
    help="Path or URL of the ledger. Default: $HANGAR_SCHEDULER_DATABASE, or the file in the data directory.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(data_dir: Path | None, database: str | None, as_json: bool) -> None:
    """Check that the ledger is in order, live and read-only. Exit code 1 when it is not."""
    from services.embedded.upkeep import examine_ledger

    findings = examine_ledger(data_dir, database)
    if as_json:
        click.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{'ok ' if not finding.count else 'BAD'}  {finding.claim}")
            for violation in finding.violations:
                click.echo(f"       {violation}")
            if finding.count > len(finding.violations):
                click.echo(f"       … and {finding.count - len(finding.violations)} more")
    if any(finding.count for finding in findings):
        sys.exit(1)


@main.command()
@_DATA_DIR
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(data_dir: Path | None, as_json: bool) -> None:
    """Say whether the backend of a data directory runs, where, and on which hosts. Exit code 3 when not."""
    from services.embedded.upkeep import backend_status

    found = _run(lambda: backend_status(data_dir))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not found["running"]:
        click.echo(f"not running: {found['reason']}")
    else:
        click.echo(
            f"running    process {found['pid']}, version {found['version']}, since {found['started_at']}"
        )
        click.echo(f"gRPC       {found['grpc']}")
        click.echo(f"pages      {found['http']}")
        for node in found["nodes"]:
            held = f"{node['leases']} actions, {node['workers']} workers"
            click.echo(f"host       {node['name']}: {node['state']}, {held}")
    if not found["running"]:
        sys.exit(_NOT_RUNNING)


def _run(work: Callable[[], Awaitable[T]]) -> T:
    async def running() -> T:
        return await work()

    return asyncio.run(running())

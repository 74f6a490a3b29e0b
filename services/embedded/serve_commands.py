"""`hangar serve …`: each service as a process of its own. What is heavy is imported where it is used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from services.embedded.serve_help import ServeCommand

_PORT = click.IntRange(0, 65535)


def _options(prefix: str, port: int, port_setting: str) -> Callable[[Any], Any]:
    """Adds the options that every service has."""
    options = [
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path, file_okay=False),
            help="Directory of everything that is kept. Or HANGAR_DATA_DIR; default: the user's data directory.",
        ),
        click.option(
            "--host",
            help=f"Address to listen on. Or {prefix}_HOST; default: 127.0.0.1. Others need a token.",
        ),
        click.option(
            "--port",
            type=_PORT,
            help=f"Port for gRPC, 0 for any. Or {prefix}_{port_setting}; default: {port}.",
        ),
        click.option(
            "--log-level",
            type=click.Choice(["debug", "info", "warning", "error"]),
            help="Least level that is logged. Or HANGAR_LOG_LEVEL; default: info.",
        ),
    ]

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@click.group()
def serve() -> None:
    """Run one service as a process of its own.

    \b
    Together they are the platform, each on a machine of its own if you like:
      scheduler      the only writer of the ledger: decides what runs where        gRPC 8090
      admin          what people, the SDK and browsers talk to    gRPC 8091, pages 8080
      image-builder  builds container images                                       gRPC 8092
      app-serving    apps                                                          gRPC 8093
      executor       runs actions; one on every host                               gRPC 8094

    `hangar serve SERVICE --help` names the settings of each. `hangar up` runs all of them in one process.
    """  # noqa: D301  # the mark is click's


@serve.command("scheduler", cls=ServeCommand)
@_options("HANGAR_SCHEDULER", 8090, "GRPC_PORT")
@click.option(
    "--database",
    help="Ledger: a path or postgresql://… . Or HANGAR_SCHEDULER_DATABASE; default: ledger.db in the data "
    "directory. With a password, use the variable.",
)
def scheduler(port: int | None, **given: Any) -> None:
    """Run the scheduler: the only writer of the ledger."""
    from services.embedded.single import serve_scheduler

    asyncio.run(serve_scheduler(grpc_port=port, **given))


@serve.command("admin", cls=ServeCommand)
@_options("HANGAR_ADMIN", 8091, "GRPC_PORT")
@click.option(
    "--http-port", type=_PORT, help="Port for pages and files. Or HANGAR_ADMIN_HTTP_PORT; default: 8080."
)
@click.option(
    "--public-url",
    help="Address of the HTTP port as browsers and the SDK see it, such as https://hangar.example.com. "
    "Or HANGAR_ADMIN_PUBLIC_URL.",
)
@click.option(
    "--scheduler",
    help="Address of the scheduler, or of all of them with commas. Or HANGAR_ADMIN_SCHEDULER; "
    "default: 127.0.0.1:8090.",
)
def admin(port: int | None, **given: Any) -> None:
    """Run admin: what people, the SDK and browsers talk to."""
    from services.embedded.single import serve_admin

    asyncio.run(serve_admin(grpc_port=port, **given))


@serve.command("executor", cls=ServeCommand)
@_options("HANGAR_EXECUTOR", 8094, "PORT")
@click.option(
    "--scheduler",
    help="Address of the scheduler, or of all of them with commas. Or HANGAR_EXECUTOR_SCHEDULER; "
    "default: 127.0.0.1:8090.",
)
@click.option("--node", help="Name of this host. Or HANGAR_EXECUTOR_NODE; default: the host name.")
def executor(**given: Any) -> None:
    """Run the executor of this host: it carries out actions."""
    from services.embedded.single import serve_executor

    asyncio.run(serve_executor(**given))


@serve.command("image-builder", cls=ServeCommand)
@_options("HANGAR_IMAGE_BUILDER", 8092, "GRPC_PORT")
@click.option(
    "--while-used",
    metavar="IDENTITY",
    help="Serve on loopback as long as somebody uses it: `flyte` starts it so for `image.builder: local`.",
)
def image_builder(port: int | None, while_used: str | None, **given: Any) -> None:
    """Run the image builder: it builds container images from image definitions."""
    if while_used is not None:
        from services.embedded.local_builder import serve_while_used

        if port is not None or given.pop("host") is not None:
            raise click.UsageError("--while-used chooses host and port: leave --host and --port out.")
        asyncio.run(serve_while_used(while_used, **given))
        return
    from services.embedded.single import serve_image_builder

    asyncio.run(serve_image_builder(grpc_port=port, **given))


@serve.command("app-serving", cls=ServeCommand)
@_options("HANGAR_APP_SERVING", 8093, "GRPC_PORT")
def app_serving(port: int | None, **given: Any) -> None:
    """Run app-serving. Apps are not available yet in this version: it says so."""
    from services.embedded.single import serve_app_serving

    asyncio.run(serve_app_serving(grpc_port=port, **given))

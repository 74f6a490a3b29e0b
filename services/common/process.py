"""One service as a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

from services.common.auth import check_exposure
from services.common.errors import HangarError
from services.common.logging import configure_logging
from services.common.serve import ServiceApp, run_until_signal
from services.common.settings import ServiceSettings
from services.common.tracing import Tracing


async def serve_app(
    name: str, settings: ServiceSettings, make: Callable[[], ServiceApp], host: str, port: int
) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
        name: Name of the service in spans.
        settings: Its settings.
        make: Makes it.
        host: Address to listen on.
        port: Port, or 0 for any that is free.

    Raises:
        HangarError: It cannot start. The message names what is missing.
    """
    configure_logging(settings.log_format, settings.log_level)
    token = settings.access_token()
    check_exposure(host, token, setting=_variable(settings, "host"))
    tracing = Tracing(name, settings.otlp_endpoint)
    try:
        await run_until_signal(make(), host, port, tracing=tracing, token=token)
    finally:
        await asyncio.to_thread(tracing.stop)


def _variable(settings: ServiceSettings, name: str) -> str:
    names = {setting: variable for variable, setting in settings.environment_names().items()}
    return names.get(name, name)


def run_process(serve: Callable[[], Awaitable[None]]) -> int:
    """Runs a service to its end, and returns the exit status: 1 with a message when it cannot start."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # broken connections are ours to report

    async def serving() -> None:
        await serve()

    try:
        asyncio.run(serving())
    except HangarError as error:
        print(f"hangar: {error.message}", file=sys.stderr)  # noqa: T201  # the last word of a command
        return 1
    return 0

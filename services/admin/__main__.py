"""Runs admin as a process of its own: ``python -m services.admin``."""

from __future__ import annotations

import asyncio
import sys

from services.admin.app import AdminApp
from services.admin.http.server import check_loopback
from services.admin.settings import Settings
from services.common.errors import HangarError
from services.common.logging import configure_logging
from services.common.serve import run_until_signal
from services.common.tracing import Tracing


async def serve(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM."""
    check_loopback(settings.host)
    tracing = Tracing("admin", settings.otlp_endpoint)
    try:
        await run_until_signal(AdminApp(settings), settings.host, settings.grpc_port, tracing=tracing)
    finally:
        await asyncio.to_thread(tracing.stop)


def main() -> None:
    """Reads the settings and serves."""
    try:
        settings = Settings.load()
        configure_logging(settings.log_format, settings.log_level)
        asyncio.run(serve(settings))
    except HangarError as error:
        sys.exit(f"hangar: {error.message}")


if __name__ == "__main__":
    main()

"""The scheduler as a process of its own: ``python -m services.scheduler``."""

from __future__ import annotations

import asyncio
import sys

from services.common.errors import HangarError
from services.common.logging import configure_logging
from services.common.serve import run_until_signal
from services.common.tracing import Tracing
from services.scheduler.app import SchedulerApp
from services.scheduler.settings import Settings


def main() -> int:
    """Runs until SIGINT or SIGTERM. Returns the exit status."""
    try:
        settings = Settings.load()
        configure_logging(settings.log_format, settings.log_level)
        tracing = Tracing("scheduler", settings.otlp_endpoint)
        asyncio.run(
            run_until_signal(SchedulerApp(settings), settings.host, settings.grpc_port, tracing=tracing)
        )
    except HangarError as error:
        print(f"hangar: {error}", file=sys.stderr)  # noqa: T201  # the last word of a command
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

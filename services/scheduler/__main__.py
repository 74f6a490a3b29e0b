"""The scheduler as a process of its own: ``python -m services.scheduler``."""

from __future__ import annotations

import sys

from services.common.process import run_process, serve_app
from services.scheduler.app import SchedulerApp
from services.scheduler.settings import Settings


async def _serve() -> None:
    settings = Settings.load()
    await serve_app("scheduler", settings, lambda: SchedulerApp(settings), settings.host, settings.grpc_port)


if __name__ == "__main__":
    sys.exit(run_process(_serve))

"""App-serving as a process of its own: ``python -m services.app_serving``."""

from __future__ import annotations

import sys

from services.app_serving.app import AppServingApp
from services.app_serving.settings import Settings
from services.common.process import run_process, serve_app


async def _serve() -> None:
    settings = Settings.load()
    await serve_app(
        "app-serving", settings, lambda: AppServingApp(settings), settings.host, settings.grpc_port
    )


if __name__ == "__main__":
    sys.exit(run_process(_serve))

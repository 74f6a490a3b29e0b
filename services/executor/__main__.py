"""An executor as a process of its own: ``python -m services.executor``."""

from __future__ import annotations

import sys

from services.common.process import run_process, serve_app
from services.executor.app import ExecutorApp
from services.executor.engine import make_engine
from services.executor.settings import Settings


async def _serve() -> None:
    settings = Settings.load()
    await serve_app(
        "executor",
        settings,
        lambda: ExecutorApp(settings, make_engine(settings)),
        settings.host,
        settings.port,
    )


if __name__ == "__main__":
    sys.exit(run_process(_serve))

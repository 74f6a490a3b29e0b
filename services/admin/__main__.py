"""Admin as a process of its own: ``python -m services.admin``."""

from __future__ import annotations

import sys

from services.admin.app import AdminApp
from services.admin.settings import Settings
from services.common.process import run_process, serve_app


async def _serve() -> None:
    settings = Settings.load()
    await serve_app("admin", settings, lambda: AdminApp(settings), settings.host, settings.grpc_port)


if __name__ == "__main__":
    sys.exit(run_process(_serve))

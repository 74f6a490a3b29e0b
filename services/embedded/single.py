"""`hangar serve`: one service as a process of its own."""

from __future__ import annotations

import asyncio

from services.admin.app import AdminApp
from services.admin.http.server import check_loopback
from services.admin.settings import Settings as AdminSettings
from services.common.logging import configure_logging
from services.common.serve import ServiceApp, run_until_signal
from services.common.settings import ServiceSettings
from services.common.tracing import Tracing
from services.executor.app import ExecutorApp
from services.executor.engine import make_engine
from services.executor.settings import Settings as ExecutorSettings
from services.scheduler.app import SchedulerApp
from services.scheduler.settings import Settings as SchedulerSettings


async def serve_scheduler(**given: object) -> None:
    """Serves the scheduler until SIGINT or SIGTERM."""
    settings = SchedulerSettings.load(**given)
    check_loopback(settings.host)
    await _serve("scheduler", settings, SchedulerApp(settings), settings.host, settings.grpc_port)


async def serve_admin(**given: object) -> None:
    """Serves admin until SIGINT or SIGTERM."""
    settings = AdminSettings.load(**given)
    check_loopback(settings.host)
    await _serve("admin", settings, AdminApp(settings), settings.host, settings.grpc_port)


async def serve_executor(**given: object) -> None:
    """Serves the executor of this host until SIGINT or SIGTERM."""
    settings = ExecutorSettings.load(**given)
    check_loopback(settings.host)
    await _serve(
        "executor", settings, ExecutorApp(settings, make_engine(settings)), settings.host, settings.port
    )


async def _serve(name: str, settings: ServiceSettings, app: ServiceApp, host: str, port: int) -> None:
    configure_logging(settings.log_format, settings.log_level)
    tracing = Tracing(name, settings.otlp_endpoint)
    try:
        await run_until_signal(app, host, port, tracing=tracing)
    finally:
        await asyncio.to_thread(tracing.stop)

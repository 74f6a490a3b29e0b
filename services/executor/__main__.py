"""An executor as a process of its own: `python -m services.executor`."""

import asyncio
import sys

from services.common.errors import HangarError
from services.common.logging import configure_logging
from services.common.serve import run_until_signal
from services.common.tracing import Tracing
from services.executor.app import ExecutorApp
from services.executor.engine import make_engine
from services.executor.settings import Settings


async def _serve(settings: Settings) -> None:
    tracing = Tracing("executor", settings.otlp_endpoint)
    try:
        app = ExecutorApp(settings, make_engine(settings))
        await run_until_signal(app, settings.host, settings.port, tracing=tracing)
    finally:
        await asyncio.to_thread(tracing.stop)


def main() -> int:
    """Runs an executor until SIGINT or SIGTERM, and returns the exit code of the process."""
    try:
        settings = Settings.load()
        configure_logging(settings.log_format, settings.log_level)
        asyncio.run(_serve(settings))
    except HangarError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

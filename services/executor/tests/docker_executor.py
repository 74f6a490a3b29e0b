"""An executor on Docker as a process of its own, whose workers run from one image: what tests start.

Arguments: the reference of the image. Everything else comes from the settings.
"""

import asyncio
import sys

from services.common.serve import run_until_signal
from services.common.tracing import Tracing
from services.executor.app import ExecutorApp
from services.executor.engine import docker_options
from services.executor.engines.docker.engine import DockerEngine
from services.executor.engines.tests.worker_image import FixedImages, NoNetworks
from services.executor.settings import Settings


async def _serve(settings: Settings, image: str) -> None:
    engine = DockerEngine(
        docker_options(settings),
        lambda _client, _platform: FixedImages(image),
        lambda _client, _identity, _own_image: NoNetworks(),
    )
    tracing = Tracing("executor", "")
    await run_until_signal(ExecutorApp(settings, engine), settings.host, settings.port, tracing=tracing)


if __name__ == "__main__":
    asyncio.run(_serve(Settings.load(), sys.argv[1]))

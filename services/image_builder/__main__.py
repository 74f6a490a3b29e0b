"""The image builder as a process of its own: ``python -m services.image_builder``."""

from __future__ import annotations

import sys

from services.common.process import run_process, serve_app
from services.image_builder.app import ImageBuilderApp
from services.image_builder.settings import Settings


async def _serve() -> None:
    settings = Settings.load()
    await serve_app(
        "image-builder", settings, lambda: ImageBuilderApp(settings), settings.host, settings.grpc_port
    )


if __name__ == "__main__":
    sys.exit(run_process(_serve))

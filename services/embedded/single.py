"""`hangar serve`: one service as a process of its own, which imports that service only."""

from __future__ import annotations

from services.common.process import serve_app


async def serve_scheduler(**given: object) -> None:
    """Serves the scheduler until SIGINT or SIGTERM."""
    from services.scheduler.app import SchedulerApp
    from services.scheduler.settings import Settings

    settings = Settings.load(**given)
    await serve_app("scheduler", settings, lambda: SchedulerApp(settings), settings.host, settings.grpc_port)


async def serve_admin(**given: object) -> None:
    """Serves admin until SIGINT or SIGTERM."""
    from services.admin.app import AdminApp
    from services.admin.settings import Settings

    settings = Settings.load(**given)
    await serve_app("admin", settings, lambda: AdminApp(settings), settings.host, settings.grpc_port)


async def serve_executor(**given: object) -> None:
    """Serves the executor of this host until SIGINT or SIGTERM."""
    from services.executor.app import ExecutorApp
    from services.executor.engine import make_engine
    from services.executor.settings import Settings

    settings = Settings.load(**given)

    def make() -> ExecutorApp:
        return ExecutorApp(settings, make_engine(settings))

    await serve_app("executor", settings, make, settings.host, settings.port)


async def serve_image_builder(**given: object) -> None:
    """Serves the image builder until SIGINT or SIGTERM."""
    from services.image_builder.app import ImageBuilderApp
    from services.image_builder.settings import Settings

    settings = Settings.load(**given)

    def make() -> ImageBuilderApp:
        return ImageBuilderApp(settings)

    await serve_app("image-builder", settings, make, settings.host, settings.grpc_port)


async def serve_app_serving(**given: object) -> None:
    """Serves app-serving until SIGINT or SIGTERM."""
    from services.app_serving.app import AppServingApp
    from services.app_serving.settings import Settings

    settings = Settings.load(**given)

    def make() -> AppServingApp:
        return AppServingApp(settings)

    await serve_app("app-serving", settings, make, settings.host, settings.grpc_port)

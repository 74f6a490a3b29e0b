"""`hangar serve`: one service as a process of its own, which imports that service only.

Settings come first: what is wrong with them is said before the service is imported, which takes longer.
"""

from __future__ import annotations

from services.common.process import serve_app
from services.common.serve import ServiceApp


async def serve_scheduler(**given: object) -> None:
    """Serves the scheduler until SIGINT or SIGTERM."""
    from services.scheduler.settings import Settings

    settings = Settings.load(**given)

    def make() -> ServiceApp:
        from services.scheduler.app import SchedulerApp

        return SchedulerApp(settings)

    await serve_app("scheduler", settings, make, settings.host, settings.grpc_port)


async def serve_admin(**given: object) -> None:
    """Serves admin until SIGINT or SIGTERM."""
    from services.admin.settings import Settings

    settings = Settings.load(**given)

    def make() -> ServiceApp:
        from services.admin.app import AdminApp

        return AdminApp(settings)

    await serve_app("admin", settings, make, settings.host, settings.grpc_port)


async def serve_executor(**given: object) -> None:
    """Serves the executor of this host until SIGINT or SIGTERM."""
    from services.executor.settings import Settings

    settings = Settings.load(**given)

    def make() -> ServiceApp:
        from services.executor.app import ExecutorApp
        from services.executor.engine import make_engine

        return ExecutorApp(settings, make_engine(settings))

    await serve_app("executor", settings, make, settings.host, settings.port)


async def serve_image_builder(**given: object) -> None:
    """Serves the image builder until SIGINT or SIGTERM."""
    from services.image_builder.settings import Settings

    settings = Settings.load(**given)

    def make() -> ServiceApp:
        from services.image_builder.app import ImageBuilderApp

        return ImageBuilderApp(settings)

    await serve_app("image-builder", settings, make, settings.host, settings.grpc_port)


async def serve_app_serving(**given: object) -> None:
    """Serves app-serving until SIGINT or SIGTERM."""
    from services.app_serving.settings import Settings

    settings = Settings.load(**given)

    def make() -> ServiceApp:
        from services.app_serving.app import AppServingApp

        return AppServingApp(settings)

    await serve_app("app-serving", settings, make, settings.host, settings.grpc_port)

"""The image builder as a service: what it is made of, its beginning and end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from hangar.image.v1.image_service_pb2_grpc import add_ImageServiceServicer_to_server
from services.common.blobs import BlobStore
from services.common.clock import SystemClock
from services.common.data_directory import prepare_directory
from services.common.db import migrate, writer_engine
from services.common.errors import FailedPrecondition, HangarError
from services.common.registry_credentials import RegistryCredentials
from services.common.sdk_layer import SdkLayer
from services.common.serve import Registration
from services.image_builder import migrations
from services.image_builder.announcements import Announcements
from services.image_builder.buildkit import BuildKit
from services.image_builder.containers import ContainerMaker
from services.image_builder.context import Contexts
from services.image_builder.engine import BuilderEngine
from services.image_builder.installers import Installers
from services.image_builder.makers import Maker
from services.image_builder.service import ImageBuilds
from services.image_builder.servicer import ImageServicer
from services.image_builder.settings import Settings
from services.image_builder.sites import Site, Sites
from services.image_builder.store import Store

_log = structlog.get_logger(__name__)


class ImageBuilderApp:
    """The image builder.

    Args:
        settings: Settings.
        environments: Makes Python environments, where tasks run as processes.
        check_at_start: True to refuse to start without an engine that has BuildKit. False to start, and to say what is
            missing when a container image is asked for: a laptop needs neither until then.

    Raises:
        HangarError: The data directory cannot be used.
    """

    def __init__(
        self, settings: Settings, environments: Maker | None = None, *, check_at_start: bool = True
    ) -> None:
        self._check_at_start = check_at_start
        self._environments = environments
        credentials = RegistryCredentials(
            settings.registry_credentials, "HANGAR_IMAGE_BUILDER_REGISTRY_CREDENTIALS"
        )
        credentials.check()
        directory = prepare_directory(settings.state_dir)

        def site(engine: str) -> Site:
            client = BuilderEngine(engine, credentials)
            return Site(client, BuildKit(client, settings.network, directory, credentials))

        named = {platform: site(engine) for platform, engine in settings.platform_engines.items()}
        sites = Sites(site(settings.engine), named)
        self._engine = sites.own.engine
        contexts = Contexts(directory, SdkLayer(), BlobStore(settings.blobs_url))
        installers = Installers(directory / "uv", settings.uv, settings.index_url)
        self._database = writer_engine(
            settings.database or prepare_directory(settings.data_dir) / "image-builder.db"
        )
        store = Store(self._database, settings.log_lines)
        self._containers = ContainerMaker(settings, sites, contexts, installers, store.owner)
        self._announcements = Announcements(settings.scheduler, settings.access_token())
        self._builds = ImageBuilds(
            settings, self._containers, store, SystemClock(), environments, self._announcements.announce
        )
        servicer = ImageServicer(self._builds)
        self._registrations = (
            Registration(add_ImageServiceServicer_to_server, servicer, "hangar.image.v1.ImageService"),
        )

    @property
    def registrations(self) -> Sequence[Registration]:
        """What it serves on gRPC."""
        return self._registrations

    async def start(self) -> None:
        """Looks for the engine, clears what an earlier process left behind, and takes up its builds.

        Raises:
            FailedPrecondition: One of them is missing, or the database cannot be used. The message says what to do.
        """
        await self._containers.clear()
        if self._check_at_start:
            try:
                await self._containers.check()
                _log.info("image builder ready", platform=await self._engine.platform())
            except HangarError as error:
                raise FailedPrecondition(error.message, reason=error.reason) from error
        await asyncio.to_thread(migrate, self._database, migrations)
        await self._builds.start()

    @property
    def is_building(self) -> bool:
        """True while a build has not ended."""
        return self._builds.is_building

    async def abandon(self) -> None:
        """Ends what is being built; the next start does not take it up."""
        await self._builds.abandon()

    async def drain(self) -> None:
        """Stops builds, so that those who follow them hear of it."""
        await self._builds.stop()

    async def stop(self) -> None:
        """Stops builds and closes connections."""
        await self._builds.stop()
        await self._announcements.close()
        await self._containers.close()
        if self._environments is not None:
            await self._environments.close()
        self._database.dispose()

"""An image builder that serves, on a fake Docker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import uv

from hangar.image.v1 import image_build_pb2 as states
from hangar.image.v1 import image_service_pb2 as messages
from services.common.blobs import BlobStore
from services.common.clock import ManualClock
from services.common.db import migrate, writer_engine
from services.common.sdk_layer import SdkLayer
from services.image_builder import migrations
from services.image_builder.buildkit import BuildKit
from services.image_builder.containers import ContainerMaker
from services.image_builder.context import Contexts
from services.image_builder.installers import Installers
from services.image_builder.service import ImageBuilds
from services.image_builder.settings import Settings
from services.image_builder.sites import Site, Sites
from services.image_builder.store import Store
from services.image_builder.tests.fakes import FakeDocker, FakeEngine

QUEUED, BUILDING = states.IMAGE_BUILD_STATE_QUEUED, states.IMAGE_BUILD_STATE_BUILDING
SUCCEEDED, FAILED = states.IMAGE_BUILD_STATE_SUCCEEDED, states.IMAGE_BUILD_STATE_FAILED


def definition(number: int = 0) -> str:
    """A definition unlike those of other numbers."""
    layer = {"kind": "env", "vars": {"NUMBER": str(number)}}
    return json.dumps({"base": {"kind": "debian", "python": "3.11"}, "layers": [layer]})


class World:
    """An image builder that serves, on a fake Docker."""

    def __init__(self, root: Path, docker: FakeDocker, **settings: Any) -> None:
        self.docker = docker
        self.clock = ManualClock()
        self.settings = Settings.load(data_dir=root, failure_ttl=30.0, **settings)
        self.settings.state_dir.mkdir(parents=True, exist_ok=True)
        for architecture in ("amd64", "arm64"):
            (root / f"uv-{architecture}").symlink_to(uv.find_uv_bin())
        package = root / "sdk" / "flyte"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        self.sdk = SdkLayer(package)
        self.database = writer_engine(root / "builds.db")
        migrate(self.database, migrations)
        self.builds = self.another()
        self.stub: Any = None

    def site(self, docker: FakeDocker) -> Site:
        """A place to build at."""
        engine = FakeEngine(docker)
        return Site(engine, BuildKit(engine, "default", self.settings.state_dir))

    def another(self, named: Mapping[str, Site] | None = None) -> ImageBuilds:
        """The image builder of another process, on the same record, with further engines by platform."""
        blobs = BlobStore(self.settings.blobs_url)
        self.maker = ContainerMaker(
            self.settings,
            Sites(self.site(self.docker), named or {}),
            Contexts(self.settings.state_dir, self.sdk, blobs),
            Installers(self.settings.state_dir / "uv", f"{self.settings.data_dir}/uv-{{arch}}"),
            (store := Store(self.database, self.settings.log_lines)).owner,
        )
        return ImageBuilds(self.settings, self.maker, store, self.clock)

    async def ask(self, number: int = 0, **more: Any) -> states.ImageBuild:
        request = messages.BuildImageRequest(definition_json=definition(number), **more)
        build: states.ImageBuild = (await self.stub.BuildImage(request)).build
        return build

    async def get(self, name: str) -> states.ImageBuild:
        build: states.ImageBuild = (
            await self.stub.GetImageBuild(messages.GetImageBuildRequest(name=name))
        ).build
        return build

    async def watch(self, name: str, from_line: int = 0) -> tuple[list[int], list[str], states.ImageBuild]:
        """States, lines and the last answer of a build that is followed to its end."""
        seen: list[int] = []
        lines: list[str] = []
        update = None
        async for update in self.stub.WatchImageBuild(
            messages.WatchImageBuildRequest(name=name, from_line=from_line)
        ):
            seen += [] if seen and seen[-1] == update.build.state else [update.build.state]
            lines += [line.text for line in update.lines]
        assert update is not None
        assert update.next_line == update.build.log_lines
        return seen, lines, update.build


async def until(probe: Callable[[], bool | Awaitable[bool]]) -> None:
    """Waits for something to become true."""
    async with asyncio.timeout(30):
        while True:
            answer = probe()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)

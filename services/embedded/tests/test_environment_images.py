"""Environments are images like others: what is asked for is on record, fails by layer, and is cancelled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.common.clock import SystemClock
from services.common.db import migrate, writer_engine
from services.common.errors import FailedPrecondition, InvalidArgument
from services.common.sdk_layer import SdkLayer
from services.embedded.environment_images import EnvironmentMaker
from services.executor.engines.process import ProcessEngine, ProcessEngineOptions
from services.executor.tests.wheels import write_source, write_wheel
from services.image_builder import migrations
from services.image_builder.builds import Build
from services.image_builder.convert import image_build
from services.image_builder.service import ImageBuilds
from services.image_builder.settings import Settings
from services.image_builder.store import Store


class Host:
    """An image builder of environments of wheels in a directory."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.wheels = root / "wheels"
        package = root / "sdk" / "flyte"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        write_wheel(self.wheels, "pebble")
        sdk = SdkLayer(package, requirements=("pebble",))
        self.engine = ProcessEngine(ProcessEngineOptions(root / "executor", sdk=sdk, use_cgroups=False))
        self.database = writer_engine(root / "builds.db")
        migrate(self.database, migrations)
        maker = EnvironmentMaker(self.engine)
        given = Settings.load(data_dir=root, **settings)
        self.builds = ImageBuilds(given, maker, Store(self.database, 100), SystemClock(), maker)

    def definition(self, *packages: str, **base: Any) -> str:
        arguments = f"--no-index --find-links {self.wheels}"
        layers = [{"kind": "pip", "packages": [each], "extra_args": arguments} for each in packages]
        return json.dumps({"base": {"kind": "debian", **base}, "layers": layers})

    async def build(self, *packages: str, **more: Any) -> Build:
        """Asks for an environment and waits for the end."""
        build = await self.builds.build(self.definition(*packages), **more)
        async for _ in build.follow(0):
            pass
        return build

    def left(self) -> list[str]:
        """What is half made."""
        return [path.name for path in (self.wheels.parent / "executor" / "environments").glob(".building-*")]


@pytest.fixture
async def host(tmp_path: Path, request: Any) -> AsyncIterator[Host]:
    """`@pytest.mark.parametrize("host", […], indirect=True)` gives settings of the builder."""
    host = Host(tmp_path, **getattr(request, "param", {}))
    await host.engine.start()
    yield host
    await host.builds.stop()
    await host.engine.close()
    host.database.dispose()


async def test_a_failure_names_layer_and_exit_code(host: Host) -> None:
    """As of a container image; a layer with an impossible package is told from one that is fine."""
    message = image_build(await host.build("pebble", "granite"))
    assert (message.failure.code, message.failed_layer, message.exit_code) == ("InvalidPackage", 1, 1)


async def test_an_environment_in_use_is_not_made_anew(host: Host) -> None:
    """That is refused before anything goes on record: the environment stays what it was, for all who ask for it."""
    name = (await host.build("pebble")).image.name
    python = host.engine.environments.find(name)
    assert python is not None
    process = await asyncio.create_subprocess_exec(
        python / "bin" / "python", "-c", "input()", stdin=asyncio.subprocess.PIPE
    )
    for refused in (lambda: host.build("pebble", force=True), lambda: host.builds.delete(name)):
        with pytest.raises(FailedPrecondition, match=rf"in use: .*processes {process.pid}\)"):
            await refused()
    again = await host.build("pebble")
    assert (again.state.value, again.cached) == ("succeeded", True)
    await process.communicate(b"\n")
    assert not (await host.build("pebble", force=True)).cached


@pytest.mark.parametrize("host", [{}, {"timeout": 3.0}], indirect=True, ids=["cancelled", "too long"])
async def test_a_build_that_is_ended_leaves_nothing(host: Host, request: Any, tmp_path: Path) -> None:
    """Neither the installer and what it started, nor a directory, when the answer comes."""
    note = tmp_path / "note"
    script = f"import os, time\nopen({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(1000)"
    write_source(host.wheels, "boulder", script)
    asking = asyncio.create_task(host.build("boulder"))
    async with asyncio.timeout(30):
        while not (note.exists() and note.read_text()) and not asking.done():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.01)
    builds = psutil.Process(int(note.read_text()))
    if "cancelled" in request.node.name:
        await host.builds.cancel((await host.builds.newest(None, 1))[0].image.name)
    build = await asking
    assert build.error is not None
    assert build.error.code in {"BuildCancelled", "BuildTimeout"}
    assert not builds.is_running() or builds.status() == psutil.STATUS_ZOMBIE
    assert host.left() == []


async def test_what_an_environment_cannot_give_is_refused(host: Host) -> None:
    """A registry, before anything is built."""
    with pytest.raises(InvalidArgument, match=r"registry='ghcr\.io/x' needs the Docker engine"):
        await host.builds.build(host.definition("pebble", registry="ghcr.io/x"))


async def test_a_secret_of_the_caller_counts_and_a_missing_one_is_asked_for_again(host: Host) -> None:
    """Who brings it gets a new attempt at once."""
    mounts = [{"key": "token", "env": "A_TOKEN_OF_NOBODY"}]
    layer = {**json.loads(host.definition("pebble"))["layers"][0], "secret_mounts": mounts}
    text = json.dumps({"base": {"kind": "debian"}, "layers": [layer]})

    async def code(**secrets: bytes) -> str:
        build = await host.builds.build(text, secrets=secrets)
        async for _ in build.follow(0):
            pass
        return build.error.code if build.error is not None else ""

    assert [await code(), await code(token=b"1")] == ["SecretMissing", ""]


async def test_a_package_without_a_name_breaks_nothing(host: Host) -> None:
    """It is left out of what is in the environment; the others are there."""
    name = (await host.build("pebble")).image.name
    place = host.engine.environments.find(name)
    assert place is not None
    broken = next(place.glob("lib/python3*/site-packages")) / "x-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("")
    await host.builds.stop()
    sbom, _ = await host.builds.attestation(name)
    found = await EnvironmentMaker(host.engine).contents((await host.builds.get(name)).image)
    for document in filter(None, (sbom, found)):
        assert "pebble" in [each["name"] for each in json.loads(document)["components"]]

"""Builders that are killed or stopped, engines that are away or full."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

import flyte
from hangar.core.v1 import failure_pb2
from hangar.image.v1 import image_service_pb2 as messages
from hangar.image.v1.image_service_pb2_grpc import ImageServiceStub
from integration_tests.backend import BIN, clean_environ
from integration_tests.components.process import ServerProcess
from integration_tests.polling import until
from integration_tests.ports import free_ports
from services.common.channel import connect
from services.common.platforms import host_platform
from services.common.serve import build_server
from services.common.tests.small_disk import SmallDisk, small_disk
from services.executor.engines.base import ImageDefinition
from services.executor.engines.docker.images import DockerImages
from services.executor.engines.tests.own_engine import OwnEngine
from services.image_builder.app import ImageBuilderApp
from services.image_builder.settings import Settings
from services.image_builder.tests.real_builder import FAILED, SUCCEEDED, Builder, building, has_process, serve

pytestmark = pytest.mark.timeout(300)


SECRET = """
import flyte

image = flyte.Image.from_debian_base(python_version=(3, 11)).with_commands({commands}, secret_mounts="team-token")
env = flyte.TaskEnvironment("secretive", image=image)
"""


async def test_a_killed_builder_finishes_when_it_starts_again(
    tmp_path: Path, docker_url: str, engine: docker.DockerClient, repository: str
) -> None:
    """SIGKILL in the middle: the next process takes builds up, finished steps from the cache; who waits is answered.

    `flyte build` gives a secret again that the builder had in memory; a host that has none waits for that.
    """
    port, gate = free_ports(2)  # steps wait until the gate is open
    address = f"127.0.0.1:{port}"
    environ = clean_environ(
        HANGAR_DATA_DIR=str(tmp_path / "data"),
        HANGAR_IMAGE_BUILDER_ENGINE=docker_url,
        HANGAR_IMAGE_BUILDER_NETWORK="host",
        HANGAR_IMAGE_BUILDER_BASE_IMAGE=f"{repository}:{{python}}",
        HANGAR_IMAGE_BUILDER_GRPC_PORT=str(port),
    )
    command = [sys.executable, "-m", "services.image_builder"]
    markers = [uuid.uuid4().hex, uuid.uuid4().hex]
    knock = f"""python3 -c "import socket; socket.create_connection(('127.0.0.1', {gate}))" 2>/dev/null"""
    waits = [f"echo {marker}; until {knock}; do sleep 0.5; done" for marker in markers]
    definition = {
        "base": {"kind": "debian", "python": "3.11"},
        "layers": [{"kind": "commands", "commands": [f"echo first-{markers[0]}", waits[0]]}],
    }
    request = messages.BuildImageRequest(definition_json=json.dumps(definition))
    (tmp_path / "secretive.py").write_text(
        SECRET.format(commands=[waits[1], f'test "$TEAM_TOKEN" = {markers[0]}'])
    )
    asking = ["--insecure", "--endpoint", address, "build", "-v", str(tmp_path / "secretive.py"), "env"]
    images = DockerImages(engine, address, host_platform())
    said: list[str] = []
    server = ServerProcess(command, tmp_path / "first.log", environ=environ)
    try:
        server.wait_ready(lambda: "serving" in server.log.read_text(), "the image builder", 60)
        async with connect(address) as channel:
            builder = Builder(engine, ImageServiceStub(channel), repository, tmp_path / "data", address)
            author = await asyncio.create_subprocess_exec(
                str(BIN / "flyte"),
                *asking,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=clean_environ(TEAM_TOKEN=markers[0]),
            )
            build = (await builder.stub.BuildImage(request)).build
            for marker in markers:
                await asyncio.to_thread(
                    until, lambda marker=marker: has_process(marker, "sleep 0.5"), "the command runs", 120
                )
            listed = (await builder.stub.ListImageBuilds(messages.ListImageBuildsRequest())).builds
            [name] = [each.name for each in listed if each.name != build.name]
            builder.built |= {build.reference, f"hangar/{name}"}
            [text] = (
                sqlite3.connect(tmp_path / "data" / "image-builder.db")
                .execute("select definition_json from image_build where name = ?", [name])
                .fetchone()
            )
            host = asyncio.create_task(images.ensure(ImageDefinition("d", text), said.append))
            await asyncio.to_thread(until, lambda: said != [], "the host hears of the build", 60)
            os.kill(server.pid, signal.SIGKILL)
    finally:
        server.stop()
    for each in (build.name, name):
        assert engine.images.list(filters={"label": f"hangar.image={each}"}) == []
    server = ServerProcess(command, tmp_path / "second.log", environ=environ)
    opened = socket.create_server(("127.0.0.1", gate))
    try:
        server.wait_ready(lambda: "serving" in server.log.read_text(), "the image builder", 60)
        async with connect(address) as channel:
            builder.stub = ImageServiceStub(channel)
            done, lines = await builder.watch(build)
            assert done.state == SUCCEEDED, lines
            at = lines.index(f"[5/6] layer 0: run echo first-{markers[0]}")
            assert lines[at + 1] == "cached"
            assert await builder.run(done.reference, "python3", "-c", "import flyte; print(1)") == "1\n"
            printed = (await author.communicate())[0].decode()
            assert author.returncode == 0, printed
            assert f"hangar/{name}" in printed
            assert (await host).record == f"hangar/{name}@{engine.images.get(f'hangar/{name}').id}"
            secretive = await builder.stub.GetImageBuild(messages.GetImageBuildRequest(name=name))
            _, lines = await builder.watch(secretive.build)
            assert any("waits for the secret 'team-token' of a caller" in line for line in lines), lines
    finally:
        opened.close()
        server.stop()
        builder.close()
    assert list((tmp_path / "data" / "image-builder").iterdir()) == []


async def test_stopping_cancels_the_builder(
    tmp_path: Path, docker_url: str, engine: docker.DockerClient, repository: str
) -> None:
    """A stop ends a running step at once; nothing half-built is left, and the next service starts it again."""
    app, server, address = await serve(tmp_path, docker_url, repository)
    marker = uuid.uuid4().hex
    command = f"echo {marker}; sleep 1000"
    async with connect(address) as channel:
        builder = Builder(engine, ImageServiceStub(channel), repository, tmp_path / "data", address)
        building = asyncio.create_task(builder.build({"kind": "commands", "commands": [command]}))
        await asyncio.to_thread(until, lambda: has_process(marker, "sleep 1000"), "the command runs", 120)
        await app.drain()
        build, _ = await building
        assert (build.state, build.failure.code) == (FAILED, "BuildStopped")
        await server.stop(0)
        await app.stop()
    await asyncio.to_thread(until, lambda: not has_process(marker, "sleep 1000"), "the command has ended")
    assert engine.images.list(filters={"label": f"hangar.image={build.name}"}) == []
    assert list((tmp_path / "data" / "image-builder").iterdir()) == []


@pytest.fixture
def small_engine(
    tmp_path: Path, engine: docker.DockerClient
) -> Iterator[tuple[docker.DockerClient, str, SmallDisk]]:
    """An engine on a small disk of its own, with one image."""
    with small_disk(tmp_path / "disk", megabytes=96) as disk:
        own = OwnEngine(disk.path / "engine")
        try:
            own.start()
            client = docker.DockerClient(base_url=own.url, timeout=120)
            client.images.load(b"".join(engine.images.get("busybox:latest").save(named=True)))
            yield client, own.url, disk
            client.close()
        finally:
            own.close()


@pytest.mark.parametrize("by", ["the step", "others"])
async def test_a_full_disk_is_named_and_leaves_nothing(
    tmp_path: Path, small_engine: tuple[docker.DockerClient, str, SmallDisk], by: str
) -> None:
    """Filled by a step, or before it by others: the answer says so, there is no image, and with room it is built."""
    engine, url, disk = small_engine
    write = "for part in 1 2 3 4; do dd if=/dev/zero of=/part$part bs=1M count=12; done"
    image = flyte.Image.from_base("busybox:latest").without_sdk().with_commands([write])
    async with building(tmp_path, url, engine, "busybox") as builder:
        disk.fill(leave=30 << 20 if by == "the step" else 64 << 10)
        build, lines = await builder.build_image(image)
        assert (build.state, build.failure.code) == (FAILED, "DiskFull"), lines
        assert build.failure.kind == failure_pb2.FAILURE_KIND_SYSTEM
        assert build.failure.message.startswith("the disk of the Docker engine that builds images is full")
        assert engine.images.list(filters={"label": f"hangar.image={build.name}"}) == []
        disk.make_room()
        again, lines = await builder.build_image(image)
        assert (again.name, again.state) == (build.name, SUCCEEDED), lines
        assert await builder.run(again.reference, "wc", "-c", "/part4") == "12582912 /part4\n"


async def test_no_engine_is_the_platforms_failure(tmp_path: Path) -> None:
    """An engine that is away while the service runs makes requests fail as UNAVAILABLE, with what to do."""
    settings = Settings.load(data_dir=tmp_path, engine="tcp://127.0.0.1:9")
    app = ImageBuilderApp(settings, check_at_start=False)
    await app.start()
    server = build_server(app.registrations)
    address = f"127.0.0.1:{server.bind('127.0.0.1', 0)}"
    await server.start()
    try:
        async with connect(address) as channel:
            with pytest.raises(Exception, match="name another one in HANGAR_IMAGE_BUILDER_ENGINE"):
                await ImageServiceStub(channel).BuildImage(messages.BuildImageRequest())
    finally:
        await server.stop(0)
        await app.stop()


def test_it_runs_as_a_process(tmp_path: Path) -> None:
    """`python -m services.image_builder` refuses to start without an engine, and says what to do."""
    environ = {
        "PATH": os.environ["PATH"],
        "HANGAR_DATA_DIR": str(tmp_path),
        "HANGAR_IMAGE_BUILDER_ENGINE": "tcp://127.0.0.1:9",
        "HANGAR_IMAGE_BUILDER_GRPC_PORT": "0",
    }
    command = [sys.executable, "-m", "services.image_builder"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "tcp://127.0.0.1:9 is not reachable" in done.stderr
    assert "start it, or name another one in HANGAR_IMAGE_BUILDER_ENGINE" in done.stderr

"""Images for real: built by BuildKit in a Docker engine, started, looked through, pushed to a registry."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest
import uv

import flyte
from flyte._image_layers import Setting
from hangar.core.v1 import failure_pb2
from hangar.image.v1 import image_build_pb2 as states
from hangar.image.v1 import image_service_pb2 as messages
from hangar.image.v1.image_service_pb2_grpc import ImageServiceStub
from integration_tests.components.lacking import lacking
from integration_tests.components.process import ServerProcess
from integration_tests.polling import until
from integration_tests.ports import free_ports
from services.common.channel import connect
from services.common.errors import FailedPrecondition
from services.common.sdk_layer import SdkLayer
from services.common.serve import build_server
from services.common.tests.small_disk import SmallDisk, small_disk
from services.executor.engines.tests.own_engine import OwnEngine
from services.executor.tests.wheels import write_wheel
from services.image_builder.app import ImageBuilderApp
from services.image_builder.settings import Settings
from services.image_builder.tests.package_index import PASSWORD, serve_index

pytestmark = pytest.mark.timeout(300)
BASE = "python:3.11-slim-bookworm"
SUCCEEDED, FAILED = states.IMAGE_BUILD_STATE_SUCCEEDED, states.IMAGE_BUILD_STATE_FAILED


class Builder:
    """An image builder of a test, and the images that it made."""

    def __init__(
        self, engine: docker.DockerClient, stub: Any, repository: str, data: Path | None = None
    ) -> None:
        self.data = data
        self.engine = engine
        self.stub = stub
        self.repository = repository
        self.built: set[str] = set()

    async def build(self, *layers: dict[str, Any], base: dict[str, Any] | None = None, **more: Any) -> Any:
        """Asks for an image and waits for the end: the build and its lines."""
        definition = {"base": base or {"kind": "debian", "python": "3.11"}, "layers": list(layers)}
        request = messages.BuildImageRequest(definition_json=json.dumps(definition), **more)
        build = (await self.stub.BuildImage(request)).build
        self.built.add(build.reference)
        self.built.add(f"hangar/{build.name}")
        return await self.watch(build)

    async def build_image(self, image: flyte.Image, **more: Any) -> Any:
        """Asks for an image as the SDK does, its local files uploaded: the build and its lines."""
        resolved = image.resolve(Setting())
        assert self.data is not None
        for archive in resolved.archives:
            place = self.data / "blobs" / "contexts" / f"{archive.identity[0]}.tar"
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as file:
                archive.write(file)
        request = messages.BuildImageRequest(definition_json=resolved.definition_json, **more)
        build = (await self.stub.BuildImage(request)).build
        self.built.add(build.reference)
        if build.base_image.startswith("hangar/base-"):
            self.built.add(build.base_image)
        return await self.watch(build)

    async def watch(self, build: Any) -> tuple[Any, list[str]]:
        """Follows a build to its end."""
        lines: list[str] = []
        async for update in self.stub.WatchImageBuild(messages.WatchImageBuildRequest(name=build.name)):
            build = update.build
            lines += [line.text for line in update.lines]
        return build, lines

    async def run(self, reference: str, *command: str, **options: Any) -> str:
        """What a command prints in a container of an image."""
        options = {"network_mode": "none", "remove": True, "stderr": True, **options}
        output = await asyncio.to_thread(
            lambda: self.engine.containers.run(reference, list(command), **options)
        )
        return str(output.decode())

    def close(self) -> None:
        """Removes what it made."""
        for reference in self.built:
            try:
                self.engine.images.remove(reference, force=True)
            except docker.errors.ImageNotFound:
                continue


@pytest.fixture
def engine(docker_url: str) -> Iterator[docker.DockerClient]:
    """The engine; no container may be left behind."""
    client = docker.DockerClient(base_url=docker_url, timeout=120)
    yield client
    client.close()


@pytest.fixture
def repository(engine: docker.DockerClient) -> Iterator[str]:
    """A base image of the test's own: its images have names of their own."""
    name = f"image-builder-test-{uuid.uuid4().hex[:8]}"
    engine.images.get(BASE).tag(name, "3.11")
    yield name
    engine.images.remove(f"{name}:3.11")


async def serve(
    tmp_path: Path, docker_url: str, repository: str, **settings: Any
) -> tuple[ImageBuilderApp, Any, str]:
    """Starts an image builder."""
    given = {"engine": docker_url, "network": "host", "base_image": f"{repository}:{{python}}", **settings}
    app = ImageBuilderApp(Settings.load(data_dir=tmp_path / "data", **given))
    try:
        await app.start()
    except FailedPrecondition as error:
        await app.stop()
        lacking(error.message)
    server = build_server(app.registrations)
    port = server.bind("127.0.0.1", 0)
    await server.start()
    return app, server, f"127.0.0.1:{port}"


@pytest.fixture
async def builder(
    tmp_path: Path, docker_url: str, engine: docker.DockerClient, repository: str, request: Any
) -> AsyncIterator[Builder]:
    """An image builder on the real engine; `@pytest.mark.parametrize(…, indirect=True)` gives settings."""
    more = getattr(request, "param", {})
    app, server, address = await serve(tmp_path, docker_url, repository, **more)
    async with connect(address) as channel:
        builder = Builder(engine, ImageServiceStub(channel), repository, tmp_path / "data")
        try:
            yield builder
        finally:
            await app.drain()
            await server.stop(0)
            await app.stop()
            builder.close()
    assert list((tmp_path / "data" / "image-builder").iterdir()) == []


async def test_packages_variables_commands_in_one_image(builder: Builder) -> None:
    """A user without rights finds packages, the SDK, all compiled, variables to the letter, the working directory."""
    nasty = 'a "b" $HOME \\ c'
    build, lines = await builder.build(
        {"kind": "env", "vars": {"NASTY": nasty}},
        {"kind": "pip", "packages": ["iniconfig>=2", "flyte>=99"]},
        {"kind": "commands", "commands": ['printf %s "$NASTY" > /nasty', "echo 'it''s' >> /nasty"]},
        {"kind": "workdir", "path": "/my app"},
    )
    assert build.state == SUCCEEDED, lines
    assert build.size_bytes > 0
    program = (
        "import iniconfig, flyte, pydantic, cloudpickle, json, os\n"
        "print(os.getuid(), os.getcwd(), os.environ['NASTY'])\n"
        "print(open('/nasty').read())\n"
        "modules = [iniconfig, flyte, pydantic, cloudpickle, json]\n"
        "print([m.__name__ for m in modules if not os.path.exists(m.__cached__)])\n"
    )
    printed = await builder.run(build.reference, "python3", "-c", program, read_only=True)
    assert printed == f"65532 /my app {nasty}\n{nasty}its\n\n[]\n"
    assert await builder.run(build.reference, "python", "-c", "print(1)") == "1\n"
    labels = builder.engine.images.get(build.reference).labels
    assert labels["hangar.image"] == build.name
    assert labels["hangar.sdk"] == SdkLayer().digest


async def test_one_more_package_rebuilds_one_layer(builder: Builder) -> None:
    """What comes before the change is taken from the cache; the same definition is not built again."""
    first, _ = await builder.build({"kind": "pip", "packages": ["iniconfig"]})
    second, lines = await builder.build(
        {"kind": "pip", "packages": ["iniconfig"]}, {"kind": "pip", "packages": ["pluggy"]}
    )
    assert (first.state, second.state) == (SUCCEEDED, SUCCEEDED)
    at = lines.index("[5/6] layer 0: install iniconfig")
    assert lines[at + 1] == "cached"
    again, _ = await builder.build({"kind": "pip", "packages": ["iniconfig"]})
    assert (again.name, again.state) == (first.name, SUCCEEDED)
    assert len(builder.engine.images.list(filters={"label": f"hangar.image={first.name}"})) == 1


async def test_an_impossible_package_fails_with_the_words_of_the_installer(builder: Builder) -> None:
    """The layer, the exit code and what uv said are in the answer; nothing is left in the engine."""
    build, lines = await builder.build(
        {"kind": "env", "vars": {"A": "1"}}, {"kind": "pip", "packages": ["hangar-no-such-package-xyz"]}
    )
    assert build.state == FAILED
    assert build.failure.kind == failure_pb2.FAILURE_KIND_IMAGE
    assert (build.failed_layer, build.exit_code) == (1, 1)
    assert build.step == "layer 1: install hangar-no-such-package-xyz"
    assert "hangar-no-such-package-xyz was not found" in build.failure.message
    assert any("was not found" in line for line in lines)
    assert builder.engine.images.list(filters={"label": f"hangar.image={build.name}"}) == []


async def test_a_failing_command_is_named(builder: Builder) -> None:
    """Of several commands the one that failed, with its exit code and output."""
    build, _ = await builder.build({"kind": "commands", "commands": ["true", "echo oh no; exit 7", "true"]})
    assert (build.state, build.failed_layer, build.exit_code) == (FAILED, 0, 7)
    assert build.failure.message == "layer 0: run echo oh no; exit 7 failed (exit code 7):\noh no"


async def test_what_the_sdk_needs_cannot_be_broken(builder: Builder) -> None:
    """A pin that the SDK cannot live with fails when its layer is built, not when a task starts."""
    build, _ = await builder.build({"kind": "pip", "packages": ["pydantic==1.10.2"]})
    assert (build.state, build.failed_layer) == (FAILED, 0)
    assert "pydantic" in build.failure.message
    kept, _ = await builder.build({"kind": "pip", "packages": ["cloudpickle==3.0.0"]})
    assert kept.state == SUCCEEDED
    program = "import cloudpickle; print(cloudpickle.__version__)"
    assert await builder.run(kept.reference, "python3", "-c", program) == "3.0.0\n"


async def test_commands_cannot_hide_or_break_the_sdk(builder: Builder) -> None:
    """A flyte of a command is not found, a command that breaks the SDK is named, another Python gets it too."""
    where = """python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))'"""
    other = f'mkdir "$({where})/flyte" && echo "raise SystemExit(3)" > "$({where})/flyte/__init__.py"'
    hidden, lines = await builder.build({"kind": "commands", "commands": [other, "true"]})
    assert hidden.state == SUCCEEDED, lines
    found = await builder.run(hidden.reference, "python3", "-c", "import flyte; print(flyte.__file__)")
    assert found == "/usr/share/hangar/site-packages/flyte/__init__.py\n"
    broken, _ = await builder.build(
        {
            "kind": "commands",
            "commands": ["true", f'rm -r "$({where})/pydantic" "$({where})/"pydantic-*', "true"],
        }
    )
    assert (broken.state, broken.failed_layer, broken.exit_code) == (FAILED, 0, 1)
    assert broken.step.startswith("layer 0: run rm -r")
    assert "No module named 'pydantic'" in broken.failure.message
    another, lines = await builder.build(
        {"kind": "commands", "commands": ["python3 -m venv --without-pip /mine"]},
        {"kind": "env", "vars": {"PATH": "/mine/bin:/usr/local/bin:/usr/bin:/bin"}},
        {"kind": "pip", "packages": ["iniconfig==2.0.0"]},
    )
    assert another.state == SUCCEEDED, lines
    program = "import flyte, pydantic, iniconfig, sys; print(sys.prefix, iniconfig.__file__)"
    printed = await builder.run(another.reference, "python3", "-c", program)
    assert printed == "/mine /mine/lib/python3.11/site-packages/iniconfig/__init__.py\n"


async def test_base_images_that_cannot_be_used_are_refused(builder: Builder) -> None:
    """One that does not exist, and one without Python: each with what is wrong."""
    missing, _ = await builder.build(base={"kind": "image", "uri": "127.0.0.1:9/none/such:1"})
    assert (missing.state, missing.failure.code) == (FAILED, "BaseImageUnavailable")
    assert missing.failure.kind == failure_pb2.FAILURE_KIND_IMAGE
    assert "base image 127.0.0.1:9/none/such:1 cannot be had" in missing.failure.message
    bare, _ = await builder.build(base={"kind": "image", "uri": "busybox:latest"})
    assert bare.state == FAILED
    assert "there is no python3 in this image: tasks need Python 3.10 or newer" in bare.failure.message


async def test_two_watch_a_build_live(builder: Builder) -> None:
    """Both see lines while it runs, the one who comes late from the start; ten requests make one build."""
    first = f"first {uuid.uuid4().hex}"  # not in the builder's cache: there it would print nothing
    request = messages.BuildImageRequest(
        definition_json=json.dumps(
            {
                "base": {"kind": "debian", "python": "3.11"},
                "layers": [{"kind": "commands", "commands": [f"echo {first}", "echo second"]}],
            }
        )
    )
    asked = [
        answer.build
        for answer in await asyncio.gather(*(builder.stub.BuildImage(request) for _ in range(10)))
    ]
    builder.built.add(asked[0].reference)
    watch = messages.WatchImageBuildRequest(name=asked[0].name)
    states_seen, early = [], []
    late = None
    async for update in builder.stub.WatchImageBuild(watch):
        states_seen.append(update.build.state)
        early += [(line.number, line.text) for line in update.lines]
        if late is None and any(text == first for _, text in early):
            late = asyncio.create_task(builder.watch(update.build))
    assert late is not None
    build, lines = await late
    assert build.state == SUCCEEDED
    assert states.IMAGE_BUILD_STATE_BUILDING in states_seen
    assert [text for _, text in early] == lines
    assert [number for number, _ in early] == list(range(len(lines)))
    assert {each.name for each in asked} == {build.name}
    listed = await builder.stub.ListImageBuilds(messages.ListImageBuildsRequest())
    assert [each.name for each in listed.builds] == [build.name]


async def test_secrets_of_the_host_are_in_no_layer(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A private index works through the host's settings; its address is in no layer, history or log."""
    write_wheel(tmp_path / "wheels", "pebble", "1.5")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine nowhere.example login me password netrc-secret-4712\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    write_wheel(tmp_path / "more", "granite", "2.5")
    with (
        serve_index(tmp_path / "wheels") as url,
        serve_index(tmp_path / "more", "definition-secret-4713") as more,
    ):
        monkeypatch.setenv("UV_INDEX", url)
        host = url.rpartition("@")[2].partition("/")[0]
        build, lines = await builder.build(
            {"kind": "pip", "packages": ["pebble"]},
            {"kind": "commands", "commands": ["echo index $UV_INDEX", "cat $NETRC"]},
            {"kind": "pip", "packages": ["granite"], "index_url": more},
        )
    assert build.state == SUCCEEDED, lines
    assert (
        await builder.run(build.reference, "python3", "-c", "import pebble; print(pebble.VERSION)") == "1.5\n"
    )
    secrets = [PASSWORD, host, "netrc-secret-4712", "definition-secret-4713"]
    text = "\n".join(lines)
    assert [word for word in secrets if word in text and word != host] == []
    image = builder.engine.images.get(build.reference)
    described = json.dumps([image.attrs, image.history()])
    assert [word for word in secrets if word in described] == []
    saved = await asyncio.to_thread(lambda: b"".join(image.save()))
    base = await asyncio.to_thread(lambda: len(builder.engine.images.get(BASE).attrs["RootFS"]["Layers"]))
    assert leaks(saved, base, [word.encode() for word in secrets]) == []


async def test_files_projects_and_secrets(builder: Builder, tmp_path: Path) -> None:
    """Files and locked packages are where the definition says; a secret is seen while layers are made, and in none."""
    files = tmp_path / "files"
    (files / "proj").mkdir(parents=True)
    (files / "proj" / "a b.txt").write_text("deep")
    (files / "top.py").write_text("NAME = 'top'\n")
    (files / "pyproject.toml").write_text(PROJECT)
    (files / "pebbles.py").write_text("NAME = 'pebbles'\n")
    command = [uv.find_uv_bin(), "lock", "--quiet", "--python", "3.11"]
    await asyncio.to_thread(subprocess.run, command, cwd=files, check=True)
    image = (
        flyte.Image.from_debian_base("3.11")
        .with_source_folder(files / "proj", dst="data")
        .with_source_file(files / "top.py")
        .with_uv_project(files / "pyproject.toml", project_install_mode="install_project")
        .with_commands(
            [
                'test "$(printf %s "$BUILD_TOKEN" | rev)" = 4174-terces-rellac',
                "test $(rev /etc/flyte/secrets/pem) = 5174-tsoh",
            ],
            secret_mounts=["build-token", SimpleNamespace(key="pem", mount="/etc/flyte/secrets")],
        )
    )
    secrets = {"build-token": b"caller-secret-4714", "pem": b"host-4715"}
    missing, _ = await builder.build_image(image)
    assert (missing.state, missing.failure.code) == (FAILED, "SecretMissing")
    build, lines = await builder.build_image(image, secrets=secrets, force=True)
    assert build.state == SUCCEEDED, lines
    program = (
        "import os, iniconfig, pebbles, top, importlib.metadata as m\n"
        "print(os.getcwd(), open('data/proj/a b.txt').read(), pebbles.NAME, top.NAME, m.version('iniconfig'))\n"
    )
    printed = await builder.run(build.reference, "python3", "-c", program)
    assert printed == "/app deep pebbles top 2.0.0\n"
    words = list(secrets.values())
    saved = await asyncio.to_thread(lambda: b"".join(builder.engine.images.get(build.reference).save()))
    base = await asyncio.to_thread(lambda: len(builder.engine.images.get(BASE).attrs["RootFS"]["Layers"]))
    assert leaks(saved, base, words) == []
    described = json.dumps([builder.engine.images.get(build.reference).attrs, lines])
    assert builder.data is not None
    record = (builder.data / "image-builder.db").read_bytes()
    record += (builder.data / "image-builder.db-wal").read_bytes()
    assert [word for word in words if word in described.encode() or word in record] == []
    request = messages.GetImageAttestationRequest(name=build.name)
    attestation = await builder.stub.GetImageAttestation(request)
    found = {component["purl"] for component in json.loads(attestation.sbom_json)["components"]}
    assert {"pkg:pypi/iniconfig@2.0.0", "pkg:pypi/pebbles@1"} <= found
    assert any(purl.startswith("pkg:deb/debian/libc6@") for purl in found)
    materials = json.loads(attestation.provenance_json)["predicate"]["buildDefinition"][
        "resolvedDependencies"
    ]
    assert sum("digest" in material for material in materials) == 4


PROJECT = """[project]
name = "pebbles"
version = "1"
requires-python = ">=3.10"
dependencies = ["iniconfig==2.0.0"]
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[tool.hatch.build.targets.wheel]
only-include = ["pebbles.py"]
"""
POETRY_LOCK = """[[package]]
name = "iniconfig"
version = "2.0.0"
description = ""
optional = false
python-versions = ">=3.7"
groups = ["main"]
files = []

[metadata]
lock-version = "2.1"
python-versions = ">=3.10"
content-hash = "HASH"
"""
_HASH = "from poetry.factory import Factory; print(Factory().create_poetry('.').locker._get_content_hash())"


async def test_a_poetry_project(builder: Builder, tmp_path: Path) -> None:
    """Poetry itself reads its lock file; one that does not fit is refused in its words."""
    (tmp_path / "pyproject.toml").write_text(PROJECT.partition("[build")[0])
    command = [uv.find_uv_bin(), "tool", "run", "--quiet", "--from", "poetry>=2,<3", "python", "-c", _HASH]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    image = flyte.Image.from_debian_base("3.11").with_poetry_project(tmp_path / "pyproject.toml")
    (tmp_path / "poetry.lock").write_text(POETRY_LOCK)
    wrong, _ = await builder.build_image(image)
    assert (wrong.state, wrong.failed_layer, wrong.exit_code) == (FAILED, 0, 1)
    assert "pyproject.toml changed significantly since poetry.lock" in wrong.failure.message
    (tmp_path / "poetry.lock").write_text(POETRY_LOCK.replace("HASH", done.stdout.strip()))
    build, lines = await builder.build_image(image)
    assert build.state == SUCCEEDED, lines
    program = "import importlib.metadata as m; print(m.version('iniconfig'))"
    assert await builder.run(build.reference, "python3", "-c", program) == "2.0.0\n"


async def test_a_dockerfile(builder: Builder, tmp_path: Path) -> None:
    """Its steps, stages and copies are as with `docker build`; the SDK comes on top; a failing step is named."""
    context = tmp_path / "context"
    context.mkdir()
    file = context / "Dockerfile"
    (context / "hello.py").write_text("print('hello from a dockerfile')\n")
    (context / ".dockerignore").write_text("*.bin\n")
    (context / "left.bin").write_text("x")
    base = f"{builder.repository}:3.11"
    file.write_text(
        f"FROM {base} AS first\nRUN echo made > /made\nFROM {base}\nCOPY --from=first /made /made\n"
        "WORKDIR /root\nCOPY . .\n"
    )
    image = flyte.Image.from_dockerfile(file)
    build, lines = await builder.build_image(image)
    assert build.state == SUCCEEDED, lines
    program = (
        "import flyte, os, runpy\nrunpy.run_path('hello.py')\n"
        "print(sorted(os.listdir('.')), open('/made').read())\n"
    )
    printed = await builder.run(build.reference, "python3", "-c", program)
    listed = "['.dockerignore', 'Dockerfile', 'hello.py'] made"
    assert printed.replace("'.bashrc', ", "").replace("'.profile', ", "") == (
        f"hello from a dockerfile\n{listed}\n\n"
    )
    file.write_text(f"FROM {base}\nRUN echo oh no && exit 9\n")
    failed, _ = await builder.build_image(image)
    assert (failed.state, failed.exit_code, failed.step) == (
        FAILED,
        9,
        "Dockerfile: RUN echo oh no && exit 9",
    )
    assert failed.failure.message.endswith("oh no")
    file.write_text(f"FROM {base}\nRUNN true\n")
    wrong, _ = await builder.build_image(image)
    assert "unknown instruction: RUNN" in wrong.failure.message
    file.write_text(f"FROM {base}\nCOPY nothing /\n")
    absent, _ = await builder.build_image(image)
    assert '"/nothing"' in absent.failure.message


async def test_an_image_for_container_tasks(builder: Builder) -> None:
    """It is the base image as it is, with neither Python nor the SDK; it can be removed again."""
    image = flyte.Image.from_base("busybox:latest").without_sdk()
    build, lines = await builder.build_image(image)
    assert build.state == SUCCEEDED, lines
    assert await builder.run(build.reference, "id", "-u") == "0\n"
    await builder.stub.DeleteImageBuild(messages.DeleteImageBuildRequest(name=build.name))
    assert builder.engine.images.list(filters={"label": f"hangar.image={build.name}"}) == []


async def test_a_killed_builder_finishes_when_it_starts_again(
    tmp_path: Path, docker_url: str, engine: docker.DockerClient, repository: str
) -> None:
    """SIGKILL in the middle: the next process takes the build up by itself, and its finished steps from the cache."""
    [port] = free_ports(1)
    environ = {
        **os.environ,
        "HANGAR_DATA_DIR": str(tmp_path / "data"),
        "HANGAR_IMAGE_BUILDER_ENGINE": docker_url,
        "HANGAR_IMAGE_BUILDER_NETWORK": "host",
        "HANGAR_IMAGE_BUILDER_BASE_IMAGE": f"{repository}:{{python}}",
        "HANGAR_IMAGE_BUILDER_GRPC_PORT": str(port),
    }
    command = [sys.executable, "-m", "services.image_builder"]
    marker = uuid.uuid4().hex
    wait = f"echo {marker}; [ -e /tmp/{marker} ] || sleep 3"
    definition = {
        "base": {"kind": "debian", "python": "3.11"},
        "layers": [{"kind": "commands", "commands": [f"echo first-{marker}", wait]}],
    }
    request = messages.BuildImageRequest(definition_json=json.dumps(definition))
    server = ServerProcess(command, tmp_path / "first.log", environ=environ)
    try:
        server.wait_ready(lambda: "serving" in server.log.read_text(), "the image builder", 60)
        async with connect(f"127.0.0.1:{port}") as channel:
            builder = Builder(engine, ImageServiceStub(channel), repository)
            build = (await builder.stub.BuildImage(request)).build
            builder.built.add(build.reference)
            await asyncio.to_thread(until, lambda: has_process(marker, "sleep 3"), "the command runs", 120)
            os.kill(server.pid, signal.SIGKILL)
    finally:
        server.stop()
    assert engine.images.list(filters={"label": f"hangar.image={build.name}"}) == []
    server = ServerProcess(command, tmp_path / "second.log", environ=environ)
    try:
        server.wait_ready(lambda: "serving" in server.log.read_text(), "the image builder", 60)
        async with connect(f"127.0.0.1:{port}") as channel:
            builder.stub = ImageServiceStub(channel)
            done, lines = await builder.watch(build)
            assert done.state == SUCCEEDED, lines
            at = lines.index(f"[5/6] layer 0: run echo first-{marker}")
            assert lines[at + 1] == "cached"
            assert await builder.run(done.reference, "python3", "-c", "import flyte; print(1)") == "1\n"
    finally:
        server.stop()
        builder.close()
    assert list((tmp_path / "data" / "image-builder").iterdir()) == []


def leaks(saved: bytes, base_layers: int, words: list[bytes]) -> list[str]:
    """Files of an image's own layers that hold one of some words, or that a mount left behind."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(saved)) as image:
        manifest = json.load(image.extractfile("manifest.json"))  # type: ignore[arg-type]
        own = manifest[0]["Layers"][base_layers:]
        assert own
        for name in own:
            with tarfile.open(fileobj=image.extractfile(name)) as layer:
                for member in layer:
                    content = layer.extractfile(member).read() if member.isfile() else b""  # type: ignore[union-attr]
                    left = member.name.startswith("run/") and not member.isdir()
                    if left or any(word in content or word in member.name.encode() for word in words):
                        found.append(member.name)
    return found


async def test_apt_packages(builder: Builder) -> None:
    """Debian packages are there, and neither their lists nor archives are in the image."""
    build, lines = await builder.build({"kind": "apt", "packages": ["hello"]})
    assert build.state == SUCCEEDED, lines
    assert await builder.run(build.reference, "hello") == "Hello, world!\n"
    left = await builder.run(
        build.reference,
        "find",
        "/var/lib/apt/lists",
        "/var/cache/apt",
        "-type",
        "f",
        "-size",
        "+8k",
        user="0",
    )
    assert left == ""


async def test_stopping_cancels_the_builder(
    tmp_path: Path, docker_url: str, engine: docker.DockerClient, repository: str
) -> None:
    """A stop ends a running step at once; nothing half-built is left, and the next service starts it again."""
    app, server, address = await serve(tmp_path, docker_url, repository)
    marker = uuid.uuid4().hex
    command = f"echo {marker}; sleep 1000"
    async with connect(address) as channel:
        builder = Builder(engine, ImageServiceStub(channel), repository)
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


def has_process(marker: str, command: str) -> bool:
    """Says whether a step of a build still runs: the build writes the marker, its script runs the command."""
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                line = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                script = directory / "root" / "run" / "hangar" / "layer" / "run.sh"
                if line == command and marker in script.read_text():
                    return True
            except OSError:
                continue
    return False


def answers(port: int) -> bool:
    """Says whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A real registry on loopback."""
    binary = shutil.which("docker-registry")
    if binary is None:
        lacking("Debian's docker-registry is not installed")
    port = free_ports(1)[0]
    (tmp_path / "registry.yml").write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {tmp_path}/registry\n"
        f"http:\n  addr: 127.0.0.1:{port}\n"
    )
    server = ServerProcess([binary, "serve", str(tmp_path / "registry.yml")], tmp_path / "registry.log")
    try:
        server.wait_ready(lambda: answers(port), "docker-registry", 30)
        yield f"127.0.0.1:{port}"
    finally:
        server.stop()


async def test_a_registry_gets_the_image(
    tmp_path: Path, docker_url: str, engine: docker.DockerClient, repository: str, registry: str
) -> None:
    """The answer names the registry and the digest there; an engine that lacks the image pulls it from there."""
    app, server, address = await serve(tmp_path, docker_url, repository, registry=registry)
    async with connect(address) as channel:
        builder = Builder(engine, ImageServiceStub(channel), repository)
        try:
            build, lines = await builder.build({"kind": "commands", "commands": ["true"]})
            assert build.state == SUCCEEDED, lines
            assert build.reference == f"{registry}/hangar/{build.name}"
            assert build.image_digest.startswith("sha256:")
            builder.close()
            again, _ = await builder.build({"kind": "commands", "commands": ["true"]})
            assert (again.state, again.image_digest) == (SUCCEEDED, build.image_digest)
            await asyncio.to_thread(engine.images.pull, build.reference, "latest")
            assert await builder.run(build.reference, "python3", "-c", "import flyte; print(1)") == "1\n"
        finally:
            await app.drain()
            await server.stop(0)
            await app.stop()
            builder.close()


async def test_a_registry_that_refuses(
    tmp_path: Path, docker_url: str, engine: docker.DockerClient, repository: str
) -> None:
    """A push that fails is the platform's failure, with the registry's words."""
    app, server, address = await serve(tmp_path, docker_url, repository, registry="127.0.0.1:9")
    async with connect(address) as channel:
        builder = Builder(engine, ImageServiceStub(channel), repository)
        try:
            build, _ = await builder.build({"kind": "commands", "commands": ["true"]})
            assert (build.state, build.failure.code) == (FAILED, "ImagePushError")
            assert build.failure.kind == failure_pb2.FAILURE_KIND_SYSTEM
            assert "127.0.0.1:9" in build.failure.message
            assert build.step == "push to 127.0.0.1:9"
        finally:
            await app.drain()
            await server.stop(0)
            await app.stop()
            builder.close()


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
    app, server, address = await serve(tmp_path, url, "busybox")
    write = "for part in 1 2 3 4; do dd if=/dev/zero of=/part$part bs=1M count=12; done"
    image = flyte.Image.from_base("busybox:latest").without_sdk().with_commands([write])
    async with connect(address) as channel:
        builder = Builder(engine, ImageServiceStub(channel), "busybox", tmp_path / "data")
        try:
            disk.fill(leave=30 << 20 if by == "the step" else 64 << 10)
            build, lines = await builder.build_image(image)
            assert (build.state, build.failure.code) == (FAILED, "DiskFull"), lines
            assert build.failure.kind == failure_pb2.FAILURE_KIND_SYSTEM
            assert build.failure.message.startswith(
                "the disk of the Docker engine that builds images is full"
            )
            assert engine.images.list(filters={"label": f"hangar.image={build.name}"}) == []
            disk.make_room()
            again, lines = await builder.build_image(image)
            assert (again.name, again.state) == (build.name, SUCCEEDED), lines
            assert await builder.run(again.reference, "wc", "-c", "/part4") == "12582912 /part4\n"
        finally:
            await app.drain()
            await server.stop(0)
            await app.stop()
            builder.close()


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


def test_it_runs_as_a_process(tmp_path: Path, docker_url: str) -> None:
    """`python -m services.image_builder` refuses to start without a builder, naming what to install."""
    environ = {
        "PATH": os.environ["PATH"],
        "HANGAR_DATA_DIR": str(tmp_path),
        "HANGAR_IMAGE_BUILDER_DOCKER": "/none/docker",
        "HANGAR_IMAGE_BUILDER_GRPC_PORT": "0",
    }
    command = [sys.executable, "-m", "services.image_builder"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "image builds need BuildKit: /none/docker is not found" in done.stderr

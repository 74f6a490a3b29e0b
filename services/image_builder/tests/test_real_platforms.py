"""Images for other platforms than the engine's, really built and run: by emulation, and with a static `uv`."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

import docker
import pytest
import uv

import flyte
from hangar.image.v1 import image_service_pb2 as messages
from integration_tests.components.images import ARM64_PYTHON, BUSYBOX, load, make_archive
from integration_tests.components.registry import Registry
from services.image_builder.installers import Installers
from services.image_builder.tests.real_builder import BASE, FAILED, SUCCEEDED, Builder, building

pytestmark = pytest.mark.timeout(400)
AMD64, ARM64 = "linux/amd64", "linux/arm64"
WHERE = (
    "import flyte, platform, markupsafe._speedups as m; print(platform.machine(), m.__file__.split('-')[-3])"
)


@pytest.fixture
def both(engine: docker.DockerClient, repository: str, arm64_image: str) -> str:
    """Address of a base that is another image for each platform, as engines without a registry need it."""
    engine.images.get(BASE).tag(f"{repository}-amd64", "3.11")
    engine.images.get(arm64_image).tag(f"{repository}-arm64", "3.11")
    return f"{repository}-{{arch}}:{{python}}"


async def test_one_definition_is_built_for_two_platforms(
    tmp_path: Path, docker_url: str, engine: docker.DockerClient, repository: str, both: str
) -> None:
    """Each has packages and programs of its own platform; the emulated one is on record and found as such."""
    image = flyte.Image.from_debian_base("3.11", platform=(AMD64, ARM64)).with_pip_packages(
        "markupsafe==3.0.2"
    )
    async with building(tmp_path, docker_url, engine, repository, base_image=both) as builder:
        try:
            found = {}
            for platform in (AMD64, ARM64):
                build, lines = await builder.build_image(image, platform=platform)
                assert (build.state, build.platform) == (SUCCEEDED, platform), lines
                found[platform] = build.reference
                assert engine.images.get(build.reference).labels["hangar.platform"] == platform
            assert await builder.run(found[AMD64], "python3", "-c", WHERE) == "x86_64 x86_64\n"
            assert (await builder.run(found[ARM64], "python3", "-c", WHERE)).endswith("aarch64 aarch64\n")
            text = image.definition_json
            request = messages.BuildImageRequest(definition_json=text, platform=ARM64)
            again = (await builder.stub.BuildImage(request)).build
            assert (again.reference, again.cached) == (found[ARM64], True)
            attestation = await builder.stub.GetImageAttestation(
                messages.GetImageAttestationRequest(name=again.name)
            )
            assert "pkg:pypi/markupsafe@3.0.2" in attestation.sbom_json
            [installer] = (builder.data / "image-builder" / "uv").iterdir()
            alone = {str(installer): {"bind": "/uv", "mode": "ro"}}
            said = await builder.run(BUSYBOX, "/uv", "--version", volumes=alone)
            assert said.startswith(f"uv {version('uv')}"), "where there is no C library"
        finally:
            for architecture in ("amd64", "arm64"):
                builder.built.add(f"{repository}-{architecture}:3.11")


async def test_bases_that_there_are_not_for_the_platform(
    builder: Builder, engine: docker.DockerClient, registry: Registry, arm64_image: str
) -> None:
    """The registry has none, the engine another one, the address lies: each fails with what is wrong."""
    address = f"{registry.address}/only-amd64:1"
    engine.images.get(BUSYBOX).tag(address)
    builder.built.add(address)
    engine.images.push(address)
    image = flyte.Image.from_base(address).without_sdk().with_commands(["true"])
    for base, words in (
        (image, f"has none for {ARM64}, only for {AMD64}"),
        (image.clone(base_image="127.0.0.1:9/busybox:1"), "base image 127.0.0.1:9/busybox:1 cannot be had"),
        (image.clone(base_image=BUSYBOX), f"The engine itself holds {BUSYBOX} for {AMD64} only."),
    ):
        build, _ = await builder.build_image(base, platform=ARM64)
        assert build.state == FAILED
        assert words in build.failure.message
    archive = make_archive(ARM64_PYTHON)
    assert archive is not None
    lies = f"{builder.repository}-lies:1"
    load(engine, archive, lies, "amd64")
    builder.built.add(lies)
    build, _ = await builder.build_image(flyte.Image.from_base(lies))
    assert build.state == FAILED
    assert f"the base image is not for {AMD64}" in build.failure.message


async def test_a_base_without_the_c_library_of_uv(
    tmp_path: Path,
    docker_url: str,
    engine: docker.DockerClient,
    repository: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A static one takes its place, from the package index; without one there the error says what to do."""
    loader = b"/lib64/ld-linux-x86-64.so.2"
    needy = tmp_path / "uv"
    content = Path(uv.find_uv_bin()).read_bytes()
    assert loader in content
    needy.write_bytes(content.replace(loader, b"/lib64/ld-missing-64.so.2\0\0", 1))
    shutil.copymode(uv.find_uv_bin(), needy)
    monkeypatch.setattr(Installers, "given", lambda *_: needy)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    async with building(tmp_path / "a", docker_url, engine, repository) as builder:
        build, lines = await builder.build({"kind": "pip", "packages": ["iniconfig==2.0.0"]})
        assert build.state == SUCCEEDED, lines
        assert lines.count("the base image has no glibc: the static uv is used, which needs none") == 1
        other, lines = await builder.build({"kind": "commands", "commands": ["true"]})
        assert other.state == SUCCEEDED
        assert "failed with exit code 78" not in lines, "it is known by now"
    async with building(
        tmp_path / "b", docker_url, engine, repository, index_url="http://127.0.0.1:9/simple"
    ) as builder:
        build, _ = await builder.build({"kind": "commands", "commands": ["true"]})
        assert (build.state, build.failure.code) == (FAILED, "InstallerUnavailable")
        assert "name one for linux/amd64 in HANGAR_IMAGE_BUILDER_UV" in build.failure.message

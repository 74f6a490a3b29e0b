"""What may be asked for, where it is built, and what is refused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from hangar.image.v1 import image_build_pb2 as states
from hangar.image.v1 import image_service_pb2 as messages
from services.common.errors import FailedPrecondition, InvalidArgument
from services.image_builder.app import ImageBuilderApp
from services.image_builder.buildkit import BuildKit
from services.image_builder.engine import BuilderEngine
from services.image_builder.settings import Settings
from services.image_builder.tests.fakes import FakeDocker
from services.image_builder.tests.world import BUILDING, QUEUED, SUCCEEDED, World, definition


async def test_the_date_of_the_host_is_a_part_of_an_image(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After which no package counts: of its name and of its provenance, unless the author gives one."""
    world.docker.go()
    layers = [
        {"kind": "pip", "packages": ["six"]},
        {"kind": "pip", "packages": ["a"], "exclude_newer": "2026-01-02"},
    ]
    text = json.dumps({"base": {"kind": "debian", "python": "3.11"}, "layers": layers})
    names = []
    for date in ("", "2026-02-01"):
        monkeypatch.setenv("UV_EXCLUDE_NEWER", date)
        build = (await world.stub.BuildImage(messages.BuildImageRequest(definition_json=text))).build
        await world.watch(build.name)
        names.append(build.name)
        made = json.loads((await world.builds.attestation(build.name))[1])["predicate"]["buildDefinition"]
        assert made["internalParameters"].get("excludeNewer", "") == date
        assert made["externalParameters"]["definition"]["layers"] == layers
    assert names[0] != names[1]


async def test_an_image_has_the_name_of_its_author(world: World) -> None:
    """For people: in the log, on record, and as the one who asks calls it; it makes no other image."""
    world.docker.go()

    async def ask(name: str) -> states.ImageBuild:
        text = json.dumps({"base": {"kind": "debian", "python": "3.11", "name": name}})
        request = messages.BuildImageRequest(definition_json=text)
        build: states.ImageBuild = (await world.stub.BuildImage(request)).build
        return build

    name = (await ask("trainer")).name
    _, lines, build = await world.watch(name)
    assert build.title == (await world.get(name)).title == "trainer"
    assert lines[0] == f"image trainer ({name})"
    again = await ask("other")
    assert (again.name, again.cached, again.title) == (name, True, "other")
    assert (await world.another().get(name)).image.title == "trainer"


async def test_a_dry_run_builds_nothing(world: World) -> None:
    """It says what the image is called and whether it exists."""
    asked = await world.ask(dry_run=True)
    assert (asked.cached, world.docker.started) == (False, [])
    assert asked.reference == f"hangar/{asked.name}"
    world.docker.go()
    await world.watch((await world.ask()).name)
    assert (await world.ask(dry_run=True)).cached


@pytest.mark.parametrize(
    ("base", "refused"),
    [
        ({"kind": "image", "uri": "python:3.12"}, ""),
        ({"kind": "image", "uri": "evil.example/x"}, "evil.example/x"),
        ({"kind": "dockerfile", "dockerfile": {"text": "FROM python:3.12 AS a\nFROM a\n"}}, ""),
        (
            {
                "kind": "dockerfile",
                "dockerfile": {"text": "FROM python:3.12\nCOPY --from=evil.example/x /a /a\n"},
            },
            "evil.example/x",
        ),
        ({"kind": "debian"}, ""),
        ({"kind": "debian", "registry": "ghcr.io/team/more"}, ""),
        ({"kind": "debian", "registry": "ghcr.io/teams"}, "HANGAR_IMAGE_BUILDER_REGISTRIES"),
        ({"kind": "debian", "registry": "me.example", "registry_secret": "mine"}, ""),
        (
            {"kind": "debian", "registry": "you.example", "registry_secret": "mine"},
            "HANGAR_IMAGE_BUILDER_AUTHOR_REGISTRIES",
        ),
        (
            {"kind": "debian", "registry": "own.example:5000/me", "registry_secret": "mine"},
            "is the platform's own registry",
        ),
        ({"kind": "debian", "registry_secret": "a/b"}, r"base\.registry_secret is 'a/b'"),
    ],
)
async def test_the_operator_allows_bases_and_registries(
    tmp_path: Path, base: dict[str, Any], refused: str
) -> None:
    """What is not on the operator's lists is refused by its name before anything is built."""
    world = World(
        tmp_path,
        FakeDocker(tmp_path / "docker"),
        allowed_bases=("python:*",),
        registry="own.example:5000",
        registries=("ghcr.io/team",),
        author_registries=("me.example", "own.example:5000"),
    )
    if not refused:
        assert (await world.maker.plan(json.dumps({"base": base}), "")).image.name
        return
    asking = world.builds.build(json.dumps({"base": base}), dry_run=True)
    with pytest.raises(InvalidArgument, match=refused):
        await asking


async def test_an_image_that_exists_is_not_built(world: World) -> None:
    """It is answered at once, also by a service that never heard of it."""
    world.docker.go()
    name = (await world.ask()).name
    await world.watch(name)
    other = World(world.docker.root / "other", world.docker)
    build = await other.builds.build(definition())
    assert (build.image.name, build.cached, build.state.value) == (name, True, "succeeded")
    assert (await other.builds.get(name)).image.reference == f"hangar/{name}"
    assert world.docker.started == [name]
    (world.docker.root / "images" / name).unlink()
    assert (await world.ask()).state in {QUEUED, BUILDING}
    await world.watch(name)
    assert world.docker.started == [name, name]


async def test_what_is_not_known_is_not_found(world: World) -> None:
    """A restarted service says honestly that it forgot, and what to do."""
    for call in (
        world.stub.GetImageBuild(messages.GetImageBuildRequest(name="0" * 32)),
        world.watch("0" * 32),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="Ask for the image again with BuildImage") as caught:
            await call
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError, match="32 hexadecimal digits"):
        await world.get("x/../y")
    with pytest.raises(grpc.aio.AioRpcError, match="from_line is -1: use 0"):
        await world.watch("0" * 32, -1)


async def test_wrong_requests_are_refused(world: World) -> None:
    """INVALID_ARGUMENT names the field: the layer of a definition, the platform, the size."""
    for request, words in (
        (
            messages.BuildImageRequest(definition_json='{"layers": [{"kind": "uv_project"}]}'),
            r"layers\[0\]\.pyproject",
        ),
        (messages.BuildImageRequest(platform="linux/s390x"), "PLATFORM_ENGINES .*or install QEMU"),
        (messages.BuildImageRequest(definition_json=" " * 4_130_000), "up to 4128768 bytes"),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match=words) as caught:
            await world.stub.BuildImage(request)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_platforms_are_images_of_their_own(world: World) -> None:
    """One that a definition names and that can be had is chosen; another one than it names is refused."""
    world.docker.go()

    async def ask(named: list[str], platform: str = "") -> states.ImageBuild:
        text = json.dumps({"base": {"kind": "debian", "python": "3.11", "platform": named}})
        request = messages.BuildImageRequest(definition_json=text, platform=platform)
        build = (await world.stub.BuildImage(request)).build
        return (await world.watch(build.name))[2]

    both = ["linux/386", "linux/x86_64"]
    asked = [
        (both, ""),
        (both, "linux/i386"),
        (["linux/s390x", "linux/386"], ""),
        ([], "linux/386"),
        ([], ""),
    ]
    found = [await ask(*each) for each in asked]
    assert [build.state for build in found] == [SUCCEEDED] * 5
    assert [build.platform.partition("/")[2] for build in found] == ["amd64", "386", "386", "386", "amd64"]
    assert len({build.name for build in found}) == 2, "what names it changes nothing of the image"
    for named, platform, words in (
        (["linux/386"], "linux/amd64", "the image is for linux/386 only"),
        (["linux/s390x"], "", "does not run programs of linux/s390x"),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match=words):
            await ask(named, platform)


async def test_builds_go_to_the_engine_that_is_named_for_their_platform(world: World) -> None:
    """Their images are kept, found and removed there; an engine of another platform than named is told the operator."""
    arm = FakeDocker(world.settings.data_dir / "arm", "linux/arm64")
    world.docker.go()
    arm.go()
    named = {each: world.site(arm) for each in ("linux/arm64", "linux/riscv64")}
    builds = world.another(named)
    name = (await builds.build(definition(), "linux/arm64")).image.name
    async for _build, _lines in builds.watch(name, 0):
        pass
    assert (world.docker.started, arm.started) == ([], [name])
    found = await world.another(named).build(definition(), "linux/arm64")
    assert (found.cached, found.state.value, found.image.platform) == (True, "succeeded", "linux/arm64")
    await builds.delete(name)
    assert list((arm.root / "images").iterdir()) == []
    with pytest.raises(FailedPrecondition, match="engine for linux/riscv64 that is one of linux/arm64"):
        await builds.build(definition(), "linux/riscv64")
    with pytest.raises(InvalidArgument, match="write platforms and URLs"):
        Settings.load(platform_engines={"arm": "host"})
    with pytest.raises(InvalidArgument, match=r"ssh -N -L .* me@grace"):
        Settings.load(platform_engines={"linux/arm64": "ssh://me@grace"})
    await builds.stop()


async def test_lists_have_pages(world: World) -> None:
    """Newest first, so many at a time, and a token of another list is refused."""
    world.docker.go()
    names = [(await world.ask(number)).name for number in range(5)]
    for name in names:
        await world.watch(name)
    found, token = [], ""
    while True:
        request = messages.ListImageBuildsRequest(page_size=2, page_token=token)
        page = await world.stub.ListImageBuilds(request)
        found.append([build.name for build in page.builds])
        token = page.next_page_token
        if not token:
            break
    assert found == [[names[4], names[3]], [names[2], names[1]], [names[0]]]
    with pytest.raises(grpc.aio.AioRpcError, match="page_token is not one that this list gave"):
        await world.stub.ListImageBuilds(messages.ListImageBuildsRequest(page_token="x"))


async def test_an_engine_without_buildkit_is_named(tmp_path: Path) -> None:
    """One that does not take the connection over: the message has its answer and what to do."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        version = b'{"ApiVersion": "1.41"}'
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\nConnection: close\r\n\r\n" + version
        writer.write(answer if "/version" in request else b"HTTP/1.1 404 Not Found\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        engine = BuilderEngine(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(FailedPrecondition, match=r"BuildKit: .* answers /session with '404 Not Found'"):
            await BuildKit(engine, "default", tmp_path).check()
        await engine.close()


async def test_the_service_says_at_its_start_what_is_missing(tmp_path: Path) -> None:
    """Without an engine it does not start; one that is told to start anyway says it when asked to build."""
    settings = Settings.load(data_dir=tmp_path, engine="tcp://127.0.0.1:9")  # nobody listens there
    app = ImageBuilderApp(settings)
    with pytest.raises(FailedPrecondition, match=r"127\.0\.0\.1:9 is not reachable"):
        await app.start()
    await app.stop()
    lenient = ImageBuilderApp(settings, check_at_start=False)
    await lenient.start()
    await lenient.stop()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BASE_IMAGE", "python:3.11", "write {python} where the version goes"),
        ("REGISTRY", "https://registry.example", "without a scheme"),
        ("NETWORK", "bridge", "'default', 'host' or 'none'"),
        ("CONCURRENCY", "0", "greater than or equal to 1"),
        ("REGISTRYY", "x", "did you mean HANGAR_IMAGE_BUILDER_REGISTRY"),
    ],
)
def test_wrong_settings_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    """The message names the variable and what to write."""
    monkeypatch.setenv(f"HANGAR_IMAGE_BUILDER_{name}", value)
    with pytest.raises(InvalidArgument) as caught:
        Settings.load()
    assert words in caught.value.message
    assert f"HANGAR_IMAGE_BUILDER_{name}" in caught.value.message

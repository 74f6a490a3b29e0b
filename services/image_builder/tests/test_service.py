"""Builds run once, at most so many at a time, end with the service, and are followed by whoever asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import uv

from hangar.core.v1 import failure_pb2
from hangar.image.v1 import image_build_pb2 as states
from hangar.image.v1 import image_service_pb2 as messages
from hangar.image.v1.image_service_pb2_grpc import ImageServiceStub, add_ImageServiceServicer_to_server
from services.common.blobs import BlobStore
from services.common.channel import connect
from services.common.clock import ManualClock
from services.common.db import migrate, writer_engine
from services.common.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from services.common.sdk_layer import SdkLayer
from services.common.serve import Registration, build_server
from services.image_builder import migrations
from services.image_builder.app import ImageBuilderApp
from services.image_builder.buildkit import BuildKit
from services.image_builder.builds import Build, Image
from services.image_builder.containers import ContainerMaker
from services.image_builder.context import Contexts
from services.image_builder.dockerfile import Step
from services.image_builder.engine import BuilderEngine
from services.image_builder.installers import Installers
from services.image_builder.service import ImageBuilds
from services.image_builder.servicer import ImageServicer
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


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The image builder over gRPC."""
    world = World(tmp_path, FakeDocker(tmp_path / "docker"))
    async with AsyncExitStack() as stack:
        server = build_server(
            [
                Registration(
                    add_ImageServiceServicer_to_server,
                    ImageServicer(world.builds),
                    "hangar.image.v1.ImageService",
                )
            ]
        )
        port = server.bind("127.0.0.1", 0)
        await server.start()
        stack.push_async_callback(world.builds.stop)
        stack.push_async_callback(server.stop, 0)
        stack.callback(world.database.dispose)
        world.stub = ImageServiceStub(await stack.enter_async_context(connect(f"127.0.0.1:{port}")))
        yield world


async def until(probe: Callable[[], bool | Awaitable[bool]]) -> None:
    """Waits for something to become true."""
    async with asyncio.timeout(30):
        while True:
            answer = probe()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)


async def test_ten_requests_make_one_build(world: World) -> None:
    """However many ask for one image at once, the builder runs once and all get the same name."""
    asked = await asyncio.gather(*(world.ask() for _ in range(10)))
    world.docker.go()
    _, _, build = await world.watch(asked[0].name)
    assert build.state == SUCCEEDED
    assert {each.name for each in asked} == {build.name}
    assert world.docker.started == [build.name]
    again = await world.ask()
    assert (again.state, world.docker.started) == (SUCCEEDED, [build.name])


async def test_builds_wait_for_a_place(world: World) -> None:
    """At most `concurrency` builds run; a further one is QUEUED and runs when one has ended."""
    names = [(await world.ask(number)).name for number in range(3)]
    await until(lambda: len(world.docker.started) == 2)
    found = [(await world.get(name)).state for name in names]
    assert found == [BUILDING, BUILDING, QUEUED]
    world.docker.go()
    for name in names:
        assert (await world.watch(name))[2].state == SUCCEEDED
    *at_once, last = world.docker.started
    assert (sorted(at_once), last) == (sorted(names[:2]), names[2])


async def test_watchers_see_the_whole_log(world: World) -> None:
    """One who is there from the start, one who comes late and one who goes on after a line: all see what is theirs."""
    build = await world.ask()
    early = asyncio.create_task(world.watch(build.name))
    await until(lambda: world.docker.started != [])
    world.docker.go()
    seen, lines, last = await early
    assert seen[-2:] == [BUILDING, SUCCEEDED]
    assert f"hello from {build.name}" in lines
    assert (await world.watch(build.name))[1] == lines
    assert (await world.watch(build.name, from_line=len(lines) - 1))[1] == lines[-1:]
    assert last.log_lines == len(lines)
    assert (last.size_bytes, last.cached) == (5, False)


async def test_a_failed_build_says_what_failed(world: World) -> None:
    """The step, the exit code, the tool's words and the log are kept; whose fault it is, too."""
    world.docker.fails = True
    world.docker.go()
    _, lines, build = await world.watch((await world.ask()).name)
    assert build.state == FAILED
    assert build.step == "check Python"
    assert build.exit_code == 3
    assert not build.HasField("failed_layer")
    assert build.failure.kind == failure_pb2.FAILURE_KIND_IMAGE
    assert build.failure.code == "ImageBuildError"
    assert build.failure.message == f"check Python failed (exit code 3):\nhello from {build.name}\nit broke"
    assert lines[-2:] == ["it broke", "failed with exit code 3"]
    assert (await world.get(build.name)).failure == build.failure


async def test_a_failed_build_is_not_tried_again_at_once(world: World) -> None:
    """Within `failure_ttl` the failure is the answer; after it, or by force, the build runs again."""
    world.docker.fails = True
    world.docker.go()
    name = (await world.ask()).name
    await world.watch(name)
    again = await world.ask()
    assert again.state == FAILED
    said = (await world.get(name)).failure.message
    assert again.failure.message.startswith(f"{said}\nThis is the answer of 00:00:00 UTC: ")
    assert "tried again from 00:00:30 UTC on" in again.failure.message
    assert "flyte build --force" in again.failure.message
    assert len(world.docker.started) == 1
    assert (await world.ask(force=True)).state != FAILED
    await world.watch(name)
    world.clock.advance(31)
    assert (await world.ask()).state != FAILED
    await world.watch(name)
    assert len(world.docker.started) == 3


async def test_a_failure_is_of_the_secrets_that_were_given(world: World) -> None:
    """Other ones are tried at once; the same, or none, get the old answer while it counts."""
    world.docker.fails = True
    world.docker.go()

    async def started(**secrets: bytes) -> int:
        name = (await world.ask(secrets=secrets)).name
        await world.watch(name)
        return len(world.docker.started)

    assert [await started(), await started(key=b"wrong"), await started(key=b"wrong")] == [1, 2, 2]
    assert [await started(), await started(key=b"right"), await started(other=b"right")] == [2, 3, 4]


async def test_an_image_outlives_a_failed_attempt_to_force_it(world: World) -> None:
    """The record says that the forced build failed, and who asks for the image gets the one that is there."""
    world.docker.go()
    name = (await world.ask()).name
    await world.watch(name)
    world.docker.fails = True
    await world.ask(force=True)
    assert (await world.watch(name))[2].state == FAILED
    again = await world.ask()
    assert (again.state, again.cached) == (SUCCEEDED, True)
    assert len(world.docker.started) == 2


async def test_stopping_ends_builds_and_what_they_started(world: World) -> None:
    """A stop ends what is being built, tells those who watch, and leaves no file."""
    build = await world.ask()
    watching = asyncio.create_task(world.watch(build.name))
    await until(lambda: world.docker.running > 0)
    await world.builds.stop()
    _, _, last = await watching
    assert (last.state, last.failure.code) == (FAILED, "BuildStopped")
    assert last.failure.kind == failure_pb2.FAILURE_KIND_SYSTEM
    await until(lambda: world.docker.running == 0)
    assert list(world.settings.state_dir.iterdir()) == []
    with pytest.raises(grpc.aio.AioRpcError, match="is stopping: ask again"):
        await world.ask(1)


async def test_what_cannot_be_put_on_record_is_not_built(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller hears that, nobody sees a build, what began is ended; with the database it is built."""

    def away(*_: object, **__: object) -> None:
        raise Unavailable("the database is away", reason="DATABASE_UNAVAILABLE")

    with monkeypatch.context() as patch:
        patch.setattr(world.builds._store, "begin", away)
        with pytest.raises(grpc.aio.AioRpcError, match="the database is away"):
            await world.ask()
    await until(lambda: world.docker.running == 0)
    listed = await world.stub.ListImageBuilds(messages.ListImageBuildsRequest())
    assert list(listed.builds) == []
    world.docker.go()
    assert (await world.watch((await world.ask()).name))[2].state == SUCCEEDED


async def test_a_build_goes_on_after_a_restart(world: World) -> None:
    """What was asked for is built by the next process, under its name, and its end is on record for one after that."""
    name = (await world.ask(platform="linux/386")).name
    await until(lambda: world.docker.started != [])
    await world.builds.stop()
    world.docker.go()
    second = world.another()
    await second.start()
    async for _build, _lines in second.watch(name, 0):
        pass
    assert world.docker.started == [name, name]
    third = world.another()
    await third.start()
    build = await third.get(name)
    assert (build.state.value, build.size_bytes, build.image_id) == ("succeeded", 5, "sha256:1")
    assert f"hello from {name}" in [line.text for line in build.lines(0, 100)]
    assert world.docker.started == [name, name]
    provenance = json.loads((await third.attestation(name))[1])
    assert provenance["subject"] == [{"name": f"hangar/{name}", "digest": {"sha256": "1"}}]
    assert provenance["predicate"]["buildDefinition"]["externalParameters"]["definition"] == json.loads(
        definition()
    )
    await second.stop()


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


async def test_a_build_waits_for_the_secrets_that_a_restart_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says which; one who asks without them waits with it, one who brings them lets it go on; else it fails so."""
    layer = {"kind": "commands", "commands": ["true"], "secret_mounts": [{"key": "token", "env": "TOKEN"}]}
    text = json.dumps(
        {"base": {"kind": "debian", "python": "3.11", "registry_secret": "login"}, "layers": [layer]}
    )
    given = {"token": b"1", "login": b'{"auths": {"a.example": {"username": "me", "password": "2"}}}'}
    name = (await world.builds.build(text, secrets=given)).image.name
    await until(lambda: world.docker.started != [])
    await world.builds.stop()
    world.docker.go()
    second = world.another()
    await second.start()
    waiting = await second.build(text)
    await until(lambda: waiting.missing_secrets == ("login", "token"))
    assert (await second.build(text, secrets={"token": b"1"})).missing_secrets == ("login", "token")
    assert (await second.build(text, secrets=given)) is waiting
    async for _ in second.watch(name, 0):
        pass
    assert (waiting.state.value, waiting.missing_secrets) == ("succeeded", ())
    assert world.docker.started == [name, name]
    await second.stop()

    world.docker.hold()
    third = world.another()
    await third.build(text, secrets=given, force=True)
    await until(lambda: len(world.docker.started) == 3)
    await third.stop()
    monkeypatch.setattr("services.image_builder.service._SECRETS_SECONDS", 0.1)
    fourth = world.another()
    await fourth.start()
    async for _ in fourth.watch(name, 0):
        pass
    build = await fourth.get(name)
    assert build.error is not None
    assert (build.error.code, build.error.is_system) == ("SecretMissing", False)
    for part in ("'login' and 'token'", "was restarted", "`flyte run` again", "HANGAR_IMAGE_BUILDER_SECRETS"):
        assert part in build.error.message
    await fourth.stop()


async def test_a_failure_is_on_record(world: World) -> None:
    """A later process answers with the failure, its step and exit code, and does not try again at once."""
    world.docker.fails = True
    world.docker.go()
    name = (await world.ask()).name
    await world.watch(name)
    later = world.another()
    build = await later.build(definition())
    assert build.error is not None
    assert (build.error.exit_code, build.error.step) == (3, Step("check Python"))
    assert "it broke\nThis is the answer of " in build.error.message
    assert world.docker.started == [name]
    with pytest.raises(NotFound, match="flyte build --force"):
        await later.attestation(name)


async def test_a_cancelled_build_ends_for_all(world: World) -> None:
    """Who watches sees CANCELLED, the build ends, and who asks again gets a new build."""
    name = (await world.ask()).name
    watching = asyncio.create_task(world.watch(name))
    await until(lambda: world.docker.running > 0)
    answer = await world.stub.CancelImageBuild(messages.CancelImageBuildRequest(name=name))
    assert answer.build.state == states.IMAGE_BUILD_STATE_CANCELLED
    assert (await watching)[2].failure.code == "BuildCancelled"
    await until(lambda: world.docker.running == 0)
    world.docker.go()
    assert (await world.watch((await world.ask()).name))[2].state == SUCCEEDED


async def test_old_images_are_pruned(world: World) -> None:
    """Only what nobody asked for lately goes, from the engine and from the record; one that is built stays."""
    world.docker.go()
    old = (await world.ask(1)).name
    await world.watch(old)
    world.clock.advance(7200)
    young = (await world.ask(2)).name
    await world.watch(young)
    world.docker.hold()
    running = (await world.ask(3)).name
    pruned = await world.stub.PruneImages(messages.PruneImagesRequest(max_age_seconds=3600))
    assert list(pruned.names) == [old]
    listed = await world.stub.ListImageBuilds(messages.ListImageBuildsRequest())
    assert [build.name for build in listed.builds] == [running, young]
    assert sorted(path.name for path in (world.docker.root / "images").iterdir()) == [young]
    with pytest.raises(grpc.aio.AioRpcError, match="is being built: cancel that first"):
        await world.stub.DeleteImageBuild(messages.DeleteImageBuildRequest(name=running))
    await world.stub.DeleteImageBuild(messages.DeleteImageBuildRequest(name=young))
    assert list((world.docker.root / "images").iterdir()) == []


async def test_only_its_own_images_are_pruned(world: World) -> None:
    """Of two builders on one engine neither removes what the other one made, on its own record or not."""
    world.docker.go()
    mine, shared = (await world.ask(1)).name, (await world.ask(2)).name
    for name in (mine, shared):
        await world.watch(name)
    other = World(world.docker.root / "other", world.docker)
    theirs = (await other.builds.build(definition(3))).image.name
    await other.builds.build(definition(2), force=True)
    for name in (theirs, shared):
        async for _ in other.builds.watch(name, 0):
            pass
    assert (await other.builds.prune(0, build_cache=False))[0] == sorted([theirs, shared])
    assert sorted(path.name for path in (world.docker.root / "images").iterdir()) == [mine]
    await other.builds.build(definition(2))
    async for _ in other.builds.watch(shared, 0):
        pass
    assert (await world.builds.prune(0, build_cache=False))[0] == [mine]
    assert [path.name for path in (world.docker.root / "images").iterdir()] == [shared]
    await other.builds.stop()
    other.database.dispose()


@pytest.mark.parametrize(("age", "words"), [(None, "is missing"), (-5, "is -5")])
async def test_an_age_has_to_be_given(world: World, age: int | None, words: str) -> None:
    """Nothing goes because somebody said nothing, or something without a meaning."""
    with pytest.raises(grpc.aio.AioRpcError, match=f"max_age_seconds {words}: .* 0 for all") as caught:
        await world.stub.PruneImages(messages.PruneImagesRequest(max_age_seconds=age))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_what_a_dockerfile_makes_goes_with_the_last_image_that_needs_it(world: World) -> None:
    """And with nobody who needs it when images are pruned."""
    world.docker.go()
    images = world.docker.root / "images"

    async def build(number: int) -> str:
        layers = json.loads(definition(number))["layers"]
        base = {"kind": "dockerfile", "dockerfile": {"text": "FROM python:3.12\n"}}
        build = await world.builds.build(json.dumps({"base": base, "layers": layers}))
        async for _ in build.follow(0):
            pass
        assert build.error is None
        return build.image.name

    def bases() -> int:
        return len(list(images.glob("base-*")))

    first, second = await build(1), await build(2)
    assert (bases(), len(list(images.iterdir()))) == (1, 3)
    await world.builds.delete(first)
    assert bases() == 1
    await world.builds.delete(second)
    assert list(images.iterdir()) == []
    (images / await build(1)).unlink()
    other = World(world.docker.root / "other", world.docker)
    await other.builds.prune(0, build_cache=False)
    assert bases() == 1
    await world.builds.prune(0, build_cache=False)
    assert list(images.iterdir()) == []
    other.database.dispose()


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


async def test_secrets_come_from_the_caller_or_from_the_host(tmp_path: Path) -> None:
    """A secret that neither has fails the build with its name and what to set."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "host").write_text("1\n")
    docker = FakeDocker(tmp_path / "docker")
    docker.go()
    world = World(tmp_path, docker, secrets=str(tmp_path / "secrets"))

    async def outcome(key: str, **given: bytes) -> Build:
        layer = {"kind": "commands", "commands": ["true"], "secret_mounts": [{"key": key, "env": "KEY"}]}
        text = json.dumps({"base": {"kind": "debian", "python": "3.11"}, "layers": [layer]})
        build = await world.builds.build(text, secrets=given)
        async for _ in world.builds.watch(build.image.name, 0):
            pass
        return build

    missing = await outcome("nowhere")
    assert missing.error is not None
    assert "'nowhere'" in missing.error.message
    assert (await outcome("nowhere", nowhere=b"3")).error is None, (
        "who brings it does not get the old failure"
    )
    missing = await outcome("neither")
    assert missing.error is not None
    assert missing.error.code == "SecretMissing"
    assert str(tmp_path / "secrets" / "neither") in missing.error.message
    assert "set the environment variable KEY" in missing.error.message
    assert (await outcome("host")).error is None
    assert (await outcome("caller", caller=b"2")).error is None


async def test_no_line_of_a_secret_is_shown_or_kept(world: World) -> None:
    """What a step prints of a secret with several lines is in no line of the log, no message and not on record."""
    world.docker.tells = True
    world.docker.fails = True
    world.docker.go()
    layer = {"kind": "commands", "commands": ["true"], "secret_mounts": [{"key": "key", "env": "KEY"}]}
    text = json.dumps({"base": {"kind": "debian", "python": "3.11"}, "layers": [layer]})
    secret = b"-----BEGIN KEY-----\nMIISECRETLINE1\n  MIISECRETLINE2\n-----END KEY-----\n"
    name = (await world.builds.build(text, secrets={"key": secret})).image.name
    _, lines, build = await world.watch(name)
    assert "****" in lines
    assert "****" in build.failure.message
    kept = b"".join(path.read_bytes() for path in world.settings.data_dir.glob("builds.db*"))
    assert name.encode() in kept
    for shown in ("\n".join(lines), build.failure.message, kept.decode(errors="replace")):
        assert "SECRETLINE" not in shown


async def test_a_build_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """After `timeout` the build is ended; the message names the setting."""
    docker = FakeDocker(tmp_path / "docker")
    world = World(tmp_path, docker, timeout=1.0)
    build = await world.builds.build(definition())
    async for _ in world.builds.watch(build.image.name, 0):
        pass
    assert build.error is not None
    assert (build.error.code, build.error.is_system) == ("BuildTimeout", False)
    assert "did not end within 1 s" in build.error.message
    assert "HANGAR_IMAGE_BUILDER_TIMEOUT" in build.error.message
    await until(lambda: docker.running == 0)


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
        with pytest.raises(
            FailedPrecondition, match=r"BuildKit: .* answers /session with 'HTTP/1\.1 404 Not Found'"
        ):
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


def test_equal_steps_have_numbers_of_their_own() -> None:
    """A command that is there twice is two steps of a build; one that is not the recipe's has the number 0."""
    clock = ManualClock()
    build = Build(Image("n", "r", "d", "b", "p"), 1, clock.now(), log_limit=100)
    build.steps = tuple(Step("layer 0: run true", 0) for _ in range(2))
    numbers = []
    for step in (*build.steps, Step("push")):
        build.say("", step, clock.now())
        numbers.append(build.step_number)
    assert numbers == [1, 2, 0]


async def test_logs_are_bounded() -> None:
    """Of a log that is too long the newest lines are kept, under their own numbers; long lines are cut."""
    clock = ManualClock()
    build = Build(Image("n", "r", "d", "b", "p"), 1, clock.now(), log_limit=100)
    for number in range(250):
        build.say(f"{number} " + "x" * 5000, Step("a step"), clock.now())
    build.succeed(1, "", "", clock.now())
    lines = [line async for batch in build.follow(0) for line in batch]
    assert [line.number for line in lines] == list(range(150, 250))
    assert {len(line.text) for line in lines} == {4097}
    assert [line.number async for batch in build.follow(200) for line in batch] == list(range(200, 250))

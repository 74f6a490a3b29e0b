"""Builds run once, at most so many at a time, end with the service, and are followed by whoever asks."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import grpc
import pytest

from hangar.core.v1 import failure_pb2
from hangar.image.v1 import image_build_pb2 as states
from hangar.image.v1 import image_service_pb2 as messages
from services.common.clock import ManualClock
from services.common.errors import NotFound, Unavailable
from services.image_builder import service
from services.image_builder.builds import Build, Image
from services.image_builder.dockerfile import Step
from services.image_builder.tests.fakes import FakeDocker, FakeEngine
from services.image_builder.tests.world import BUILDING, FAILED, QUEUED, SUCCEEDED, World, definition, until


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


async def test_a_stop_does_not_wait_for_an_engine_that_hangs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in an image is looked at afterwards; the end of the service waits some seconds for that, and no more."""
    looked = asyncio.Event()

    async def hang(engine: FakeEngine, reference: str, path: str) -> bytes:
        looked.set()
        await asyncio.Event().wait()
        return b""

    monkeypatch.setattr(FakeEngine, "read_file", hang)
    monkeypatch.setattr(service, "_LOOK_SECONDS", 0.05)
    world.docker.go()
    await world.ask()
    await looked.wait()
    await asyncio.wait_for(world.builds.stop(), 30)


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


async def test_a_failure_is_no_longer_than_people_read(world: World) -> None:
    """Of a line of a megabyte the message has the beginning, as the log does: it fits into answers and records."""
    world.docker.fails, world.docker.last_words = True, "x" * (1 << 20)
    world.docker.go()
    _, lines, build = await world.watch((await world.ask()).name)
    assert {lines[-2], build.failure.message.split("\n")[-1]} == {"x" * 4096 + "\u2026"}


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

"""Images that nobody asks for are removed: those of this builder, that nothing uses."""

from __future__ import annotations

import json

import grpc
import pytest

from hangar.image.v1 import image_service_pb2 as messages
from services.image_builder.tests.world import World, definition


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

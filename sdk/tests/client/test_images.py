"""Whoever waits for an image gives its secrets again when the builder was restarted and has lost them."""

from __future__ import annotations

import concurrent.futures
import threading

import grpc
import pytest

import flyte
from flyte._client._images import prepare_images
from flyte._client._loop import LOOP
from flyte._image_layers import Setting
from flyte._initialize import require_session
from hangar.image.v1 import image_build_pb2, image_service_pb2
from hangar.image.v1.image_service_pb2_grpc import (
    ImageServiceServicer,
    add_ImageServiceServicer_to_server,
)

BUILDING = image_build_pb2.IMAGE_BUILD_STATE_BUILDING
QUEUED = image_build_pb2.IMAGE_BUILD_STATE_QUEUED
SUCCEEDED = image_build_pb2.IMAGE_BUILD_STATE_SUCCEEDED
IMAGE = flyte.Image.from_debian_base(python_version=(3, 12), registry_secret="team-login")


class RestartedBuilder(ImageServiceServicer):
    """An image builder that dies while it is watched, and waits for a secret when it is there again."""

    def __init__(self) -> None:
        self.asked: list[dict[str, bytes]] = []
        self.watched = 0
        self.given = threading.Event()

    def BuildImage(self, request, context):
        self.asked.append(dict(request.secrets))
        if self.watched == 2 and request.secrets:
            self.given.set()
        return image_service_pb2.BuildImageResponse(build=self._build(BUILDING))

    def WatchImageBuild(self, request, context):
        self.watched += 1
        if self.watched == 1:
            yield image_service_pb2.WatchImageBuildResponse(build=self._build(BUILDING))
            context.abort(grpc.StatusCode.UNAVAILABLE, "killed")
        waits = self._build(QUEUED, missing_secrets=["team-login"])
        for _ in range(2):
            yield image_service_pb2.WatchImageBuildResponse(build=waits)
        assert self.given.wait(30)
        yield image_service_pb2.WatchImageBuildResponse(build=self._build(SUCCEEDED))

    @staticmethod
    def _build(state, **fields):
        return image_build_pb2.ImageBuild(name="0" * 32, state=state, reference="hangar/0", **fields)


@pytest.fixture
def builder():
    """The builder, with a session of a client."""
    found = RestartedBuilder()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    add_ImageServiceServicer_to_server(found, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    flyte.init(endpoint=f"127.0.0.1:{port}", insecure=True)
    yield found
    found.given.set()
    server.stop(None).wait()


def test_a_build_that_is_waited_for(builder, monkeypatch):
    """`flyte.build` asks once more, with the secret, and goes on waiting for the same build."""
    monkeypatch.setenv("TEAM_LOGIN", "me:1")
    assert flyte.build(IMAGE).state == "succeeded"
    assert builder.asked == [{"team-login": b"me:1"}] * 2
    assert builder.watched == 2


def test_a_build_that_a_run_waits_for(builder, monkeypatch):
    """`flyte.run` does not wait for images: it stays with those that need its secrets, in the background."""
    monkeypatch.setenv("TEAM_LOGIN", "me:1")
    env = flyte.TaskEnvironment("e", image=IMAGE)
    client = LOOP.run(require_session().client())
    images = {"e": IMAGE.resolve(Setting())}
    LOOP.run(prepare_images(client, "p", "d", images, [env]))
    assert builder.given.wait(30)
    assert builder.asked == [{"team-login": b"me:1"}] * 2


def test_one_without_the_secret_waits(builder):
    """Who has nothing to give does not ask again, and gets the image when somebody else has given it."""
    threading.Timer(0.5, builder.given.set).start()
    assert flyte.build(IMAGE).state == "succeeded"
    assert builder.asked == [{}]

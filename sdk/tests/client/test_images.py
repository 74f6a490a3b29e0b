"""Whoever waits for an image gives its secrets again when the builder was restarted and has lost them."""

from __future__ import annotations

import concurrent.futures
import json
import threading

import grpc
import pytest
from click.testing import CliRunner

import flyte
from flyte._client._images import prepare_images
from flyte._client._loop import LOOP
from flyte._image_layers import Setting
from flyte._initialize import require_session
from flyte.cli.main import cli
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
        self.address = ""
        self.given = threading.Event()

    def BuildImage(self, request, context):
        self.asked.append(dict(request.secrets))
        if self.watched == 2 and request.secrets:
            self.given.set()
        return image_service_pb2.BuildImageResponse(build=self._build(BUILDING))

    def GetImageBuild(self, request, context):
        bases = [
            image_build_pb2.BaseImage(address=address, digest="sha256:1", current_digest=current)
            for address, current in (("same:1", "sha256:1"), ("moved:1", "sha256:2"), ("unknown:1", ""))
        ]
        build = self._build(SUCCEEDED, image_id="sha256:9", bases=bases if request.check_bases else [])
        return image_service_pb2.GetImageBuildResponse(build=build)

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
    found.address = f"127.0.0.1:{port}"
    flyte.init(endpoint=found.address, insecure=True)
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


def test_bases_that_have_moved_are_told(builder):
    """They are asked for when one image is shown; what a registry does not say is neither moved nor not."""
    bases = flyte.remote.ImageBuild.get("0" * 32).bases()
    told = {"same:1": False, "moved:1": True, "unknown:1": None}
    assert {base.address: base.has_moved for base in bases} == told
    command = ["--insecure", "--endpoint", builder.address, "get", "image", "0" * 32]
    shown = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert "moved:1 (sha256:1) has moved since: flyte build --force takes the newest" in shown.output
    assert shown.output.count("has moved") == 1
    record = json.loads(CliRunner().invoke(cli, [*command, "-of", "json"]).output)
    assert {base["address"]: base["moved"] for base in record["bases"]} == told
    assert record["digest"] == "sha256:9"


def test_one_without_the_secret_waits(builder):
    """Who has nothing to give does not ask again, and gets the image when somebody else has given it."""
    threading.Timer(0.5, builder.given.set).start()
    assert flyte.build(IMAGE).state == "succeeded"
    assert builder.asked == [{}]

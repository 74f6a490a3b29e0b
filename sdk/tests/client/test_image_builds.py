"""flyte.build and `flyte build`, against the image service's API over real gRPC."""

from __future__ import annotations

import json

import grpc
import pytest

import flyte
from flyte.cli.main import invoke
from hangar.image.v1 import image_build_pb2, image_service_pb2
from hangar.image.v1.image_service_pb2_grpc import ImageServiceServicer
from sdk.tests.client.fake_admin import FakeAdmin, refuse

MODULE = """
import flyte

image = flyte.Image.from_debian_base((3, 12), platform={platform!r})
env = flyte.TaskEnvironment("env", image=image)
"""


class FakeImages(ImageServiceServicer):
    """An image builder for two platforms, or one that makes environments of its host."""

    def __init__(self, *, is_environment: bool = False) -> None:
        self.is_environment = is_environment
        self.asked: list[tuple[str, bool]] = []

    async def BuildImage(self, request, context):
        """Has every image already."""
        self.asked.append((request.platform, request.dry_run))
        platform = request.platform or "linux/amd64"
        if platform not in ("linux/amd64", "linux/arm64"):
            code = grpc.StatusCode.INVALID_ARGUMENT
            await refuse(context, code, "PLATFORM_NOT_AVAILABLE", f"platform is {platform}: install QEMU")
        build = image_build_pb2.ImageBuild(
            name=platform.replace("/", "-"),
            reference=f"hangar/{platform}",
            platform=platform,
            state=image_build_pb2.IMAGE_BUILD_STATE_SUCCEEDED,
            environment=self.is_environment,
            cached=True,
        )
        return image_service_pb2.BuildImageResponse(build=build)

    async def GetImageBuild(self, request, context):
        """One with a name of its author, and a Dockerfile."""
        build = image_build_pb2.ImageBuild(name=request.name, title="trainer", base_image="hangar/base-1")
        return image_service_pb2.GetImageBuildResponse(build=build)

    async def GetImageAttestation(self, request, context):
        """It does not know what is in it."""
        return image_service_pb2.GetImageAttestationResponse(provenance_json="{}")


@pytest.fixture
def images(request):
    """The image builder of a backend that the SDK is connected to."""
    admin = FakeAdmin()
    admin.images = FakeImages(is_environment=getattr(request, "param", False))
    with admin:
        flyte.init(endpoint=admin.endpoint, insecure=True, project="default")
        admin.images.endpoint = admin.endpoint
        yield admin.images


def image(*platforms: str) -> flyte.Image:
    """An image for platforms."""
    base = flyte.Image.from_debian_base((3, 12))
    return base.clone(platform=platforms) if platforms else base


def test_an_image_is_built_for_each_of_its_platforms(images):
    """Each is asked for by itself once it is known that all can be had; of one or none the backend chooses."""
    built = flyte.build(image("linux/arm64", "linux/amd64"))
    assert [built.platform, *(each.platform for each in built.other_platforms)] == [
        "linux/amd64",
        "linux/arm64",
    ]
    both = ["linux/amd64", "linux/arm64"]
    assert images.asked[:3] == [("", True), *((each, True) for each in both)]
    assert sorted(images.asked[3:]) == [(each, False) for each in both]
    images.asked.clear()
    assert flyte.build(image()).other_platforms == ()
    assert flyte.build(image("linux/arm64")).platform == "linux/amd64", "as the fake chooses"
    assert images.asked == [("", False)] * 2


def test_what_cannot_be_built_is_refused_before_anything_begins(images):
    """One platform that cannot be had: nothing is built for the others either."""
    with pytest.raises(flyte.errors.RuntimeUserError, match="linux/riscv64: install QEMU"):
        flyte.build(image("linux/amd64", "linux/riscv64"))
    assert all(dry_run for _, dry_run in images.asked)


@pytest.mark.parametrize("images", [True], indirect=True)
def test_environments_of_a_host_have_its_platform_only(images):
    """Where tasks run as processes there is one environment, whatever further platforms the image names."""
    built = flyte.build(image("linux/amd64", "linux/arm64"))
    assert (built.platform, built.other_platforms) == ("linux/amd64", ())
    assert images.asked == [("", True), ("", False)]


def test_the_command_shows_each_platform(images, tmp_path, capsys):
    """A row for each; --platform builds for others than the image names, by any spelling; a wrong one is refused."""
    file = tmp_path / "train.py"
    file.write_text(MODULE.format(platform=("linux/amd64", "linux/arm64")))
    backend = ["--insecure", "--endpoint", images.endpoint, "-of", "json", "build"]

    def rows(*options: str) -> list[tuple[str, str]]:
        assert invoke([*backend, *options, str(file), "env"]) == 0
        return [(each["platform"], each["image"]) for each in json.loads(capsys.readouterr().out)]

    assert rows() == [(each, f"hangar/{each}") for each in ("linux/amd64", "linux/arm64")]
    assert rows("--platform", "linux/aarch64") == [("linux/arm64", "hangar/linux/arm64")]
    assert invoke([*backend, "--platform", "arm", str(file), "env"]) == 2
    assert "platform 'arm' cannot be read" in capsys.readouterr().err


def test_an_image_is_shown_as_people_know_it(images, capsys):
    """By the name of its author and what it is based on; what is in it is an error when it is not known."""
    backend = ["--insecure", "--endpoint", images.endpoint, "-of", "json", "get", "image", "1" * 32]
    assert invoke(backend) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["title"], shown["base"]) == ("trainer", "Dockerfile")
    assert invoke([*backend, "--provenance"]) == 0
    assert capsys.readouterr().out == "{}\n"
    assert invoke([*backend, "--sbom"]) == 7
    answer = capsys.readouterr()
    assert answer.out == ""
    assert "install_flyte=False" in answer.err

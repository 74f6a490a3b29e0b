"""An image builder that has every image at once, and a machine that runs one."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flyte._client._local_builder import _identity, builder_directory
from hangar.core.v1 import failure_pb2
from hangar.image.v1 import image_build_pb2 as states
from hangar.image.v1 import image_service_pb2 as messages
from hangar.image.v1.image_service_pb2_grpc import ImageServiceServicer
from sdk.tests.client.fake_admin import FakeAdmin

SDK = "5d" * 16
IMAGE_ID = f"sha256:{'a' * 64}"
DIGEST = f"sha256:{'d' * 64}"


class FakeImages(ImageServiceServicer):
    """The image builder.

    Args:
        engine: Identity of its engine.
        sdk: Digest of the SDK in its images.
        environments: True for one that makes Python environments.
    """

    def __init__(self, engine: str = "here", sdk: str = SDK, *, environments: bool = False) -> None:
        self.answer = messages.GetImageBuilderResponse(
            environments=environments, version="9.9", sdk_digest=sdk, engine=engine
        )
        self.asked: list[messages.BuildImageRequest] = []
        self.failure = ""

    async def GetImageBuilder(self, request: Any, context: Any) -> Any:
        return self.answer

    async def BuildImage(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        name = hashlib.blake2b(request.definition_json.encode(), digest_size=16).hexdigest()
        build = states.ImageBuild(
            name=name,
            state=states.IMAGE_BUILD_STATE_SUCCEEDED,
            reference=f"hangar/{name}",
            platform="linux/amd64",
            image_id=IMAGE_ID,
        )
        registry = json.loads(request.definition_json)["base"].get("registry")
        if registry:
            build.reference, build.image_digest = f"{registry}/hangar:{name}", DIGEST
        if self.failure:
            build.state = states.IMAGE_BUILD_STATE_FAILED
            build.failure.CopyFrom(
                failure_pb2.Failure(
                    kind=failure_pb2.FAILURE_KIND_IMAGE, code="ImageBuildError", message=self.failure
                )
            )
        return messages.BuildImageResponse(build=build)


@contextmanager
def builder_of_this_machine(images: FakeImages) -> Iterator[FakeImages]:
    """Lets an image builder be the one of this machine, as if it had been started."""
    directory = builder_directory()
    directory.mkdir(parents=True)
    with FakeAdmin(images=images) as server:
        content = {"pid": os.getpid(), "grpc": server.endpoint, "http": "", "identity": _identity()}
        (directory / "backend.json").write_text(json.dumps(content))
        yield images


def is_used() -> bool:
    """True while somebody uses the builder of this machine."""
    descriptor = os.open(builder_directory() / "users", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False

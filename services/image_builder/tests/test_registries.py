"""Registries, with and without credentials: the builder pushes images to them, executors pull them from there."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import docker
import docker.auth
import pytest

import flyte
from hangar.core.v1 import failure_pb2
from hangar.core.v1.task_spec_pb2 import Image
from hangar.image.v1 import image_service_pb2 as messages
from hangar.scheduler.v1 import scheduler_service_pb2
from hangar.scheduler.v1.scheduler_service_pb2_grpc import (
    SchedulerServiceServicer,
    add_SchedulerServiceServicer_to_server,
)
from integration_tests.components.registry import PASSWORD, USER, Registry
from services.common.errors import FailedPrecondition
from services.common.image_definition import definition_digest
from services.common.registry_credentials import RegistryCredentials
from services.common.registry_secrets import HUB_KEY
from services.common.secret_directory import SecretDirectory
from services.common.serve import Registration, build_server
from services.executor.engines.base import ImageDefinition, ImageFailedError
from services.executor.engines.docker.images import DockerImages
from services.image_builder.tests.real_builder import FAILED, SUCCEEDED, building

pytestmark = pytest.mark.timeout(300)
BUILDER, EXECUTOR = "HANGAR_IMAGE_BUILDER_REGISTRY_CREDENTIALS", "HANGAR_EXECUTOR_REGISTRY_CREDENTIALS"


class Scheduler(SchedulerServiceServicer):
    """A scheduler that notes what it is told."""

    def __init__(self) -> None:
        self.images: list[Image] = []

    async def PrepareImages(self, request: Any, context: Any) -> Any:
        self.images.extend(request.images)
        return scheduler_service_pb2.PrepareImagesResponse()


@pytest.fixture
async def scheduler() -> AsyncIterator[tuple[Scheduler, str]]:
    """A scheduler, and its address."""
    found = Scheduler()  # type: ignore[abstract]  # what is not asked for is not there
    name = "hangar.scheduler.v1.SchedulerService"
    server = build_server([Registration(add_SchedulerServiceServicer_to_server, found, name)])
    address = f"127.0.0.1:{server.bind('127.0.0.1', 0)}"
    await server.start()
    yield found, address
    await server.stop(0)


async def test_a_registry_gets_the_image(
    tmp_path: Path, docker_url: str, engine: docker.DockerClient, repository: str, registry: Registry
) -> None:
    """The answer names the registry and the digest there; an engine that lacks the image pulls it from there."""
    given = {"registry": registry.address}
    async with building(tmp_path, docker_url, engine, repository, **given) as builder:
        build, lines = await builder.build({"kind": "commands", "commands": ["true"]})
        assert build.state == SUCCEEDED, lines
        assert build.reference == f"{registry.address}/hangar/{build.name}"
        assert build.image_digest.startswith("sha256:")
        builder.close()
        again, _ = await builder.build({"kind": "commands", "commands": ["true"]})
        assert (again.state, again.image_digest) == (SUCCEEDED, build.image_digest)
        await asyncio.to_thread(engine.images.pull, build.reference, "latest")
        assert await builder.run(build.reference, "python3", "-c", "import flyte; print(1)") == "1\n"


async def test_a_registry_that_refuses(
    tmp_path: Path, docker_url: str, engine: docker.DockerClient, repository: str
) -> None:
    """A push that fails is the platform's failure, with the registry's words."""
    async with building(tmp_path, docker_url, engine, repository, registry="127.0.0.1:9") as builder:
        build, _ = await builder.build({"kind": "commands", "commands": ["true"]})
        assert (build.state, build.failure.code) == (FAILED, "ImagePushError")
        assert build.failure.kind == failure_pb2.FAILURE_KIND_SYSTEM
        assert "127.0.0.1:9" in build.failure.message
        assert build.step == "push to 127.0.0.1:9"


async def test_credentials_of_a_registry(
    tmp_path: Path,
    scheduler: tuple[Scheduler, str],
    docker_url: str,
    engine: docker.DockerClient,
    repository: str,
    private_registry: Registry,
) -> None:
    """An author's image goes to the registry that he names and comes from there by digest; who is refused hears why."""
    right = private_registry.credentials(tmp_path / "right.json")
    wrong = private_registry.credentials(tmp_path / "wrong.json", "x" + PASSWORD)
    team = f"{private_registry.address}/team"
    image = flyte.Image.from_debian_base(python_version=(3, 11), registry=team, name="custom")
    definition = image.definition_json
    given = {"registries": (team,)}
    async with building(
        tmp_path / "a", docker_url, engine, repository, registry_credentials=wrong, **given
    ) as builder:
        build, _ = await builder.build_image(image)
        assert build.failure.code == "ImagePushError"
        assert build.failure.kind == failure_pb2.FAILURE_KIND_SYSTEM
        for part in (private_registry.address, BUILDER, str(wrong)):
            assert part in build.failure.message
    async with building(
        tmp_path / "b",
        docker_url,
        engine,
        repository,
        registry_credentials=right,
        scheduler=scheduler[1],
        **given,
    ) as builder:
        build, lines = await builder.build_image(image)
        [told] = scheduler[0].images  # hosts hear of it while it is built
        assert (told.definition_json, told.digest) == (definition, definition_digest(definition))
        assert build.state == SUCCEEDED, lines
        assert build.reference == f"{team}/custom:{build.name}"
        pinned = f"{team}/custom@{build.image_digest}"
        for reference in (build.reference, f"hangar/{build.name}"):
            engine.images.remove(reference, force=True)

        platform = build.platform

        def images(path: Path) -> DockerImages:
            return DockerImages(
                engine, builder.address, platform, credentials=RegistryCredentials(path, EXECUTOR)
            )

        asked = ImageDefinition("d", definition)
        with pytest.raises(ImageFailedError) as refused:
            await images(wrong).ensure(asked, print)
        for part in (private_registry.address, EXECUTOR, str(wrong)):
            assert part in refused.value.message
        builder.built.add(pinned)
        prepared = await images(right).ensure(asked, print)
        assert (prepared.reference, prepared.record) == (pinned, pinned)
        assert await builder.run(pinned, "python3", "-c", "import flyte; print(1)") == "1\n"
        again, _ = await builder.build_image(image)
        assert len(scheduler[0].images) == 1
        assert again.image_digest == build.image_digest
        assert str(right) not in json.dumps(await asyncio.to_thread(engine.images.get(pinned).history))


async def test_a_base_that_moves(
    tmp_path: Path, docker_url: str, engine: docker.DockerClient, repository: str, registry: Registry
) -> None:
    """Its digest is on record; that it has moved is told when asked, and a forced build takes the newest one."""
    base = f"{registry.address}/base-{uuid.uuid4().hex[:8]}"
    image = flyte.Image.from_base(f"{base}:1").without_sdk().with_commands(["cp /version /was"])

    def publish(version: str) -> str:
        tag = f"{base}:1"
        text = f"FROM busybox:latest\nRUN echo {version} > /version\n"
        engine.images.build(fileobj=io.BytesIO(text.encode()), tag=tag, rm=True)
        digest = [line for line in engine.images.push(base, "1", stream=True, decode=True) if "aux" in line]
        engine.images.remove(tag, force=True)
        return str(digest[0]["aux"]["Digest"])

    async with building(tmp_path, docker_url, engine, repository) as builder:

        async def known(build: Any) -> list[tuple[str, str]]:
            request = messages.GetImageBuildRequest(name=build.name, check_bases=True)
            found = (await builder.stub.GetImageBuild(request)).build.bases
            assert [each.address for each in found] == [f"{base}:1"]
            return [(each.digest, each.current_digest) for each in found]

        async def version(build: Any) -> str:
            return await builder.run(build.image_id, "cat", "/was")

        first = await asyncio.to_thread(publish, "one")
        built, lines = await builder.build_image(image)
        assert built.state == SUCCEEDED, lines
        assert await known(built) == [(first, first)]
        request = messages.GetImageAttestationRequest(name=built.name)
        made_of = json.loads((await builder.stub.GetImageAttestation(request)).provenance_json)
        material = {"uri": f"{base}:1", "digest": {"sha256": first.removeprefix("sha256:")}}
        assert material in made_of["predicate"]["buildDefinition"]["resolvedDependencies"]
        second = await asyncio.to_thread(publish, "two")
        assert await known(built) == [(first, second)]
        same, _ = await builder.build_image(image)
        assert (same.image_id, await version(same)) == (built.image_id, "one\n")
        old = await asyncio.to_thread(engine.images.pull, f"{base}@{first}")
        old.tag(base, "1")
        forced, lines = await builder.build_image(image, force=True)
        assert forced.state == SUCCEEDED, lines
        assert f"base image {base}:1 has moved in its registry: the newest one is pulled" in lines
        assert (await version(forced), await known(forced)) == ("two\n", [(second, second)])
        builder.built |= {built.image_id, f"{base}:1", f"{base}@{first}"}
        local = flyte.Image.from_base("busybox:latest").without_sdk().with_commands(["true"])
        again, lines = await builder.build_image(local, force=True)  # no registry has that base
        assert again.state == SUCCEEDED, lines


async def test_an_author_brings_credentials_of_his_registry(
    tmp_path: Path,
    docker_url: str,
    engine: docker.DockerClient,
    repository: str,
    private_registry: Registry,
) -> None:
    """They push, pull and take the base image, and are in no message, log, record, provenance, layer or file."""
    team = f"{private_registry.address}/team"
    named = {"registry": team, "registry_secret": "team-login", "name": "custom"}
    small = flyte.Image.from_base("busybox:latest").without_sdk().with_commands(["true"])
    image = small.clone(**named)  # type: ignore[arg-type]
    seen: list[Any] = []
    right, wrong = f"{USER}:{PASSWORD}", f"{USER}:{PASSWORD}-wrong"

    async with building(tmp_path, docker_url, engine, repository) as builder:

        async def build(image: flyte.Image, *value: str) -> Any:
            secrets = {"team-login": value[0].encode()} if value else {}
            found, lines = await builder.build_image(image, secrets=secrets)
            seen.extend((found, lines))
            return found

        missing = await build(image)
        assert (missing.failure.code, missing.failure.kind) == (
            "SecretMissing",
            failure_pb2.FAILURE_KIND_IMAGE,
        )
        for part in ("'team-login'", "TEAM_LOGIN", "HANGAR_IMAGE_BUILDER_SECRETS"):
            assert part in missing.failure.message
        other = {"auths": {"other.example": {"username": "me", "password": PASSWORD}}}
        elsewhere = await build(image, json.dumps(other))
        assert elsewhere.failure.code == "RegistrySecretInvalid"
        assert f"has no credentials of {private_registry.address}" in elsewhere.failure.message
        refused = await build(image, wrong)
        assert (refused.failure.code, refused.failure.kind) == (
            "ImagePushError",
            failure_pb2.FAILURE_KIND_IMAGE,
        )
        assert "did not take the credentials in the secret 'team-login'" in refused.failure.message
        built = await build(image, right)
        assert built.state == SUCCEEDED, seen[-1]
        assert built.reference == f"{team}/custom:{built.name}"
        pinned = f"{team}/custom@{built.image_digest}"
        again = await build(image)  # who has no credentials is told what is on record
        assert (again.image_digest, again.finished_at) == (built.image_digest, built.finished_at)
        seen.append(
            await builder.stub.GetImageAttestation(messages.GetImageAttestationRequest(name=built.name))
        )
        for reference in (built.reference, f"hangar/{built.name}"):
            engine.images.remove(reference, force=True)
        based = flyte.Image.from_base(pinned).without_sdk().with_commands(["true"])
        refused = await build(based.clone(**named), wrong)  # type: ignore[arg-type]
        assert refused.failure.code == "BaseImageUnavailable"
        assert "did not take the credentials in the secret 'team-login'" in refused.failure.message

        places = SecretDirectory(tmp_path / "host", "HANGAR_EXECUTOR_REGISTRY_SECRETS")
        images = DockerImages(engine, builder.address, built.platform, secrets=places)
        asked = ImageDefinition("d", image.definition_json)
        pulled: list[str] = []
        (tmp_path / "host").mkdir()
        for value, words in (
            (None, "The image names registry_secret='team-login', and this host has no such secret"),
            (wrong, "did not take the credentials in the secret 'team-login'"),
            (PASSWORD, "is neither user:password nor"),
        ):
            if value is not None:
                (tmp_path / "host" / "team-login").write_text(value)
            with pytest.raises(ImageFailedError, match=words) as failed:
                await images.ensure(asked, pulled.append)
            assert f"{tmp_path}/host/team-login (HANGAR_EXECUTOR_REGISTRY_SECRETS)" in failed.value.message
            seen.append(failed.value.message)
        (tmp_path / "host" / "team-login").write_text(right)
        builder.built.add(pinned)
        assert (await images.ensure(asked, pulled.append)).record == pinned
        seen.append(pulled)

        engine.images.remove(pinned, force=True)
        private = flyte.Image.from_base(built.reference).clone(registry_secret="team-login").without_sdk()
        config = private_registry.credentials(tmp_path / "config.json").read_text()
        (tmp_path / "config.json").unlink()
        based = await build(private.with_commands(["true"]), config)
        assert based.state == SUCCEEDED, seen[-1]
        builder.built.add(f"hangar/{based.name}")
        seen.append(await asyncio.to_thread(engine.api.history, based.reference))
        values = [PASSWORD, base64.b64encode(right.encode()).decode()]
        saved = b"".join(await asyncio.to_thread(lambda: list(engine.images.get(based.reference).save())))
    assert not [value for value in values if value in repr(seen) or value.encode() in saved]
    (tmp_path / "host" / "team-login").unlink()
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in kept if any(value.encode() in path.read_bytes() for value in values)] == []
    assert any(path.name == "image-builder.db" for path in kept)


@pytest.mark.parametrize(
    ("text", "problem"),
    [(None, "No such file"), ("{", "it is no JSON"), ('{"HttpHeaders": {}}', "it has none of auths")],
)
def test_a_file_without_credentials(tmp_path: Path, text: str | None, problem: str) -> None:
    """What cannot be used is refused with the setting and how to write it; its content is in no message."""
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(FailedPrecondition, match=f"{EXECUTOR} names .*{problem}.*docker --config"):
        RegistryCredentials(path, EXECUTOR).check()


def test_docker_hub_has_the_name_that_docker_gives_it() -> None:
    """Credentials of Docker Hub are found in files of Docker's command line, which has a name of its own for it."""
    assert HUB_KEY == docker.auth.INDEX_URL

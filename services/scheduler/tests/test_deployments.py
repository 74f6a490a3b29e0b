"""Deployed tasks, over real streams and on both databases."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest

from hangar.core.v1.task_spec_pb2 import Image, TaskSpec
from hangar.scheduler.v1 import node_service_pb2 as node
from hangar.scheduler.v1 import scheduler_service_pb2 as messages
from hangar.scheduler.v1.node_service_pb2_grpc import NodeServiceStub
from services.ledger.queries import tasks
from services.scheduler.tests.backend import Backend, eventually, serving
from services.scheduler.tests.fake_executor import make_spec


def spec(name: str, version: str, *, entrypoint: bool = False, retries: int = 0) -> TaskSpec:
    """A definition in a version."""
    made = make_spec(name)
    made.code.version, made.entrypoint, made.retry.count = version, entrypoint, retries
    made.image.digest, made.image.definition_json = "im" + version, "{}"
    return made


async def deploy(backend: Backend, *specs: TaskSpec) -> list[str]:
    """Deploys into the default project; what changed."""
    request = messages.DeployTasksRequest(project="default", domain="development", tasks=specs)
    return list((await backend.stub.DeployTasks(request)).changed)


def newest(backend: Backend, *, entrypoint: bool = False) -> dict[str, str]:
    """The deployed tasks with their newest version, as readers see them."""
    with backend.read() as connection:
        found = tasks.list_tasks(connection, "default", "development", entrypoint=entrypoint)
    return {each.name: each.version for each in found}


async def found(backend: Backend, name: str, version: str = "", domain: str = "development") -> TaskSpec:
    """What an executor is told of a task."""
    request = node.FindTaskRequest(project="default", domain=domain, name=name, version=version)
    answer = await NodeServiceStub(backend.channel).FindTask(request)
    return TaskSpec.FromString(answer.spec.SerializeToString())


async def test_the_newest_version_is_the_one_deployed_last(ledger_url: str):
    """Repeating a deployment changes nothing; an older one deployed again becomes the newest; runs never do."""
    async with serving(ledger_url) as backend:
        assert await deploy(backend, spec("env.a", "v1"), spec("env.b", "v1", entrypoint=True)) == [
            "env.a",
            "env.b",
        ]
        assert await deploy(backend, spec("env.a", "v1"), spec("env.b", "v1", entrypoint=True)) == []
        assert await deploy(backend, spec("env.a", "v2")) == ["env.a"]
        assert newest(backend) == {"env.a": "v2", "env.b": "v1"}
        assert newest(backend, entrypoint=True) == {"env.b": "v1"}
        assert (await found(backend, "env.a")).code.version == "v2"
        assert await deploy(backend, spec("env.a", "v1")) == ["env.a"]
        await backend.create_run("only-run", spec("env.a", "v3"))
        await backend.create_run("never-deployed", spec("env.c", "v1"))
        assert newest(backend) == {"env.a": "v1", "env.b": "v1"}
        assert (await found(backend, "env.a")).code.version == "v1"
        assert (await found(backend, "env.a", "v3")).code.version == "v3"
        with backend.read() as connection:
            versions = tasks.list_versions(connection, "default", "development", "env.a")
            older = tasks.list_versions(
                connection, "default", "development", "env.a", before_id=versions[0].id
            )
        assert [each.version for each in versions] == ["v1", "v2"]
        assert [each.version for each in older] == ["v2"]


async def test_a_deployment_is_all_or_nothing_and_outlives_the_scheduler(ledger_url: str):
    """A version with another definition is refused with everything beside it; what was answered is kept."""
    async with serving(ledger_url) as backend:
        await deploy(backend, spec("env.a", "v1"))
        with pytest.raises(
            grpc.aio.AioRpcError, match=r"version 'v1' of task 'env.a'.*choose another"
        ) as refused:
            await deploy(backend, spec("env.new", "v1"), spec("env.a", "v1", retries=3))
        assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS
        for wrong in ([], [spec("env.a", "")], [spec("env.a", "v2"), spec("env.a", "v3")]):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await deploy(backend, *wrong)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        for name, domain in (("env.new", "development"), ("env.a", "production")):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await found(backend, name, domain=domain)
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    async with serving(ledger_url) as backend:
        assert newest(backend) == {"env.a": "v1"}
        assert await deploy(backend, spec("env.a", "v1")) == []


async def test_equal_deployments_at_once_take_effect_once(ledger_url: str):
    """Of twenty equal requests one changes something, and the others are answered all the same."""
    async with serving(ledger_url) as backend:
        answers = await asyncio.gather(*[deploy(backend, spec("env.a", "v1")) for _ in range(20)])
        assert sorted(answers) == [[]] * 19 + [["env.a"]]


async def test_hosts_prepare_the_images_of_a_deployment(ledger_url: str):
    """Each connected host is told of each new image of its platform once, and of none when nothing changed."""
    async with serving(ledger_url) as backend:
        executor = backend.executor()
        await executor.connect()
        await deploy(backend, spec("env.a", "v1"), spec("env.b", "v1"), spec("env.c", "v2"))
        await eventually(lambda: sorted(executor.images) == ["imv1", "imv2"])
        foreign = spec("env.d", "v3")
        foreign.image.platforms.append("linux/arm64")
        await deploy(backend, spec("env.a", "v1"), foreign)
        await backend.create_run("foreign", foreign)
        ended = await backend.ended("foreign")
        assert "is for linux/arm64, and no host is; the hosts are" in str(ended)
        await backend.create_run("later")
        await backend.ended("later")
        assert sorted(executor.images) == ["imv1", "imv2"]
        await executor.disconnect()


async def test_hosts_with_containers_are_told_of_builds(ledger_url: str):
    """An image that is being built reaches hosts whose engine is Docker, and no others."""
    async with serving(ledger_url) as backend:
        processes, containers = backend.executor(), backend.executor(name="second", engine="docker")
        await processes.connect()
        await containers.connect()
        request = messages.PrepareImagesRequest(images=[Image(digest="built", definition_json="{}")])
        assert (await backend.stub.PrepareImages(request)).hosts == 1
        await eventually(lambda: containers.images == ["built"])
        assert processes.images == []
        with pytest.raises(grpc.aio.AioRpcError, match="name 1 to 100 at once"):
            await backend.stub.PrepareImages(messages.PrepareImagesRequest())
        await processes.disconnect()
        await containers.disconnect()

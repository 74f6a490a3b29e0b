"""Hosts of two platforms: one that is this machine, and one whose kernel emulates arm64."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from hangar.scheduler.v1 import scheduler_service_pb2
from hangar.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from integration_tests.backend import BIN, Backend
from integration_tests.components.process import ServerProcess
from integration_tests.conftest import MakeBackend, MakeWorkspace
from integration_tests.docker_host import DockerHost
from integration_tests.ports import free_ports

pytestmark = pytest.mark.timeout(400)

SCRIPT = """
    import asyncio
    import platform

    import flyte

    small = flyte.Resources(cpu="250m", memory="512Mi")
    arm_image = (
        flyte.Image.from_base("BASE").clone(platform="linux/aarch64").with_pip_packages("markupsafe==3.0.2")
    )
    arm = flyte.TaskEnvironment("arm", image=arm_image, resources=small)
    amd_image = flyte.Image.from_debian_base(platform="linux/amd64")
    amd = flyte.TaskEnvironment("amd", image=amd_image, resources=small, depends_on=[arm])
    nowhere = flyte.TaskEnvironment(
        "nowhere", image=flyte.Image.from_base("BASE").clone(platform="linux/s390x"), resources=small
    )

    @arm.task
    async def on_arm() -> str:
        from markupsafe import _speedups

        return f"{platform.machine()} {_speedups.__file__.split('-')[-3]}"

    @amd.task
    async def both() -> list[str]:
        return [platform.machine(), await on_arm()]

    @nowhere.task
    async def impossible() -> str:
        return platform.machine()
"""


@contextmanager
def arm_host(backend: Backend, docker_url: str) -> Iterator[None]:
    """A second host of a backend, whose engine runs images for arm64."""
    [port] = free_ports(1)
    data = backend.data.with_name(f"{backend.data.name}-arm")
    environ = {
        **backend.environ,
        "HANGAR_DATA_DIR": str(data),
        "HANGAR_EXECUTOR_BLOBS": (backend.data / "blobs").as_uri(),
        "HANGAR_EXECUTOR_PLATFORM": "linux/aarch64",
        "HANGAR_EXECUTOR_PORT": str(port),
    }
    host = DockerHost(docker_url, data / "executor")
    log = data.with_suffix(".log")
    executor = ServerProcess(
        [str(BIN / "hangar"), "serve", "executor", "--node", "arm"], log, environ=environ
    )
    try:
        executor.wait_ready(lambda: ("arm", "linux/arm64") in platforms(backend), "the second host", 60)
        yield
    finally:
        executor.stop()
        host.remove_all()
        host.close()


def platforms(backend: Backend) -> list[tuple[str, str]]:
    """The hosts of a backend and their platforms."""
    with grpc.insecure_channel(backend.grpc) as channel:
        answer = SchedulerServiceStub(channel).ListNodes(scheduler_service_pb2.ListNodesRequest(), timeout=5)
    return [(node.name, node.capacity.platform) for node in answer.nodes]


def test_tasks_run_on_hosts_of_their_platform(
    make_backend: MakeBackend, make_workspace: MakeWorkspace, arm64_image: str, docker_url: str
) -> None:
    """One program calls a task for arm64 from one for amd64; what no host is for, and nobody builds, is refused."""
    backend = make_backend()
    workspace = make_workspace(backend)
    workspace.write("pipeline.py", SCRIPT.replace("BASE", arm64_image))
    alone = workspace.flyte("run", "pipeline.py", "on_arm", code=None, seconds=300)
    assert "the image of arm.on_arm is for linux/arm64, and no host is; the hosts are" in str(alone)
    with arm_host(backend, docker_url):
        run = workspace.launch("pipeline.py", "both")
        assert backend.api.succeeded(run, 300) == ["x86_64", "aarch64 aarch64"]
    refused = workspace.flyte("run", "pipeline.py", "impossible", code=None)
    assert "does not run programs of linux/s390x. Either name an engine" in str(refused)
    built = json.loads(workspace.flyte("-of", "json", "build", "pipeline.py", "arm").out)
    assert [(each["platform"], each["state"]) for each in built] == [("linux/arm64", "cached")]

"""The executor with the Docker engine and the real runtime in containers; only the scheduler is played by the test."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import docker
import pytest

from hangar.core.v1 import failure_pb2
from hangar.scheduler.v1.node_service_pb2 import NodeSessionResponse
from services.executor.engines.docker.containers import EXECUTOR_LABEL, WORKER_LABEL
from services.executor.tests.scheduler_fake import until
from services.executor.tests.specs import POOL, assignment, frame
from services.executor.tests.test_end_to_end import TASKS, Process, answer_children

GATED = """
@env.task
async def gated(x: int) -> int:
    '''Runs until somebody puts a file into its home.'''
    import pathlib
    with open(f"runs-{x}", "a") as file:
        file.write("run\\n")
    while not pathlib.Path(f"go-{x}").exists():
        await asyncio.sleep(0.01)
    return x

@env.task
async def eats() -> int:
    return len(bytearray(os.urandom(1024)) * 10**7)

@env.task
async def fills() -> None:
    with open("big", "wb") as file:
        while True:
            file.write(b"x" * 2**20)
            await asyncio.sleep(0.001)
"""


class DockerProcess(Process):
    """An executor process whose workers are containers."""

    def __init__(self, directory: Path, url: str, image: str) -> None:
        super().__init__(directory, TASKS + GATED)
        self.image = image
        self.client = docker.DockerClient(base_url=url)
        self.url = url

    def _spawn(self) -> None:
        environ = {
            **os.environ,
            "HANGAR_DATA_DIR": str(self.directory),
            "HANGAR_EXECUTOR_NODE": "n1",
            "HANGAR_EXECUTOR_SCHEDULER": self.scheduler.address,
            "HANGAR_EXECUTOR_PORT": "0",
            "HANGAR_EXECUTOR_DOCKER": self.url,
        }
        with (self.directory / "executor.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.executor.tests.docker_executor", self.image],
                env=environ,
                stderr=log,
                stdout=log,
            )

    def containers(self) -> dict[int, str]:
        """Containers of this executor by worker, with their state."""
        identity = (self.directory / "executor/identity").read_text().strip()
        found = self.client.api.containers(all=True, filters={"label": f"{EXECUTOR_LABEL}={identity}"})
        return {int(each["Labels"][WORKER_LABEL]): each["State"] for each in found}

    def home(self, worker_id: int) -> Path:
        """Working directory of a worker."""
        return self.directory / "executor/workers" / str(worker_id) / "work"


@pytest.fixture
async def host(tmp_path: Path, docker_url: str, worker_image: str) -> AsyncIterator[DockerProcess]:
    """A running executor process; afterwards no container of it is left."""
    made = DockerProcess(tmp_path, docker_url, worker_image)
    await made.scheduler.start()
    try:
        await made.start()
        yield made
        await made.stop_pool(*{status.worker_id for status in made.scheduler.all("workers")})
        await until(lambda: not made.containers(), "containers to go")
        await until(lambda: not list((tmp_path / "executor/workers").iterdir()), "directories to go")
        made.end(signal.SIGTERM)
    finally:
        if made.process is not None:
            made.end(signal.SIGKILL)
        for worker_id in made.containers():
            identity = (tmp_path / "executor/identity").read_text().strip()
            made.client.api.remove_container(f"hangar-{identity}-{worker_id}", force=True, v=True)
        made.client.close()
        await made.scheduler.stop()


async def test_a_cold_action_runs_in_a_container_of_its_own(host: DockerProcess):
    """Code, inputs, outputs and log of a task without reuse, and its container is gone afterwards."""
    host.scheduler.send(
        frame(assignment(1, worker_id=1, task="cold", inputs=b'{"x":41}')),
        [host.task("cold", is_async=False)],
    )
    result = await host.scheduler.result(1)
    assert result.outputs.inline == b'{"o0":42}', result.failure
    [chunk] = await until(lambda: host.scheduler.all("logs"))
    assert (host.directory / "blobs" / chunk.blob.key).read_text().endswith(" cold says 41\n")
    await until(lambda: not host.containers(), "the container to go")


async def test_replicas_share_actions_and_parents_get_their_children(host: DockerProcess):
    """A pool of two containers runs what it is given, and a parent the children that it asks for."""
    answer_children(host)
    await host.pool(1, 2)
    leases = range(100, 200)
    host.scheduler.send(
        frame(*(assignment(lease, pool=POOL, task="double", inputs=b'{"x":%d}' % lease) for lease in leases))
    )
    results = [await host.scheduler.result(lease) for lease in leases]
    assert [result.outputs.inline for result in results] == [b'{"o0":%d}' % (2 * lease) for lease in leases]
    assert {result.worker_id for result in results} == {1, 2}
    host.scheduler.send(
        frame(assignment(50, pool=POOL, task="parent", inputs=b'{"n":50}')), [host.task("parent")]
    )
    result = await host.scheduler.result(50)
    assert result.outputs.inline == b'{"o0":2450}', result.failure


async def test_failures_name_what_was_exceeded(host: DockerProcess):
    """Own death, memory and disk are three kinds of failure, each the task's own."""
    specs = {name: host.task(name) for name in ("dies", "eats", "fills")}
    for spec in specs.values():
        spec.resources.memory_bytes = 256 << 20
        spec.resources.disk_bytes = 32 << 20
    host.scheduler.send(
        frame(
            assignment(1, worker_id=1, task="dies", inputs=b'{"x":3}'),
            assignment(2, worker_id=2, task="eats"),
            assignment(3, worker_id=3, task="fills"),
        ),
        list(specs.values()),
    )
    failures = {lease: (await host.scheduler.result(lease)).failure for lease in (1, 2, 3)}
    assert (failures[1].kind, failures[1].code) == (failure_pb2.FAILURE_KIND_USER, "WorkerDied")
    assert "code 3" in failures[1].message
    assert (failures[2].kind, failures[2].code) == (failure_pb2.FAILURE_KIND_OOM, "OutOfMemory")
    assert (failures[3].kind, failures[3].code) == (failure_pb2.FAILURE_KIND_USER, "LimitExceeded")
    assert "more than its limit of 33554432" in failures[3].message


async def test_too_little_memory_to_start_is_said_so(host: DockerProcess):
    """A limit below what Python needs is a failure that says so, not a worker that did not connect."""
    spec = host.task("double")
    spec.resources.memory_bytes = 8 << 20
    host.scheduler.send(frame(assignment(1, worker_id=1, task="double", inputs=b'{"x":1}')), [spec])
    failure = (await host.scheduler.result(1)).failure
    assert failure.kind == failure_pb2.FAILURE_KIND_OOM, failure
    assert "8388608 bytes is too small" in failure.message


async def test_an_image_that_cannot_run_workers_is_explained(host: DockerProcess):
    """A container that ends before its worker connected fails the action with its last words."""
    spec = host.task("double")
    spec.env_vars["PYTHONPATH"] = ""
    host.scheduler.send(frame(assignment(1, worker_id=1, task="double", inputs=b'{"x":1}')), [spec])
    failure = (await host.scheduler.result(1)).failure
    assert (failure.kind, failure.code) == (failure_pb2.FAILURE_KIND_SYSTEM, "WorkerDied")
    assert "before it was ready" in failure.message
    assert "No module named" in failure.message


async def test_an_aborted_action_ends_with_its_container(host: DockerProcess):
    """A kill is confirmed, and the container of a cold worker goes."""
    host.scheduler.send(
        frame(assignment(51, worker_id=7, task="gated", inputs=b'{"x":51}')), [host.task("gated")]
    )
    await until((host.home(7) / "runs-51").exists, "the action to run")
    message = NodeSessionResponse()
    message.kills.add(lease_id=51, reason="enough")
    host.scheduler.send(message)
    result = await host.scheduler.result(51)
    assert result.killed
    await until(lambda: 7 not in host.containers(), "the container to go")


async def test_a_killed_executor_loses_nothing(host: DockerProcess):
    """After SIGKILL containers run on, the next executor adopts them, and every action has run once."""
    await host.pool(1, concurrency=4)
    pooled = [
        assignment(lease, pool=POOL, task="gated", inputs=b'{"x":%d}' % lease) for lease in range(60, 64)
    ]
    cold = assignment(66, worker_id=9, task="gated", inputs=b'{"x":66}')
    host.scheduler.send(frame(*pooled, cold), [host.task("gated")])
    homes = {**dict.fromkeys(range(60, 64), host.home(1)), 66: host.home(9)}
    await until(lambda: all((home / f"runs-{lease}").exists() for lease, home in homes.items()), "all to run")
    await until(lambda: len(host.scheduler.all("started")) == len(homes), "all to be started")
    runs = {lease: home / f"runs-{lease}" for lease, home in homes.items()}
    host.end(signal.SIGKILL)
    for lease in (60, 66):
        (homes[lease] / f"go-{lease}").touch()  # These end while there is no executor.
    await host.start()
    assert all(path.read_text() == "run\n" for path in runs.values() if path.exists())
    for lease, home in homes.items():
        if home.exists():
            (home / f"go-{lease}").touch()
    for lease in homes:
        result = await host.scheduler.result(lease)
        assert result.outputs.inline == b'{"o0":%d}' % lease, result.failure
    assert all((host.home(1) / f"runs-{lease}").read_text() == "run\n" for lease in range(60, 64))

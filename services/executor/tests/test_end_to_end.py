"""The executor with the process engine and the real runtime; only the scheduler is played by the test."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from hangar.core.v1 import failure_pb2
from hangar.core.v1.phase_pb2 import Phase
from hangar.core.v1.task_spec_pb2 import TaskSpec
from hangar.scheduler.v1 import node_service_pb2
from hangar.scheduler.v1.node_service_pb2 import NodeSessionRequest, NodeSessionResponse
from services.executor.tests.scheduler_fake import SchedulerFake, until
from services.executor.tests.specs import POOL, assignment, frame, start

TASKS = """
import asyncio, os, pathlib
import flyte

env = flyte.TaskEnvironment(name="env")

@env.task
def cold(x: int) -> int:
    print("cold says", x)
    return x + 1

@env.task
async def double(x: int) -> int:
    return 2 * x

@env.task
async def parent(n: int) -> int:
    return sum(await asyncio.gather(*[double(x) for x in range(n)]))

@env.task
async def dies(x: int) -> int:
    print("last words")
    os._exit(x)

@env.task
async def waits(marker: str) -> int:
    with open(marker + ".runs", "a") as file:
        file.write("run\\n")
    while not pathlib.Path(marker).exists():
        await asyncio.sleep(0.01)
    return 1
"""


class Process:
    """An executor as a process of its own, and the scheduler that it talks to."""

    def __init__(self, directory: Path, tasks: str = TASKS) -> None:
        self.directory = directory
        self.scheduler = SchedulerFake()
        self.process: subprocess.Popen[bytes] | None = None
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as bundle:
            member = tarfile.TarInfo("tasks.py")
            member.size = len(tasks)
            bundle.addfile(member, io.BytesIO(tasks.encode()))
        self.digest = hashlib.sha256(archive.getvalue()).hexdigest()
        code = directory / "blobs/code"
        code.mkdir(parents=True)
        (code / f"{self.digest}.tar.gz").write_bytes(archive.getvalue())

    async def start(self) -> None:
        """Starts the executor and waits for its session."""
        sessions = self.scheduler.sessions
        self._spawn()
        await self.scheduler.connected(sessions + 1)

    def _spawn(self) -> None:
        log = (self.directory / "executor.log").open("ab")
        environ = {
            **os.environ,
            "HANGAR_DATA_DIR": str(self.directory),
            "HANGAR_EXECUTOR_NODE": "n1",
            "HANGAR_EXECUTOR_SCHEDULER": self.scheduler.address,
            "HANGAR_EXECUTOR_PORT": "0",
        }
        self.process = subprocess.Popen([sys.executable, "-m", "services.executor"], env=environ, stderr=log)
        log.close()

    def end(self, number: int) -> None:
        """Ends the executor with a signal."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait()
        self.process = None

    def task(self, name: str, *, is_async: bool = True) -> TaskSpec:
        """The definition of one of the tasks."""
        made = TaskSpec(name=name, short_name=name, environment="env", is_async=is_async)
        made.code.module, made.code.attribute, made.code.bundle_digest = "tasks", name, self.digest
        made.code.python_path.append(".")
        made.max_inline_io_bytes = 10 << 20
        return made

    def processes(self) -> dict[str, psutil.Process]:
        """All processes that belong to this host, the executor aside, by name and number."""
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                text = " ".join([*process.cmdline(), process.exe(), process.cwd()])
                if str(self.directory) in text and process.pid != os.getpid():
                    found[f"{process.name()} {process.pid}"] = process
        return found

    def worker(self, worker_id: int) -> psutil.Process | None:
        """The process of a worker, None when there is none."""
        name = f"flyte-worker-{worker_id} "
        return next((each for key, each in self.processes().items() if key.startswith(name)), None)

    async def pool(self, *worker_ids: int, concurrency: int = 4) -> None:
        """Starts workers of a pool and waits for them."""
        starts = [start(number, concurrency=concurrency, task="double") for number in worker_ids]
        self.scheduler.send(frame(*starts), [self.task("double")])
        await until(
            lambda: all(
                (seen := self.scheduler.worker(number)) is not None
                and seen.state == node_service_pb2.WORKER_STATE_READY
                for number in worker_ids
            ),
            "the pool to be ready",
        )

    async def stop_pool(self, *worker_ids: int) -> None:
        """Ends workers of a pool."""
        message = NodeSessionResponse()
        for number in worker_ids:
            message.worker_stops.add(worker_id=number, reason="the test is over")
        self.scheduler.send(message)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Process]:
    """A running executor process; afterwards nothing of it may be left."""
    made = Process(tmp_path)
    await made.scheduler.start()
    try:
        await made.start()
        yield made
        await made.stop_pool(*{status.worker_id for status in made.scheduler.all("workers")})
        await until(lambda: not [name for name in made.processes() if "worker" in name], "workers to end")
        made.end(signal.SIGTERM)
        await until(lambda: not made.processes(), "processes to end")
    finally:
        if made.process is not None:
            made.end(signal.SIGKILL)
        for process in made.processes().values():
            with suppress(psutil.Error):
                process.kill()
        await made.scheduler.stop()


def answer_children(process: Process) -> None:
    """Makes the scheduler run children in the pool and send their outcomes."""
    lease_ids = iter(range(10_000, 20_000))
    parents: dict[int, tuple[int, str]] = {}

    def on_frame(heard: NodeSessionRequest) -> NodeSessionResponse | None:
        answer = NodeSessionResponse()
        for child in heard.children:
            made = assignment(next(lease_ids), pool=POOL, task="double", inputs=child.inputs.inline)
            parents[made.lease_id] = (child.parent_lease_id, child.key)
            answer.assignments.append(made)
        for result in heard.results:
            if result.lease_id in parents:
                lease, key = parents.pop(result.lease_id)
                outcome = answer.child_outcomes.add(
                    parent_lease_id=lease, key=key, action_name=key, phase=Phase.PHASE_SUCCEEDED
                )
                outcome.outputs.CopyFrom(result.outputs)
        return answer if answer.ByteSize() else None

    process.scheduler.on_frame = on_frame


async def test_a_cold_action_runs_in_a_process_of_its_own(host: Process):
    """Code, inputs, outputs and log of a task without reuse, and its worker is gone afterwards."""
    host.scheduler.send(
        frame(assignment(1, worker_id=1, task="cold", inputs=b'{"x":41}')),
        [host.task("cold", is_async=False)],
    )
    result = await host.scheduler.result(1)
    assert result.outputs.inline == b'{"o0":42}', result.failure
    [chunk] = await until(lambda: host.scheduler.all("logs"))
    assert (host.directory / "blobs" / chunk.blob.key).read_text().endswith(" cold says 41\n")
    await until(lambda: not (host.directory / "executor/workers/1").exists(), "the worker's directory to go")


async def test_two_replicas_share_400_actions(host: Process):
    """Every action has its own result, and both workers took part."""
    await host.pool(1, 2)
    leases = range(100, 500)
    host.scheduler.send(
        frame(*(assignment(lease, pool=POOL, task="double", inputs=b'{"x":%d}' % lease) for lease in leases))
    )
    results = [await host.scheduler.result(lease) for lease in leases]
    assert [result.outputs.inline for result in results] == [b'{"o0":%d}' % (2 * lease) for lease in leases]
    assert {result.worker_id for result in results} == {1, 2}


async def test_a_parent_gets_the_outputs_of_its_children(host: Process):
    """Children are asked for and answered through the session; while the parent waits it is parked."""
    answer_children(host)
    await host.pool(1)
    host.scheduler.send(
        frame(assignment(50, pool=POOL, task="parent", inputs=b'{"n":100}')), [host.task("parent")]
    )
    result = await host.scheduler.result(50)
    assert result.outputs.inline == b'{"o0":9900}', result.failure
    assert {each.lease_id for each in host.scheduler.all("parks")} == {50}


async def test_a_worker_that_dies_or_is_killed_is_told_apart(host: Process):
    """`os._exit` is the task's fault, SIGKILL from outside is not; a following worker goes on."""
    await host.pool(1)
    host.scheduler.send(frame(assignment(50, pool=POOL, task="dies", inputs=b'{"x":3}')), [host.task("dies")])
    result = await host.scheduler.result(50)
    assert (result.failure.kind, result.failure.code) == (failure_pb2.FAILURE_KIND_USER, "WorkerDied")
    assert "code 3" in result.failure.message
    marker = host.directory / "marker"
    await host.pool(2)
    waits = assignment(51, pool=POOL, task="waits", inputs=b'{"marker":"%s"}' % os.fsencode(marker))
    host.scheduler.send(frame(waits), [host.task("waits")])
    await until(lambda: Path(f"{marker}.runs").exists())
    victim = host.worker(2)
    assert victim is not None
    victim.kill()
    result = await host.scheduler.result(51)
    assert result.failure.kind == failure_pb2.FAILURE_KIND_SYSTEM
    assert "SIGKILL" in result.failure.message
    await host.pool(3)
    host.scheduler.send(frame(assignment(52, pool=POOL, task="double", inputs=b'{"x":1}')))
    assert (await host.scheduler.result(52)).outputs.inline == b'{"o0":2}'


async def test_an_aborted_action_is_gone_when_the_abort_is_confirmed(host: Process):
    """A cold worker's process does not exist any more when the killed result arrives."""
    marker = host.directory / "marker"
    waits = assignment(51, worker_id=7, task="waits", inputs=b'{"marker":"%s"}' % os.fsencode(marker))
    host.scheduler.send(frame(waits), [host.task("waits")])
    await until(lambda: Path(f"{marker}.runs").exists())
    message = NodeSessionResponse()
    message.kills.add(lease_id=51, reason="enough")
    host.scheduler.send(message)
    result = await host.scheduler.result(51)
    assert result.killed
    assert host.worker(7) is None


async def test_a_killed_executor_loses_nothing(host: Process):
    """After SIGKILL workers run on, the next executor adopts them, and every action has run once."""
    await host.pool(1, 2, concurrency=2)
    markers = {lease: host.directory / f"marker-{lease}" for lease in range(60, 67)}

    def waits(lease: int, **where: object):
        inputs = b'{"marker":"%s"}' % os.fsencode(markers[lease])
        return assignment(lease, task="waits", inputs=inputs, **where)  # type: ignore[arg-type]

    # Four run in the pool, two wait for a slot, one has a worker of its own.
    pooled = [waits(lease, pool=POOL) for lease in range(60, 66)]
    host.scheduler.send(frame(*pooled, waits(66, worker_id=9)), [host.task("waits")])
    running = [60, 61, 62, 63, 66]
    await until(lambda: all(Path(f"{markers[lease]}.runs").exists() for lease in running))
    await until(lambda: len(host.scheduler.all("started")) == len(running))
    host.end(signal.SIGKILL)
    for lease in (60, 66):
        markers[lease].touch()  # These end while there is no executor.
    await host.start()
    held = {lease.lease_id: lease.started for lease in host.scheduler.hellos[-1].leases}
    assert set(held) | set(host.scheduler.results) == set(markers)
    for marker in markers.values():
        marker.touch()
    for lease in markers:
        result = await host.scheduler.result(lease)
        assert result.outputs.inline == b'{"o0":1}', result.failure
    assert all(Path(f"{marker}.runs").read_text() == "run\n" for marker in markers.values())

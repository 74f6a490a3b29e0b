"""What only the process engine does: limits, stray processes, orphans, environments of workers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.executor.engines.base import ImageDefinition, LaunchFailedError, PreparedImage, WorkerExit
from services.executor.engines.cgroups import ControlGroupsV1, find_control_groups
from services.executor.engines.process import ProcessEngine, ProcessEngineOptions
from services.executor.engines.tests.process_host import (
    PATIENCE,
    THIS_ENVIRONMENT,
    WorkerPeer,
    spec_of,
    until,
    write_code,
)
from services.executor.engines.worker_process import start_time, write_record


class Lab:
    """A process engine and the peers of its workers."""

    def __init__(self, state: Path, **options: Any) -> None:
        self.state = state
        self.options = ProcessEngineOptions(state, **options)
        self.engine = ProcessEngine(self.options)
        self.peers: list[WorkerPeer] = []

    async def launch(self, worker_id: int = 1, **options: Any) -> WorkerPeer:
        spec, peer = await spec_of(self.state, worker_id, self.peers, **options)
        await self.engine.launch(spec)
        await peer.connected()
        return peer

    async def exit(self) -> WorkerExit:
        async def first() -> WorkerExit:
            async for ended in self.engine.events():
                return ended
            raise AssertionError

        return await asyncio.wait_for(first(), PATIENCE)

    def supervisor(self, worker_id: int = 1) -> int:
        record = json.loads((self.state / "workers" / str(worker_id) / "supervisor.json").read_text())
        return int(record["pid"])

    def process(self, worker_id: int = 1) -> int:
        record = json.loads((self.state / "workers" / str(worker_id) / "process.json").read_text())
        return int(record["pid"])

    def group(self, controller: str, worker_id: int = 1) -> Path:
        groups = self.engine.control_groups
        if not isinstance(groups, ControlGroupsV1) or controller not in groups.controllers:
            pytest.skip(f"this test reads the files of the {controller} controller, version 1")
        return groups.roots[controller] / f"worker-{worker_id}"

    async def close(self) -> None:
        await self.engine.adopt()
        for worker_id in self.engine.worker_ids:
            await self.engine.kill(worker_id, "the test is over")
        for peer in self.peers:
            await peer.close()
        await self.engine.close()


@pytest.fixture
def orphan_ttl() -> float:
    """Seconds after which a worker is an orphan: more than any test takes, unless it is about orphans."""
    return 600.0


@pytest.fixture(params=["cgroups", "watchdog"])
async def lab(request: pytest.FixtureRequest, tmp_path: Path, orphan_ttl: float) -> AsyncIterator[Lab]:
    """A process engine with and without control groups."""
    write_code(tmp_path)
    made = Lab(tmp_path, use_cgroups=request.param == "cgroups", orphan_ttl=orphan_ttl, pids_limit=64)
    await made.engine.start()
    yield made
    await made.close()


async def test_a_kill_reaches_daemons(lab: Lab) -> None:
    """A process that forked twice into a session of its own ends with its worker."""
    peer = await lab.launch()
    daemon = await peer.call("daemon")
    assert start_time(daemon) is not None
    await lab.engine.kill(1, "end")
    assert start_time(daemon) is None


async def test_daemons_end_when_the_worker_ends(lab: Lab) -> None:
    """Nothing that user code started is left when the exit of its worker is reported."""
    peer = await lab.launch()
    daemon = await peer.call("daemon")
    await peer.start("leave", code=0)
    assert (await lab.exit()).code == 0
    assert start_time(daemon) is None


async def test_the_worker_ends_when_its_supervisor_is_killed(lab: Lab) -> None:
    """Killing a supervisor ends its worker and all below it, and the exit is reported."""
    peer = await lab.launch()
    daemon = await peer.call("daemon")
    worker = lab.process()
    os.kill(lab.supervisor(), signal.SIGKILL)
    ended = await lab.exit()
    assert (ended.code, ended.oom, ended.killed) == (None, False, False)
    assert "supervisor" in ended.reason
    assert (start_time(worker), start_time(daemon)) == (None, None)


@pytest.mark.parametrize("orphan_ttl", [0.5])
async def test_an_orphan_ends_after_its_time_to_live(lab: Lab) -> None:
    """A worker without an executor ends by itself, and a later engine hears of it."""
    peer = await lab.launch()
    supervisor = lab.supervisor()
    await peer.close()
    await lab.engine.close()
    await until(lambda: start_time(supervisor) is None, "the orphan to end")
    lab.engine = ProcessEngine(lab.options)
    await lab.engine.start()
    assert await lab.engine.adopt() == []
    ended = await lab.exit()
    assert (ended.worker_id, ended.killed) == (1, True)
    assert "no executor" in ended.reason


async def test_a_worker_that_was_on_record_and_never_forked_can_be_started(lab: Lab) -> None:
    """When the executor was killed in between, the next one starts the worker, and hears of no end."""
    directory = lab.state / "workers" / "1"
    directory.mkdir(parents=True)
    write_record(directory / "worker.json", {"worker": 1, "token": "of the one before"})
    assert await lab.engine.adopt() == []
    peer = await lab.launch()
    assert await peer.call("environ", name="NOTHING") == "(not set)"
    assert start_time(lab.supervisor()) is not None


async def test_a_worker_with_an_executor_is_no_orphan(lab: Lab) -> None:
    """A worker whose executor came back within the time to live goes on."""
    peer = await lab.launch()
    before = lab.process()
    await peer.close()
    await peer.listen()
    await peer.connected()
    assert await peer.call("environ", name="NOTHING") == "(not set)"
    assert lab.process() == before


async def test_a_frozen_worker_stands_still(lab: Lab, tmp_path: Path) -> None:
    """A frozen worker does nothing until it is thawed, and then goes on."""
    peer = await lab.launch()
    counter = tmp_path / "counter"
    await peer.start("count", path=str(counter))
    await until(lambda: _number(counter) > 2, "the worker to count")
    await lab.engine.freeze(1)
    before = counter.read_text()
    for _ in range(20):
        assert _state(lab.process()) in {"T", "D", "S"}
        await lab.engine.stats(1)
    assert counter.read_text() == before
    await lab.engine.thaw(1)
    frozen_at = int(before or 0)
    await until(lambda: _number(counter) > frozen_at + 2, "the worker to go on")


async def test_processes_are_limited(lab: Lab) -> None:
    """A worker that starts more processes than allowed is refused by the kernel, or ended with the reason."""
    peer = await lab.launch()
    if lab.engine.control_groups is not None:
        assert 0 < await peer.call("spawn", count=200) < 64
        return
    await peer.start("spawn", count=200)
    ended = await lab.exit()
    assert "more than 64 processes" in ended.reason


async def test_out_of_memory_in_a_child_that_the_worker_survives_is_no_failure_of_the_worker(
    lab: Lab,
) -> None:
    """The exit of a worker that goes on after a process of it was killed for memory is its own."""
    peer = await lab.launch(memory_bytes=2**30)
    assert await peer.call("eat", megabytes=1) == 1
    await peer.start("leave", code=5)
    ended = await lab.exit()
    assert (ended.code, ended.oom) == (5, False)


async def test_peak_memory_and_processor_time_are_measured(lab: Lab) -> None:
    """An exit says how much memory and processor time the worker used."""
    peer = await lab.launch(memory_bytes=2**30)
    assert await peer.call("eat", megabytes=100) == 100
    measured = await lab.engine.stats(1)
    assert measured.processes >= 1
    await peer.start("leave", code=0)
    ended = await lab.exit()
    assert ended.peak_memory_bytes > 90 * 2**20
    assert ended.cpu_millis > 0


@pytest.mark.parametrize("lab", ["cgroups"], indirect=True)
async def test_limits_are_set_in_control_groups(lab: Lab) -> None:
    """Processor, memory and process limits are what the worker's groups say."""
    await lab.launch(cpu_millis=1500, memory_bytes=512 * 2**20)
    assert (lab.group("cpu") / "cpu.cfs_quota_us").read_text().strip() == "150000"
    assert (lab.group("cpu") / "cpu.cfs_period_us").read_text().strip() == "100000"
    assert (lab.group("memory") / "memory.limit_in_bytes").read_text().strip() == str(512 * 2**20)
    assert (lab.group("pids") / "pids.max").read_text().strip() == "64"
    for controller in ("cpu", "memory", "pids", "freezer"):
        assert str(lab.process()) in (lab.group(controller) / "cgroup.procs").read_text().split()


async def test_without_control_groups_processors_are_an_affinity(tmp_path: Path) -> None:
    """A limit of one processor becomes an affinity to one where there are no control groups."""
    write_code(tmp_path)
    lab = Lab(tmp_path, use_cgroups=False)
    await lab.engine.start()
    try:
        await lab.launch(cpu_millis=500)
        assert len(os.sched_getaffinity(lab.process())) == 1
    finally:
        await lab.close()


async def test_groups_are_removed_after_the_worker(lab: Lab) -> None:
    """No control group of an ended worker is left."""
    await lab.launch()
    groups = lab.engine.control_groups
    assert groups is None or groups.worker_ids() == {1}
    await lab.engine.kill(1, "end")
    assert groups is None or groups.worker_ids() == set()


async def test_groups_of_dead_workers_are_removed_at_the_start(tmp_path: Path) -> None:
    """A group that a crash left behind is gone after the next start, and so is what lived in it."""
    options = ProcessEngineOptions(tmp_path)
    groups = find_control_groups(options.group_name)
    if groups is None:
        pytest.skip("this process may make no control groups")
    for directory in groups.directories(9):
        directory.mkdir(parents=True)
    stray = await asyncio.create_subprocess_exec("sleep", "600")
    (groups.directories(9)[0] / "cgroup.procs").write_text(str(stray.pid))
    engine = ProcessEngine(options)
    await engine.start()
    assert await stray.wait() == -signal.SIGKILL
    assert groups.worker_ids() == set()
    await engine.close()


async def test_workers_see_their_variables_and_no_others(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker has the variables of its image and task, and none of the executor's own."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for workers")
    image = PreparedImage("tests", THIS_ENVIRONMENT.reference, {"LAYER": "image", "BOTH": "image"})
    peer = await lab.launch(image=image, env_vars={"BOTH": "task"})
    assert await peer.call("environ", name="LAYER") == "image"
    assert await peer.call("environ", name="BOTH") == "task"
    assert await peer.call("environ", name="AWS_SECRET_ACCESS_KEY") == "(not set)"


async def test_workers_see_the_gpus_they_were_given(lab: Lab) -> None:
    """A worker sees exactly its devices, and one without any sees none."""
    with_gpus = await lab.launch(1, gpu_uuids=("GPU-a", "GPU-b"))
    without = await lab.launch(2)
    assert await with_gpus.call("environ", name="CUDA_VISIBLE_DEVICES") == "GPU-a,GPU-b"
    assert await without.call("environ", name="CUDA_VISIBLE_DEVICES") == ""


async def test_an_environment_that_does_not_start_is_a_failed_launch(lab: Lab, tmp_path: Path) -> None:
    """Launching from an environment that is broken raises an error and leaves no worker."""
    broken = tmp_path / "broken" / "bin"
    broken.mkdir(parents=True)
    (broken / "python").write_text("#!/bin/sh\necho no module named flyte >&2\nexit 1\n")
    (broken / "python").chmod(0o755)
    spec, _ = await spec_of(lab.state, 1, lab.peers, image=PreparedImage("broken", str(broken.parent)))
    with pytest.raises(LaunchFailedError, match="no module named flyte"):
        await lab.engine.launch(spec)
    assert lab.engine.worker_ids == []


async def test_the_zygote_ends_with_the_engine(lab: Lab) -> None:
    """Closing an engine leaves its workers and nothing else running."""
    await lab.launch()
    zygotes = [int(record.stem) for record in (lab.state / "zygotes").glob("*.pid")]
    assert len(zygotes) == 1
    await lab.engine.close()
    assert start_time(zygotes[0]) is None
    assert start_time(lab.process()) is not None
    lab.engine = ProcessEngine(lab.options)
    await lab.engine.start()


async def test_images_that_cannot_be_made_are_refused(lab: Lab) -> None:
    """An image that needs containers is refused by the layer's name."""
    definition = ImageDefinition("d", json.dumps({"base": {"kind": "debian"}, "layers": [{"kind": "apt"}]}))
    with pytest.raises(Exception, match="layer 'apt' needs the Docker engine"):
        await lab.engine.ensure_image(definition, print)


def _number(path: Path) -> int:
    try:
        return int(path.read_text() or 0)
    except (FileNotFoundError, ValueError):
        return 0


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _state(pid: int) -> str:
    return _stat(pid)[0]


@pytest.mark.parametrize("orphan_ttl", [0.5])
async def test_an_orphan_removes_its_groups(lab: Lab) -> None:
    """A worker that ends without an executor leaves no control group, and the last one none at all."""
    peer = await lab.launch()
    groups, supervisor = lab.engine.control_groups, lab.supervisor()
    await peer.close()
    await lab.engine.close()
    await until(lambda: start_time(supervisor) is None, "the orphan to end")
    for directory in groups.directories(1) if groups is not None else ():
        assert not directory.parent.exists()
    lab.engine = ProcessEngine(lab.options)
    await lab.engine.start()

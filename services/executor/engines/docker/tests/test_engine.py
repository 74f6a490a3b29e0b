"""What only the Docker engine does, on a real engine: hardening, limits, ends, leftovers, other executors."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import docker
import pytest

from services.common.errors import FailedPrecondition
from services.executor.engines.base import (
    ImageFailedError,
    LaunchFailedError,
    PreparedImage,
    WorkerExit,
    WorkerResources,
    WorkerSpec,
)
from services.executor.engines.docker.containers import container_name
from services.executor.engines.tests.docker_host import left_of, make_engine
from services.executor.engines.tests.process_host import PATIENCE, WorkerPeer, spec_of, until, write_code
from services.executor.engines.tests.worker_image import FixedImages

MEBIBYTE = 2**20


class Lab:
    """A Docker engine and the peers of its workers."""

    def __init__(self, state: Path, url: str, image: str, **options: Any) -> None:
        self.state, self.url, self.image, self.options = state, url, image, options
        self.engine = make_engine(state, url, image, **options)
        self.peers: list[WorkerPeer] = []
        self.api = docker.APIClient(base_url=url)

    async def spec(
        self, worker_id: int = 1, resources: WorkerResources | None = None, **options: Any
    ) -> tuple[WorkerSpec, WorkerPeer]:
        made = {
            "image": PreparedImage(self.image, self.image),
            "code_dir": str(self.state / "code"),
            **options,
        }
        spec, peer = await spec_of(self.state, worker_id, self.peers, **made)
        if resources is not None:
            spec = WorkerSpec(
                **{**{name: getattr(spec, name) for name in spec.__slots__}, "resources": resources}
            )
        return spec, peer

    async def launch(self, worker_id: int = 1, **options: Any) -> WorkerPeer:
        spec, peer = await self.spec(worker_id, **options)
        await self.engine.launch(spec)
        await peer.connected()
        return peer

    async def exit(self) -> WorkerExit:
        async def first() -> WorkerExit:
            async for ended in self.engine.events():
                return ended
            raise AssertionError

        return await asyncio.wait_for(first(), PATIENCE)

    def name(self, worker_id: int = 1) -> str:
        return container_name(self.engine.identity, worker_id)

    def containers(self) -> list[str]:
        return left_of(self.url, self.engine.identity)

    async def replace(self, **options: Any) -> None:
        await self.engine.close()
        self.engine = make_engine(self.state, self.url, self.image, **{**self.options, **options})
        await self.engine.start()

    async def close(self) -> None:
        async with asyncio.timeout(60):
            await self._close()

    async def _close(self) -> None:
        await self.engine.adopt()
        for worker_id in self.engine.worker_ids:
            await self.engine.kill(worker_id, "the test is over")
        for peer in self.peers:
            await self.engine.forget(int(peer.directory.name))
            await peer.close()
        assert self.containers() == []
        self.api.close()
        await self.engine.close()


@pytest.fixture
async def lab(docker_url: str, worker_image: str, tmp_path: Path) -> AsyncIterator[Lab]:
    """A Docker engine; afterwards no container of it is left."""
    write_code(tmp_path)
    made = Lab(tmp_path, docker_url, worker_image, disk_interval=0.1, pids_limit=64, tmp_bytes=8 * MEBIBYTE)
    await made.engine.start()
    yield made
    await made.close()


async def test_a_task_is_locked_in(lab: Lab) -> None:
    """From inside: no root, no capability, no new privileges, seccomp, nothing to write to but its own, no network."""
    peer = await lab.launch()

    async def value(expression: str) -> str:
        return str(await peer.call("evaluate", expression=expression))

    status = await value("open('/proc/self/status').read()")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["65532"] * 4
    assert fields["Gid"].split() == ["65532"] * 4
    assert {fields[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    mounts = [line.split() for line in (await value("open('/proc/mounts').read()")).splitlines()]
    options = {fields[1]: fields[3].split(",")[0] for fields in mounts}
    assert (options["/"], options[f"{lab.state}/code"], options[f"{lab.state}/workers/1"]) == (
        "ro",
        "ro",
        "rw",
    )
    assert "Read-only" in await value("open('/var/tmp/x', 'w')")
    assert "Read-only" in await value("open('/proc/sys/kernel/hostname', 'w')")
    assert "PermissionError" in await value("os.setuid(0)")
    assert (
        await value("os.path.exists('/var/run/docker.sock') or os.path.exists('/run/docker.sock')") == "False"
    )
    assert await value("sorted(os.listdir('/sys/class/net'))") == "['lo']"
    assert await value("os.environ['HOME'] == os.getcwd() and open('x', 'w').write('y')") == "1"
    assert await value("len([p for p in os.listdir('/proc') if p.isdigit()])") == "2"
    # The worker's directory is all that there is of the state directory, besides the code.
    assert await value(f"sorted(os.listdir('{lab.state}'))") == "['code', 'workers']"
    assert await value(f"os.listdir('{lab.state}/workers')") == "['1']"


async def test_tmp_is_memory_of_limited_size(lab: Lab) -> None:
    """`/tmp` takes what the settings say and no more."""
    peer = await lab.launch()
    assert await peer.call("write", path="/tmp/a", megabytes=7) == "written"
    assert await peer.call("write", path="/tmp/b", megabytes=7) == "No space left on device"


async def test_processes_and_shared_memory_are_limited(lab: Lab) -> None:
    """Forking ends at the limit of processes, `/dev/shm` has the size that was asked for."""
    peer = await lab.launch(resources=WorkerResources(shm_bytes=3 * MEBIBYTE))
    assert await peer.call("write", path="/dev/shm/a", megabytes=2) == "written"
    assert await peer.call("write", path="/dev/shm/b", megabytes=2) == "No space left on device"
    assert 0 < await peer.call("spawn", count=200) < 64


async def test_daemons_end_with_the_worker(lab: Lab) -> None:
    """A process that left its session is gone when the exit is reported, since its container is."""
    peer = await lab.launch()
    await peer.call("daemon")
    await peer.start("leave", code=0)
    ended = await lab.exit()
    assert (ended.code, ended.killed) == (0, False)
    assert lab.api.inspect_container(lab.name())["State"]["Running"] is False


async def test_use_is_measured(lab: Lab) -> None:
    """Statistics while a worker lives, peak memory and processor time when it has ended."""
    peer = await lab.launch(memory_bytes=512 * MEBIBYTE)
    assert await peer.call("eat", megabytes=100) == 100
    measured = await lab.engine.stats(1)
    assert measured.memory_bytes > 10 * MEBIBYTE
    assert measured.cpu_millis > 0
    assert measured.processes >= 2
    await peer.start("leave", code=0)
    ended = await lab.exit()
    assert ended.peak_memory_bytes > 100 * MEBIBYTE
    assert ended.cpu_millis > 0


async def test_out_of_memory_in_a_child_is_not_the_workers_end(lab: Lab) -> None:
    """A worker whose child was killed for memory goes on, and its own exit is not reported as out of memory."""
    peer = await lab.launch(memory_bytes=128 * MEBIBYTE)
    eat = "subprocess.run([sys.executable, '-c', 'x = bytearray(10**9)']).returncode"
    assert await peer.call("evaluate", expression=eat) == "-9"
    assert await peer.call("evaluate", expression="1 + 1") == "2"
    await peer.start("leave", code=0)
    ended = await lab.exit()
    assert (ended.code, ended.oom) == (0, False)


async def test_a_frozen_worker_stands_still(lab: Lab) -> None:
    """A paused container does nothing, and goes on when it is thawed."""
    peer = await lab.launch()
    counter = lab.state / "workers/1/work/counter"
    await peer.start("count", path=str(counter))
    await until(lambda: _number(counter) > 2, "the worker to count")
    await lab.engine.freeze(1)
    before = _number(counter)
    for _ in range(2):
        await lab.engine.stats(1)
    assert _number(counter) == before
    await lab.engine.thaw(1)
    await until(lambda: _number(counter) > before + 2, "the worker to go on")


async def test_a_worker_over_its_disk_limit_is_evicted(lab: Lab) -> None:
    """Who writes more than it may is ended, and the exit says how much that was."""
    peer = await lab.launch(resources=WorkerResources(disk_bytes=20 * MEBIBYTE))
    await peer.start("write", path=f"{lab.state}/workers/1/work/big", megabytes=40)
    ended = await lab.exit()
    assert (ended.evicted, ended.killed, ended.oom) == (True, True, False)
    assert "bytes of disk, more than its limit of 20971520" in ended.reason


async def test_a_signal_is_handed_on_to_the_worker(lab: Lab) -> None:
    """What is sent to the container reaches the worker's own process, which it ends."""
    await lab.launch()
    await lab.engine.signal(1, signal.SIGUSR1)
    ended = await lab.exit()
    assert (ended.signal, ended.killed) == (signal.SIGUSR1, False)


@pytest.mark.parametrize(
    ("how", "number", "reason"),
    [
        (lambda lab: lab.api.stop(lab.name()), signal.SIGTERM, "stopped from outside"),
        (lambda lab: lab.api.kill(lab.name()), signal.SIGKILL, "killed from outside"),
        (lambda lab: lab.api.remove_container(lab.name(), force=True), None, "removed|killed from outside"),
    ],
    ids=["stop", "kill", "remove"],
)
async def test_what_somebody_else_does_to_a_container_is_told(
    lab: Lab, how: Callable[[Lab], object], number: int | None, reason: str
) -> None:
    """A container that somebody stops, kills or removes is reported as that, not as an end of its own or a kill."""
    await lab.launch()
    await asyncio.to_thread(how, lab)
    ended = await lab.exit()
    assert (ended.code, ended.killed, ended.oom) == (None, False, False)
    assert number is None or ended.signal == number
    assert any(part in ended.reason for part in reason.split("|")), ended


async def test_an_orphan_ends_after_its_time_to_live(lab: Lab) -> None:
    """A container without an executor ends by itself, and the next engine hears why."""
    await lab.replace(orphan_ttl=0.5)
    peer = await lab.launch()
    await peer.close()
    await lab.engine.close()
    await until(lambda: not lab.api.inspect_container(lab.name())["State"]["Running"], "the orphan to end")
    lab.engine = make_engine(lab.state, lab.url, lab.image)
    await lab.engine.start()
    assert await lab.engine.adopt() == []
    ended = await lab.exit()
    assert (ended.worker_id, ended.killed) == (1, True)
    assert "no executor" in ended.reason


async def test_an_image_without_the_sdk_is_explained_by_its_last_words(lab: Lab) -> None:
    """A worker that never comes up ends with what it wrote."""
    spec, _ = await lab.spec(env_vars={"PYTHONPATH": ""})
    await lab.engine.launch(spec)
    ended = await lab.exit()
    assert ended.code == 1
    assert "No module named 'flyte'" in ended.reason or "No module named flyte" in ended.reason


async def test_an_image_without_python_is_refused(lab: Lab) -> None:
    """Nothing is left of a container whose command does not exist, and the image is to blame."""
    spec, _ = await lab.spec(image=PreparedImage("busybox", "busybox:latest"))
    with pytest.raises(ImageFailedError, match="no command `python3`"):
        await lab.engine.launch(spec)
    assert lab.containers() == []
    assert lab.engine.worker_ids == []


async def test_an_image_that_is_gone_is_named(lab: Lab) -> None:
    """The launch fails with the image's name, and the image is looked for again the next time."""
    spec, _ = await lab.spec(image=PreparedImage("x", "hangar/never-made:1"))
    with pytest.raises(LaunchFailedError, match="hangar/never-made:1 is not in the engine"):
        await lab.engine.launch(spec)
    assert lab.containers() == []
    images = lab.engine._images
    assert isinstance(images, FixedImages)
    assert images.forgotten == [spec.image]


async def test_gpus_where_none_are_fail_clearly(lab: Lab) -> None:
    """A request for devices that the engine cannot give leaves nothing behind, in no state."""
    spec, _ = await lab.spec(gpu_uuids=("GPU-1",))
    with pytest.raises(LaunchFailedError, match="install the NVIDIA container toolkit"):
        await lab.engine.launch(spec)
    assert lab.containers() == []


async def test_too_little_memory_is_said_so(lab: Lab) -> None:
    """With less memory than Python needs, the launch fails or the worker ends as out of memory."""
    for worker_id, memory in ((1, MEBIBYTE), (2, 6 * MEBIBYTE), (3, 10 * MEBIBYTE)):
        spec, _ = await lab.spec(worker_id, memory_bytes=memory)
        if memory < 6 * MEBIBYTE:
            with pytest.raises(LaunchFailedError, match="too small") as caught:
                await lab.engine.launch(spec)
            assert caught.value.too_little_memory
        else:
            await lab.engine.launch(spec)
            ended = await lab.exit()
            assert (ended.worker_id, ended.oom) == (worker_id, True), ended


async def test_other_executors_are_left_alone(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A second executor on the same engine neither adopts nor clears the workers of the first."""
    peer = await lab.launch()
    other = make_engine(tmp_path_factory.mktemp("other"), lab.url, lab.image)
    await other.start()
    assert await other.adopt() == []
    assert other.identity != lab.engine.identity
    await other.close()
    assert await peer.call("evaluate", expression="1 + 1") == "2"


async def test_leftovers_of_failed_starts_are_removed(lab: Lab) -> None:
    """A container that an executor made and did not start is gone after the next start, and its worker can start."""
    labels = {"hangar.executor": lab.engine.identity, "hangar.worker": "1"}
    lab.api.create_container(lab.image, command=["true"], labels=labels, name=lab.name())
    await lab.replace()
    assert lab.containers() == []
    peer = await lab.launch()
    assert await peer.call("evaluate", expression="1 + 1") == "2"


async def test_a_container_that_was_removed_meanwhile_is_an_end(lab: Lab) -> None:
    """A worker whose container vanished while there was no executor is reported, and not started again."""
    await lab.launch()
    await lab.engine.close()
    lab.api.remove_container(lab.name(), force=True)
    lab.engine = make_engine(lab.state, lab.url, lab.image)
    await lab.engine.start()
    assert await lab.engine.adopt() == []
    assert (await lab.exit()).worker_id == 1
    spec, _ = await lab.spec()
    await lab.engine.launch(spec)
    assert lab.containers() == []


async def test_many_at_once_are_all_started_and_all_ended(lab: Lab) -> None:
    """Workers that start together each run, and each has one exit."""
    peers = await asyncio.gather(*(lab.launch(number) for number in range(1, 9)))
    for number, peer in enumerate(peers):
        await peer.start("leave", code=number)
    ended = [await lab.exit() for _ in peers]
    assert sorted((one.worker_id, one.code) for one in ended) == [(n + 1, n) for n in range(8)]


async def test_a_kill_before_the_supervisor_listens_is_quick(lab: Lab) -> None:
    """A worker that is ended while it starts is not waited for until a signal is heard."""
    spec, _ = await lab.spec()
    await lab.engine.launch(spec)
    ended = await asyncio.wait_for(lab.engine.kill(1, "changed my mind"), 8)
    assert (ended.killed, ended.reason) == (True, "changed my mind")


async def test_an_engine_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    """The message names the socket and the setting."""
    engine = make_engine(tmp_path, f"unix://{tmp_path}/none.sock", "x")
    with pytest.raises(FailedPrecondition, match=r"none\.sock.*HANGAR_EXECUTOR_DOCKER"):
        await engine.start()
    await engine.close()


async def test_volumes_that_an_image_declares_are_removed_with_the_container(lab: Lab) -> None:
    """An image may declare volumes; none is left behind a worker."""
    container = lab.api.create_container(lab.image, command=["true"])
    made = lab.api.commit(container["Id"], "hangar-test-volume", changes="VOLUME /data")
    lab.api.remove_container(container["Id"])
    try:
        await lab.launch(image=PreparedImage("v", "hangar-test-volume"))
        volumes = [
            mount["Name"] for mount in lab.api.inspect_container(lab.name())["Mounts"] if "Name" in mount
        ]
        assert len(volumes) == 1
        await lab.engine.kill(1, "end")
        await lab.engine.forget(1)
        assert not {each["Name"] for each in lab.api.volumes()["Volumes"] or []} & set(volumes)
    finally:
        lab.api.remove_image(made["Id"], force=True)


def _number(path: Path) -> int:
    try:
        return int(path.read_text() or 0)
    except (FileNotFoundError, ValueError):
        return 0

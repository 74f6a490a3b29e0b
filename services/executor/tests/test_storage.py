"""What an executor does while the blob store does not work, or its own disk is full: nothing is lost."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hangar.scheduler.v1 import node_service_pb2
from services.common.tests.small_disk import SmallDisk, small_disk
from services.executor.engines.base import WorkerExit
from services.executor.tests.conftest import Bench
from services.executor.tests.scheduler_fake import SchedulerFake, until
from services.executor.tests.specs import POOL, assignment, frame, spec, start
from services.executor.tests.worker_fake import WorkerFake

LONG = b'{"o0":"' + b"x" * 100_000 + b'"}'


class Store:
    """The blob directory, which can be made to fail."""

    def __init__(self, bench: Bench) -> None:
        self._obstacle = bench.directory / "blobs/runs"

    def stop(self) -> None:
        """Makes every write and read of runs fail."""
        self._obstacle.parent.mkdir(exist_ok=True)
        if self._obstacle.exists():
            self._obstacle.rename(self._obstacle.with_name("kept"))
        self._obstacle.write_text("in the way")

    def start(self) -> None:
        """Lets it work again."""
        self._obstacle.unlink()
        if self._obstacle.with_name("kept").exists():
            self._obstacle.with_name("kept").rename(self._obstacle)


async def running(bench: Bench, lease: int = 10) -> WorkerFake:
    """A pool worker with a running lease."""
    bench.scheduler.send(frame(start(1), assignment(lease, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(lease)
    worker.begin(lease)
    return worker


def shown(scheduler: SchedulerFake, lease: int) -> str:
    """What was said last about what a lease waits for."""
    return next((each.detail for each in reversed(scheduler.all("progress")) if each.lease_id == lease), "")


def spooled(bench: Bench) -> list[str]:
    """Files of outputs on the host."""
    return sorted(path.name for path in (bench.directory / "executor/outputs").glob("*"))


async def test_outputs_wait_on_the_disk_for_the_store(bench: Bench):
    """The worker is free for others, the lease is held, the reason is shown, and nothing is reported too early."""
    store = Store(bench)
    store.stop()
    worker = await running(bench)
    worker.succeed(10, LONG)
    await until(lambda: "the outputs cannot be stored yet" in shown(bench.scheduler, 10))
    await until(lambda: not worker.results, "the worker to be acknowledged")
    assert spooled(bench) == ["10.json"]
    bench.scheduler.send(frame(assignment(11, pool=POOL)))
    await worker.has(11)
    worker.succeed(11)
    await bench.scheduler.result(11)
    assert 10 not in bench.scheduler.results
    assert [lease.lease_id for lease in bench.holdings.held_leases()] == [10]
    store.start()
    result = await bench.scheduler.result(10)
    assert bench.blob(result.outputs.reference.key) == LONG
    assert shown(bench.scheduler, 10) == ""
    await until(lambda: not bench.holdings.leases)
    assert spooled(bench) == []


async def test_outputs_outlive_their_worker_and_the_executor(bench: Bench):
    """After both are gone the next executor stores and reports what was delivered."""
    store = Store(bench)
    store.stop()
    worker = await running(bench)
    worker.succeed(10, LONG)
    await until(lambda: not worker.results, "the worker to be acknowledged")
    await bench.stop()
    assert spooled(bench) == ["10.json"]
    await bench.start()
    assert [lease.lease_id for lease in bench.scheduler.hellos[-1].leases] == [10]
    assert 10 not in bench.scheduler.results
    store.start()
    result = await bench.scheduler.result(10)
    assert bench.blob(result.outputs.reference.key) == LONG
    await until(lambda: not bench.holdings.leases)
    assert spooled(bench) == []


async def test_the_end_of_a_worker_is_reported_behind_its_results(bench: Bench):
    """The scheduler gives up what an ended worker still has: it hears of the end when the outputs are stored."""
    store = Store(bench)
    store.stop()
    worker = await running(bench)
    worker.succeed(10, LONG)
    await until(lambda: not worker.results, "the worker to be acknowledged")
    bench.engine.exit(WorkerExit(1, None, signal=9))
    await until(lambda: "cannot be stored" in shown(bench.scheduler, 10))
    ended = node_service_pb2.WORKER_STATE_EXITED
    assert all(status.state != ended for status in bench.scheduler.all("workers"))
    store.start()
    assert not (await bench.scheduler.result(10)).HasField("failure")
    await until(lambda: any(status.state == ended for status in bench.scheduler.all("workers")))


async def test_inputs_wait_for_the_store(bench: Bench):
    """A lease whose inputs cannot be fetched shows why, and runs when they can."""
    await bench.app._started()._dispatch._payloads.put("runs/in.json", b'{"x":1}')
    store = Store(bench)
    store.stop()
    wanted = assignment(10, pool=POOL)
    wanted.inputs.reference.key, wanted.inputs.reference.size = "runs/in.json", 7
    bench.scheduler.send(frame(start(1), wanted), [spec()])
    worker = await bench.world.worker(1)
    await until(lambda: "the inputs cannot be fetched yet" in shown(bench.scheduler, 10))
    assert not worker.runs
    store.start()
    assert (await worker.has(10)).body == b'{"x":1}'
    await until(lambda: shown(bench.scheduler, 10) == "")


async def test_uploaded_inputs_that_were_changed_are_refused(bench: Bench):
    """What is not what its key says does not reach the task."""
    key = f"inputs/{hashlib.sha256(b'good').hexdigest()}.json"
    place = bench.directory / "blobs" / key
    place.parent.mkdir(parents=True)
    place.write_bytes(b"evil")
    wanted = assignment(10, pool=POOL)
    wanted.inputs.reference.key, wanted.inputs.reference.size = key, 4
    bench.scheduler.send(frame(start(1), wanted), [spec()])
    result = await bench.scheduler.result(10)
    assert (result.failure.code, "is not what was uploaded" in result.failure.message) == (
        "InputsMissing",
        True,
    )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A small disk for what an executor keeps."""
    with small_disk(tmp_path / "disk") as made:
        yield made


@pytest.fixture
async def cramped(disk: SmallDisk, tmp_path: Path) -> AsyncIterator[Bench]:
    """A host whose state directory is on the small disk; its blobs are elsewhere."""
    made = Bench(tmp_path)
    made.options |= {"state": disk.path / "state", "inline_bytes": 64 * 1024}
    await made.scheduler.start()
    await made.start()
    yield made
    await made.stop()
    made.world.close()
    await made.scheduler.stop()


@pytest.mark.parametrize("size", [50_000, 200_000], ids=["inline", "by reference"])
async def test_a_full_disk_holds_results_back(cramped: Bench, disk: SmallDisk, size: int):
    """Nothing is acknowledged that is not on the disk; the reason has directory and bytes; room lets it go on."""
    worker = await running(cramped)
    outputs = b'{"o0":"' + b"x" * size + b'"}'
    disk.fill()
    worker.succeed(10, outputs)
    reason = await until(lambda: "full" in (said := shown(cramped.scheduler, 10)) and said)
    assert f"the disk of {disk.path}" in reason
    assert "0 bytes are free" in reason
    assert 10 in worker.results
    assert 10 not in cramped.scheduler.results
    disk.make_room()
    result = await cramped.scheduler.result(10)
    stored = result.outputs.inline or cramped.blob(result.outputs.reference.key)
    assert stored == outputs
    assert shown(cramped.scheduler, 10) == ""
    await until(lambda: not worker.results, "the worker to be acknowledged")


async def test_a_full_disk_ends_no_worker_that_holds_a_result(cramped: Bench, disk: SmallDisk):
    """Neither a scale-down nor the end of the executor: the next one gets the result from the worker."""
    worker = await running(cramped)
    disk.fill()
    worker.succeed(10, b'{"o0":"' + b"x" * 50_000 + b'"}')
    await until(lambda: "full" in shown(cramped.scheduler, 10))
    message = node_service_pb2.NodeSessionResponse()
    message.worker_stops.add(worker_id=1, reason="too many")
    cramped.scheduler.send(message)
    await until(lambda: worker.stopped)
    heard = len(cramped.scheduler.frames)  # a heartbeat comes every 0.1 s, the grace is 0.2 s
    await until(lambda: len(cramped.scheduler.frames) > heard + 8, "well over the grace")
    assert 1 in cramped.world.workers
    await cramped.stop()
    assert 1 in cramped.world.workers
    disk.make_room()
    await cramped.start()
    assert len((await cramped.scheduler.result(10)).outputs.inline) > 50_000
    cramped.scheduler.send(message)
    await until(lambda: 1 not in cramped.world.workers, "the worker to be stopped")


async def test_new_leases_wait_while_the_disk_is_full(cramped: Bench, disk: SmallDisk):
    """An assignment that cannot be journaled does not reach a worker, and shows why."""
    worker = await running(cramped)
    disk.fill()
    for lease in range(20, 40):
        wanted = assignment(lease, pool=POOL, inputs=b'{"x":"' + b"y" * 20_000 + b'"}')
        cramped.scheduler.send(frame(wanted))
    await until(lambda: "the outbox of the host cannot be written yet" in shown(cramped.scheduler, 39))
    disk.make_room()
    worker.succeed(10)
    for lease in range(20, 40):
        await worker.has(lease)
        worker.succeed(lease)
        await cramped.scheduler.result(lease)


async def test_logs_stay_on_the_disk_while_the_store_is_down(bench: Bench):
    """Of many leases that print, no more than a few chunks are in memory, and nothing is lost."""
    store = Store(bench)
    store.stop()
    bench.scheduler.send(frame(start(1, concurrency=40)), [spec()])
    worker = await bench.world.worker(1)
    bench.scheduler.send(frame(*(assignment(lease, pool=POOL) for lease in range(40))))
    for lease in range(40):
        await worker.has(lease)
        worker.begin(lease)
    await until(lambda: len(bench.scheduler.all("started")) == 40)
    for lease in range(40):
        worker.print(lease, f"line of {lease}\n" * 1000)
    logs = bench.app._started()._logs
    await until(lambda: len(logs._shipping) == 40)
    assert logs.chunks_in_memory <= 8
    store.start()
    for lease in range(40):
        worker.succeed(lease)
        await bench.scheduler.result(lease)
    await until(lambda: not bench.holdings.leases)
    for lease in range(40):
        chunks = {c.key.index: c for c in bench.scheduler.all("logs") if c.key.lease_id == lease}
        text = b"".join(bench.blob(chunk.blob.key) for _, chunk in sorted(chunks.items())).decode()
        assert [line.partition(" ")[2] for line in text.splitlines()] == [f"line of {lease}"] * 1000

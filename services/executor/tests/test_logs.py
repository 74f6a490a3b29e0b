"""Shipping of logs, to the last byte."""

import re
from datetime import datetime

from hangar.core.v1 import failure_pb2
from services.executor.engines.base import WorkerExit
from services.executor.tests.conftest import Bench
from services.executor.tests.scheduler_fake import until
from services.executor.tests.specs import POOL, assignment, frame, spec, start
from services.executor.tests.worker_fake import WorkerFake

LINE = re.compile(r"(\S+Z) (.*)")


def lines(bench: Bench, lease: int) -> list[str]:
    """The text of all lines that were registered for a lease, in the order of their chunks."""
    chunks = {each.key.index: each for each in bench.scheduler.all("logs") if each.key.lease_id == lease}
    assert sorted(chunks) == list(range(len(chunks)))
    found = []
    for _, chunk in sorted(chunks.items()):
        content = bench.blob(chunk.blob.key)
        assert len(content) == chunk.blob.size
        texts = content.decode().splitlines()
        assert len(texts) == chunk.lines
        for text in texts:
            match = LINE.fullmatch(text)
            assert match is not None
            assert datetime.fromisoformat(match[1]).tzinfo is not None
            found.append(match[2])
    return found


async def running(bench: Bench, lease: int = 10) -> WorkerFake:
    """A pool worker with a running lease."""
    bench.scheduler.send(frame(start(1), assignment(lease, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(lease)
    worker.begin(lease)
    return worker


async def test_lines_are_shipped_while_the_lease_runs(bench: Bench):
    """Whole lines arrive at every interval; a line that is being printed waits for its end."""
    worker = await running(bench)
    worker.print(10, "one\ntwo\nthr")
    await until(lambda: bench.scheduler.all("logs"))
    assert lines(bench, 10) == ["one", "two"]
    worker.print(10, "ee\n")
    await until(lambda: len(bench.scheduler.all("logs")) == 2)
    assert lines(bench, 10) == ["one", "two", "three"]


async def test_the_last_byte_is_registered_before_or_with_the_result(bench: Bench):
    """When the result arrives the log is complete, the last line without a line end included."""
    worker = await running(bench)
    worker.print(10, "one\nlast words")
    worker.succeed(10)
    await bench.scheduler.result(10)
    assert lines(bench, 10) == ["one", "last words"]
    await until(
        lambda: not (bench.directory / "executor/workers/1/10.log").exists(), "the file to be removed"
    )


async def test_the_log_of_a_dead_worker_is_complete(bench: Bench):
    """What a process printed right before it died is there when the failure is."""
    worker = await running(bench)
    worker.print(10, "".join(f"line {number}\n" for number in range(1000)))
    bench.engine.exit(WorkerExit(1, None, signal=11))
    result = await bench.scheduler.result(10)
    assert result.failure.kind == failure_pb2.FAILURE_KIND_USER
    assert lines(bench, 10) == [f"line {number}" for number in range(1000)]


async def test_a_large_log_is_many_chunks(bench: Bench):
    """Chunks have a bounded size, and only lines that are longer than one are cut at their borders."""
    worker = await running(bench)
    printed = [f"{number} " + "x" * (number % 500) for number in range(5000)]
    worker.print(10, "\n".join([*printed, "y" * 600_000, "end"]))
    worker.succeed(10)
    await bench.scheduler.result(10)
    found = lines(bench, 10)
    assert found[:5000] == printed
    assert "".join(found[5000:-1]) + found[-1] == "y" * 600_000 + "end"
    assert len(bench.scheduler.all("logs")) > 5


async def test_what_is_no_text_is_shipped_all_the_same(bench: Bench):
    """Bytes that are not UTF-8 are replaced, and empty lines stay."""
    worker = await running(bench)
    with (bench.directory / "executor/workers/1/10.log").open("ab") as file:
        file.write(b"\xff\xfe\n\n\x00ok\n")
    worker.succeed(10)
    await bench.scheduler.result(10)
    assert lines(bench, 10) == ["\ufffd\ufffd", "", "\x00ok"]


async def test_a_restart_goes_on_where_the_log_was_cut(bench: Bench):
    """Chunks that are registered are not shipped twice, and none is left out."""
    worker = await running(bench)
    worker.print(10, "one\n")
    await until(lambda: bench.scheduler.all("logs"))
    await bench.stop()
    worker.print(10, "two\n")
    await bench.start()
    worker.print(10, "three\n")
    worker.succeed(10)
    await bench.scheduler.result(10)
    assert lines(bench, 10) == ["one", "two", "three"]


async def test_a_blob_store_that_is_down_holds_up_no_result(bench: Bench, monkeypatch):
    """The result goes first then, and the log follows when the store is back."""
    monkeypatch.setattr("services.executor.results.LOG_FIRST_SECONDS", 0.05)
    worker = await running(bench)
    logs = bench.directory / "blobs/runs"
    logs.write_text("in the way")
    worker.print(10, "one\n")
    worker.succeed(10)
    await bench.scheduler.result(10)
    assert not bench.scheduler.all("logs")
    logs.unlink()
    await until(lambda: bench.scheduler.all("logs"))
    assert lines(bench, 10) == ["one"]
    await until(lambda: not bench.holdings.leases)


async def test_a_lease_without_output_has_no_chunks(bench: Bench):
    """Nothing is stored for silence."""
    worker = await running(bench)
    worker.succeed(10)
    await bench.scheduler.result(10)
    assert not bench.scheduler.all("logs")

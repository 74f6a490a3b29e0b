"""Leases in workers of their own and in pools."""

from services.executor.tests.conftest import Bench
from services.executor.tests.scheduler_fake import until
from services.executor.tests.specs import POOL, assignment, frame, spec, start


async def test_a_lease_with_a_worker_of_its_own_runs_there(bench: Bench):
    """A cold assignment starts its worker, which gets inputs, environment and paths, and the result comes back."""
    bench.scheduler.send(frame(assignment(7, worker_id=3, inputs=b'{"x":1}')), [spec()])
    worker = await bench.world.worker(3)
    run = await worker.has(7)
    assert run.body == b'{"x":1}'
    assert run.header["env_vars"] == {"COLOUR": "blue", "SIZE": "big"}
    assert run.header["run"] == {"project": "default", "domain": "development", "name": "r1"}
    assert run.header["module"] == "tasks"
    worker.begin(7)
    worker.succeed(7)
    result = await bench.scheduler.result(7)
    assert result.outputs.inline == b'{"o0":1}'
    assert result.worker_id == 3
    assert result.peak_memory_bytes == 7
    assert result.started_at.ToNanoseconds() <= result.ended_at.ToNanoseconds()
    assert [each.lease_id for each in bench.scheduler.all("started")] == [7]
    await until(lambda: worker.stopped, "the worker to be told to stop")


async def test_a_pool_fills_its_slots_in_order(bench: Bench):
    """More leases than slots wait at the node and get the slots that become free."""
    bench.scheduler.send(frame(start(1, concurrency=2)), [spec()])
    worker = await bench.world.worker(1)
    await until(lambda: bench.scheduler.worker(1), "the worker to be ready")
    bench.scheduler.send(frame(*(assignment(lease, pool=POOL) for lease in (10, 11, 12))))
    await worker.has(10)
    await worker.has(11)
    assert 12 not in worker.runs
    worker.begin(10)
    worker.succeed(10)
    await worker.has(12)
    await bench.scheduler.result(10)

"""An executor that is stopped and started again: workers go on, nothing is lost, nothing runs twice."""

import asyncio

from hangar.core.v1 import failure_pb2
from hangar.scheduler.v1 import node_service_pb2
from hangar.scheduler.v1.node_service_pb2 import NodeSessionResponse
from services.executor.engines.base import WorkerExit
from services.executor.tests.conftest import Bench
from services.executor.tests.scheduler_fake import until
from services.executor.tests.specs import POOL, assignment, frame, outcome, spec, start


async def test_running_leases_go_on_under_the_next_executor(bench: Bench):
    """Workers connect again, Hello says what they have, their results arrive, nothing is started again."""
    bench.scheduler.send(
        frame(
            start(1, concurrency=2),
            assignment(10, pool=POOL),
            assignment(11, pool=POOL),
            assignment(12, worker_id=2),
        ),
        [spec()],
    )
    pooled, cold = await bench.world.worker(1), await bench.world.worker(2)
    for lease, worker in ((10, pooled), (11, pooled), (12, cold)):
        await worker.has(lease)
        worker.begin(lease)
    pooled.ask(11, "c1")
    pooled.park(11)
    await until(lambda: bench.scheduler.all("parks") and len(bench.scheduler.all("started")) == 3)
    await bench.stop()
    await bench.start()
    held = {lease.lease_id: lease for lease in bench.scheduler.hellos[-1].leases}
    assert {number: (lease.started, lease.parked, lease.worker_id) for number, lease in held.items()} == {
        10: (True, False, 1),
        11: (True, True, 1),
        12: (True, False, 2),
    }
    assert {worker.worker_id for worker in bench.scheduler.hellos[-1].workers} == {1, 2}
    await until(lambda: len([each for each in bench.scheduler.all("children") if each.key == "c1"]) == 2)
    bench.scheduler.send(outcome(11, "c1"))
    await until(lambda: pooled.outcomes.get(11))
    for lease, worker in ((10, pooled), (11, pooled), (12, cold)):
        worker.succeed(lease)
        assert not (await bench.scheduler.result(lease)).HasField("failure")
    assert bench.world.launches == [1, 2]
    assert pooled.run_count == 2


async def test_a_result_that_was_not_acknowledged_is_sent_again(bench: Bench):
    """The outbox keeps results, over restarts, until the scheduler has them."""
    bench.scheduler.acknowledges = False
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.begin(10)
    worker.succeed(10)
    first = await bench.scheduler.result(10)
    await until(lambda: not worker.results, "the acknowledgement to the worker")
    bench.scheduler.results.clear()
    await bench.stop()
    bench.scheduler.acknowledges = True
    await bench.start()
    assert await bench.scheduler.result(10) == first
    assert [lease.lease_id for lease in bench.scheduler.hellos[-1].leases] == [10]
    await until(lambda: not bench.holdings.leases)
    await bench.stop()
    await bench.start()
    assert not bench.scheduler.hellos[-1].leases


async def test_a_result_that_the_executor_missed_comes_when_it_is_back(bench: Bench):
    """A lease may end while no executor is there."""
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.begin(10)
    await until(lambda: bench.scheduler.all("started"))
    await bench.stop()
    worker.succeed(10)
    await bench.start()
    assert not (await bench.scheduler.result(10)).HasField("failure")
    assert worker.run_count == 1


async def test_a_worker_that_ended_meanwhile_is_told_by_its_exit(bench: Bench):
    """What ran in it fails as it would have before; what waited for a slot is run elsewhere."""
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL), assignment(11, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.begin(10)
    await until(lambda: bench.scheduler.all("started"))
    await bench.stop()
    bench.engine.exit(WorkerExit(1, 3))
    await bench.engine.close()
    await bench.start()
    result = await bench.scheduler.result(10)
    assert (result.failure.kind, result.failure.code) == (failure_pb2.FAILURE_KIND_USER, "WorkerDied")
    await until(lambda: 1 in bench.world.forgotten)
    bench.scheduler.send(frame(start(2)))
    second = await bench.world.worker(2)
    second.begin((await second.has(11)).header["lease"])
    second.succeed(11)
    assert not (await bench.scheduler.result(11)).HasField("failure")


async def test_a_lease_that_no_worker_got_is_given_after_the_restart(bench: Bench):
    """A worker that was started but not connected gets its lease from the next executor, once."""
    bench.world.hold_connections = True
    bench.scheduler.send(frame(assignment(10, worker_id=5)), [spec()])
    worker = await bench.world.worker(5)
    await bench.stop()
    worker.connect()
    await bench.start()
    run = await worker.has(10)
    assert run.header["code_dir"] == ""
    worker.begin(10)
    worker.succeed(10)
    assert not (await bench.scheduler.result(10)).HasField("failure")
    assert bench.world.launches == [5]


async def test_a_worker_that_nobody_knows_is_ended(bench: Bench):
    """A cold worker whose result is acknowledged is not kept when the executor comes back."""
    bench.scheduler.send(frame(assignment(10, worker_id=5)), [spec()])
    worker = await bench.world.worker(5)
    await worker.has(10)
    worker.begin(10)
    worker.succeed(10)
    await bench.scheduler.result(10)
    await until(lambda: not bench.holdings.leases)
    await bench.stop()
    await bench.start()
    await until(lambda: 5 not in bench.world.workers)
    await until(lambda: 5 in bench.world.forgotten)


async def test_a_grace_period_that_ends_after_the_executor_ends_no_worker(bench: Bench):
    """What lives on belongs to the next executor."""
    bench.scheduler.send(frame(assignment(10, worker_id=5)), [spec()])
    worker = await bench.world.worker(5)
    await worker.has(10)
    worker.hold()
    kills, held = bench.app._started()._kills, bench.holdings.workers[5]
    await bench.stop()
    kills.end(held, "its grace period is over")
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in others if "Kills" in repr(task.get_coro())]
    assert 5 in bench.world.workers


async def test_a_worker_that_drops_its_connection_gets_what_it_missed(bench: Bench):
    """With a living executor as well: hello, leases and children are settled again."""
    bench.scheduler.send(frame(start(1, concurrency=2), assignment(10, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.begin(10)
    worker.ask(10, "c1")
    await until(lambda: bench.scheduler.all("children"))
    bench.scheduler.on_frame = lambda heard: outcome(10, "c1") if heard.children else None
    worker.disconnect()
    bench.scheduler.send(frame(assignment(11, pool=POOL)))
    bench.scheduler.send(outcome(10, "c1"))
    await worker.has(11)
    await until(lambda: worker.outcomes.get(10))
    worker.succeed(10)
    worker.succeed(11)
    for lease in (10, 11):
        assert not (await bench.scheduler.result(lease)).HasField("failure")
    assert worker.run_count == 2


async def test_the_scheduler_may_end_workers_in_its_welcome(bench: Bench):
    """Workers that the scheduler does not know are ended when a session opens."""
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.hold()
    await bench.stop()
    bench.scheduler.dropped_workers = [1]
    await bench.start()
    await until(
        lambda: (seen := bench.scheduler.worker(1)) and seen.state == node_service_pb2.WORKER_STATE_EXITED
    )
    assert 1 not in bench.world.workers


async def test_a_definition_that_comes_again_after_a_restart_survives_the_next_one(bench: Bench):
    """What a restart forgets is forgotten in memory and on disk alike, and journaled anew."""
    bench.scheduler.send(frame(assignment(10, worker_id=5)), [spec()])
    worker = await bench.world.worker(5)
    await worker.has(10)
    worker.begin(10)
    worker.succeed(10)
    await bench.scheduler.result(10)
    await until(lambda: not bench.holdings.leases)
    await bench.stop()
    await bench.start()
    bench.scheduler.send(frame(assignment(11, worker_id=6)), [spec()])
    again = await bench.world.worker(6)
    await again.has(11)
    again.hold()
    await bench.stop()
    await bench.start()
    assert 11 in bench.holdings.leases


async def test_a_clean_stop_ends_idle_workers_and_leaves_busy_ones(bench: Bench):
    """Without an executor nothing would give an idle worker a lease; what runs goes on."""
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.hold()
    bench.scheduler.send(frame(start(2)))
    await until(lambda: bench.scheduler.worker(2))
    await bench.stop()
    assert set(bench.world.workers) == {1}


async def test_a_kill_before_the_worker_has_the_lease_is_confirmed_without_running_it(bench: Bench):
    """After a restart, a worker that connects without the lease to be killed does not get it any more."""
    bench.options["kill_grace"] = 60
    bench.options["adoption_timeout"] = 0
    await bench.stop()
    await bench.start()
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.hold()
    await bench.stop()
    worker.runs.clear()
    await bench.start()
    message = NodeSessionResponse()
    message.kills.add(lease_id=10, reason="enough")
    bench.scheduler.send(message)
    await until(lambda: bench.holdings.leases[10].kill)
    worker.connect()
    assert (await bench.scheduler.result(10)).killed
    assert worker.run_count == 1

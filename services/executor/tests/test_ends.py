"""How leases end when they are stopped, and when their worker ends."""

import asyncio

import pytest

from hangar.core.v1 import failure_pb2
from hangar.scheduler.v1 import node_service_pb2
from hangar.scheduler.v1.node_service_pb2 import NodeSessionResponse
from services.executor import host
from services.executor.engines.base import WorkerExit
from services.executor.tests.conftest import Bench
from services.executor.tests.scheduler_fake import until
from services.executor.tests.specs import POOL, assignment, frame, spec, start
from services.executor.tests.worker_fake import WorkerFake

EXITED = node_service_pb2.WORKER_STATE_EXITED


def kill(
    lease_id: int, kind: failure_pb2.FailureKind = failure_pb2.FAILURE_KIND_UNSPECIFIED
) -> NodeSessionResponse:
    """A frame that asks to stop a lease."""
    made = NodeSessionResponse()
    made.kills.add(lease_id=lease_id, reason="because", kind=kind)
    return made


async def pool_with(bench: Bench, *leases: int, is_async: bool = True) -> WorkerFake:
    """Starts a pool worker that runs some leases."""
    assignments = [assignment(lease, pool=POOL) for lease in leases]
    bench.scheduler.send(frame(start(1, concurrency=10), *assignments), [spec(is_async=is_async)])
    worker = await bench.world.worker(1)
    for lease in leases:
        await worker.has(lease)
        worker.begin(lease)
    await until(lambda: len(bench.scheduler.all("started")) == len(leases))
    return worker


async def cold_that_is_asked_to_end(bench: Bench, kind: failure_pb2.FailureKind) -> WorkerFake:
    """Starts the worker of an async lease, which takes its time over a kill."""
    bench.options["kill_grace"] = 60
    await bench.stop()
    await bench.start()
    bench.scheduler.send(frame(assignment(10, worker_id=5)), [spec(is_async=True)])
    worker = await bench.world.worker(5)
    await worker.has(10)
    worker.begin(10)
    bench.scheduler.send(kill(10, kind))
    await until(lambda: any(each.header["type"] == "kill" for each in worker.received))
    return worker


async def test_a_worker_that_closed_its_connection_is_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """A task can close every descriptor of its process: the worker lives, and would never be heard of again."""
    monkeypatch.setattr(host, "RECONNECT_SECONDS", 0.1)
    bench.scheduler.send(frame(assignment(10, worker_id=5)), [spec()])
    worker = await bench.world.worker(5)
    await worker.has(10)
    worker.begin(10)
    await until(lambda: bench.scheduler.all("started"))
    worker.hold()
    worker.disconnect()
    result = await bench.scheduler.result(10)
    assert (result.failure.kind, result.failure.code) == (failure_pb2.FAILURE_KIND_SYSTEM, "WorkerStopped")
    assert "it closed its connection" in result.failure.message
    assert 5 not in bench.world.workers


async def test_a_kill_of_an_unknown_lease_is_confirmed_at_once(bench: Bench):
    """There is nothing to stop, and the scheduler has to know."""
    bench.scheduler.send(kill(99, failure_pb2.FAILURE_KIND_TIMEOUT))
    result = await bench.scheduler.result(99)
    assert result.killed
    assert (result.failure.kind, result.failure.message) == (failure_pb2.FAILURE_KIND_TIMEOUT, "because")


async def test_a_kill_of_a_cold_lease_is_confirmed_when_its_worker_is_gone(bench: Bench):
    """The worker is ended, and only its end makes the result."""
    bench.scheduler.send(frame(assignment(10, worker_id=5)), [spec()])
    worker = await bench.world.worker(5)
    await worker.has(10)
    worker.begin(10)
    bench.scheduler.send(kill(10))
    result = await bench.scheduler.result(10)
    assert result.killed
    assert result.failure.message == "because"
    assert 5 not in bench.world.workers
    await until(lambda: 5 in bench.world.forgotten)


async def test_a_coroutine_in_a_worker_of_its_own_may_clean_up(bench: Bench):
    """It is asked to end first, as in a shared worker; when it has, its worker is ended, which confirms the kill."""
    worker = await cold_that_is_asked_to_end(bench, failure_pb2.FAILURE_KIND_TIMEOUT)
    assert 10 not in bench.scheduler.results
    worker.fail(10, killed=True)
    result = await bench.scheduler.result(10)
    assert 5 not in bench.world.workers
    assert result.killed
    assert (result.failure.kind, result.failure.message) == (failure_pb2.FAILURE_KIND_TIMEOUT, "because")


async def test_outputs_in_spite_of_an_abort_do_not_confirm_it(bench: Bench):
    """The scheduler takes any result for the end of an aborted action: it hears of it when the worker is gone."""
    worker = await cold_that_is_asked_to_end(bench, failure_pb2.FAILURE_KIND_UNSPECIFIED)
    worker.succeed(10)
    result = await bench.scheduler.result(10)
    assert 5 not in bench.world.workers
    assert result.killed


async def test_outputs_in_spite_of_a_timeout_stand(bench: Bench):
    """A task that returns although it was asked to end has succeeded, and its result waits for no process."""
    worker = await cold_that_is_asked_to_end(bench, failure_pb2.FAILURE_KIND_TIMEOUT)
    worker.succeed(10)
    result = await bench.scheduler.result(10)
    assert 5 in bench.world.workers
    assert not result.HasField("failure")


async def test_a_coroutine_that_ends_on_a_kill_leaves_its_neighbours_alone(bench: Bench):
    """In a shared worker the lease is asked to end; its own end confirms the kill."""
    worker = await pool_with(bench, 10, 11)
    bench.scheduler.send(kill(10, failure_pb2.FAILURE_KIND_TIMEOUT))
    await until(lambda: any(each.header["type"] == "kill" for each in worker.received))
    assert 10 not in bench.scheduler.results
    worker.fail(10, killed=True)
    result = await bench.scheduler.result(10)
    assert result.killed
    assert result.failure.kind == failure_pb2.FAILURE_KIND_TIMEOUT
    worker.succeed(11)
    assert not (await bench.scheduler.result(11)).HasField("failure")
    assert 1 in bench.world.workers


async def test_a_coroutine_that_ignores_a_kill_takes_its_worker_with_it(bench: Bench):
    """After the grace period the worker is ended, and the neighbour is the platform's failure."""
    await pool_with(bench, 10, 11)
    bench.scheduler.send(kill(10))
    result = await bench.scheduler.result(10)
    assert result.killed
    neighbour = await bench.scheduler.result(11)
    assert not neighbour.killed
    assert neighbour.failure.kind == failure_pb2.FAILURE_KIND_SYSTEM
    assert "lease 10" in neighbour.failure.message
    await until(lambda: (seen := bench.scheduler.worker(1)) and seen.state == EXITED)


async def test_a_thread_alone_in_its_worker_is_ended_with_it(bench: Bench):
    """A synchronous task cannot be asked: its worker is ended at once."""
    bench.options["kill_grace"] = 60
    await bench.stop()
    await bench.start()
    await pool_with(bench, 10, is_async=False)
    bench.scheduler.send(kill(10))
    assert (await bench.scheduler.result(10)).killed
    assert 1 not in bench.world.workers


async def test_a_kill_of_a_lease_that_waits_for_a_slot_is_confirmed_at_once(bench: Bench):
    """Nothing of it runs: it is never given to a worker."""
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL), assignment(11, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    bench.scheduler.send(kill(11))
    assert (await bench.scheduler.result(11)).killed
    worker.begin(10)
    worker.succeed(10)
    await bench.scheduler.result(10)
    assert worker.run_count == 1


async def test_a_result_before_its_kill_stands(bench: Bench):
    """A lease that ended by itself is reported as it ended, and again on a late kill."""
    worker = await pool_with(bench, 10)
    bench.scheduler.acknowledges = False
    worker.succeed(10)
    await bench.scheduler.result(10)
    bench.scheduler.send(kill(10))
    await until(lambda: bench.scheduler.result_count == 2)
    assert not bench.scheduler.results[10].killed


async def test_the_only_lease_of_a_worker_that_died_by_itself_is_to_blame(bench: Bench):
    """`os._exit` is a failure of the task, with the code in words."""
    await pool_with(bench, 10)
    bench.engine.exit(WorkerExit(1, 3))
    result = await bench.scheduler.result(10)
    assert result.failure.kind == failure_pb2.FAILURE_KIND_USER
    assert result.failure.code == "WorkerDied"
    assert "exited with code 3" in result.failure.message


async def test_the_lease_whose_code_ran_is_to_blame_and_its_neighbours_are_not(bench: Bench):
    """With several leases in a worker its note tells them apart."""
    await pool_with(bench, 10, 11)
    (bench.directory / "executor" / "workers" / "1" / "current").write_bytes((11).to_bytes(8, "little"))
    bench.engine.exit(WorkerExit(1, 3))
    neighbour, culprit = await bench.scheduler.result(10), await bench.scheduler.result(11)
    assert culprit.failure.kind == failure_pb2.FAILURE_KIND_USER
    assert neighbour.failure.kind == failure_pb2.FAILURE_KIND_SYSTEM


async def test_a_crash_is_named_by_its_signal(bench: Bench):
    """A segmentation fault is a failure of the task."""
    await pool_with(bench, 10)
    bench.engine.exit(WorkerExit(1, None, signal=11))
    result = await bench.scheduler.result(10)
    assert result.failure.kind == failure_pb2.FAILURE_KIND_USER
    assert "SIGSEGV" in result.failure.message


async def test_a_worker_that_somebody_killed_is_nobodys_fault(bench: Bench):
    """SIGKILL that Hangar did not send is a failure of the platform, to be retried."""
    await pool_with(bench, 10)
    bench.engine.exit(WorkerExit(1, None, signal=9))
    result = await bench.scheduler.result(10)
    assert result.failure.kind == failure_pb2.FAILURE_KIND_SYSTEM
    assert "SIGKILL" in result.failure.message


async def test_a_parked_neighbour_is_not_to_blame(bench: Bench):
    """When one lease runs and others wait for children, the one that runs is the cause."""
    worker = await pool_with(bench, 10, 11)
    worker.ask(11, "c1")
    worker.park(11)
    await until(lambda: bench.scheduler.all("parks"))
    bench.engine.exit(WorkerExit(1, 3))
    assert (await bench.scheduler.result(10)).failure.kind == failure_pb2.FAILURE_KIND_USER
    assert (await bench.scheduler.result(11)).failure.kind == failure_pb2.FAILURE_KIND_SYSTEM


async def test_of_several_that_ran_nobody_is_blamed(bench: Bench):
    """It cannot be told which coroutine ended the process."""
    await pool_with(bench, 10, 11)
    bench.engine.exit(WorkerExit(1, 3))
    for lease in (10, 11):
        assert (await bench.scheduler.result(lease)).failure.kind == failure_pb2.FAILURE_KIND_SYSTEM


async def test_a_memory_breach_is_reported_as_such(bench: Bench):
    """The lease that ran is OOM with the limit and the peak, a parked one is the platform's failure."""
    worker = await pool_with(bench, 10, 11)
    worker.ask(11, "c1")
    worker.park(11)
    await until(lambda: bench.scheduler.all("parks"))
    bench.engine.exit(WorkerExit(1, None, signal=9, oom=True, peak_memory_bytes=123))
    result = await bench.scheduler.result(10)
    assert result.failure.kind == failure_pb2.FAILURE_KIND_OOM
    assert str(1 << 30) in result.failure.message
    assert result.peak_memory_bytes == 123
    assert (await bench.scheduler.result(11)).failure.kind == failure_pb2.FAILURE_KIND_SYSTEM


async def test_a_result_that_was_sent_before_the_end_stands(bench: Bench):
    """What a worker said before it died counts, even when the news of its death is faster."""
    worker = await pool_with(bench, 10, 11)
    worker.succeed(10)
    bench.engine.exit(WorkerExit(1, 1))
    assert not (await bench.scheduler.result(10)).HasField("failure")
    assert (await bench.scheduler.result(11)).failure.kind == failure_pb2.FAILURE_KIND_USER


async def test_an_exit_is_told_behind_the_results(bench: Bench):
    """The scheduler never hears of a worker's end before it has the results of its leases."""
    worker = await pool_with(bench, 10)
    worker.print(10, "last words\n")
    bench.engine.exit(WorkerExit(1, 3))
    await until(lambda: (seen := bench.scheduler.worker(1)) and seen.state == EXITED)
    for number, heard in enumerate(bench.scheduler.frames):
        if any(status.state == EXITED for status in heard.workers):
            assert any(each.results for each in bench.scheduler.frames[: number + 1])
            break


async def test_a_drop_ends_a_lease_without_a_word(bench: Bench):
    """What the scheduler does not know any more is ended, and no result of it is sent."""
    worker = await pool_with(bench, 10)
    await bench.scheduler.stop()
    bench.scheduler.dropped_leases = [10]
    await bench.scheduler.start()
    await bench.scheduler.connected(2)
    await until(lambda: any(each.header["type"] == "kill" for each in worker.received))
    worker.fail(10, killed=True)
    await until(lambda: not worker.results, "the acknowledgement")
    assert (await bench.app.describe()).leases == 0
    await asyncio.sleep(0)
    assert 10 not in bench.scheduler.results

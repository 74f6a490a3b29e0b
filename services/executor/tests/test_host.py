"""Leases in workers of their own and in pools."""

import pytest
import structlog.testing

from hangar.core.v1 import failure_pb2
from hangar.core.v1.failure_pb2 import Failure
from hangar.core.v1.phase_pb2 import Phase
from hangar.scheduler.v1 import node_service_pb2
from hangar.scheduler.v1.node_service_pb2 import NodeSessionResponse
from services.executor.tests.conftest import Bench
from services.executor.tests.scheduler_fake import until
from services.executor.tests.specs import POOL, assignment, frame, outcome, spec, start

EXITED = node_service_pb2.WORKER_STATE_EXITED


async def test_a_lease_with_a_worker_of_its_own_runs_there(bench: Bench):
    """A cold assignment starts its worker, which gets all it needs, and the result comes back."""
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


async def test_a_repeated_assignment_runs_once(bench: Bench):
    """The same assignment twice, in one frame or in two, is one run."""
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL), assignment(10, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    bench.scheduler.send(frame(assignment(10, pool=POOL), start(1)))
    worker.begin(10)
    worker.succeed(10)
    await bench.scheduler.result(10)
    assert worker.run_count == 1
    assert bench.world.launches == [1]


async def test_a_parked_lease_gives_its_slot_back_and_an_outcome_takes_it_again(bench: Bench):
    """While a parent waits its slot runs another lease; its child's outcome waits for the slot, before new leases."""
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL), assignment(11, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.begin(10)
    worker.ask(10, "c1", b'{"v":1}')
    worker.park(10)
    await worker.has(11)
    [request] = await until(lambda: bench.scheduler.all("children"))
    assert (request.parent_lease_id, request.key, request.inputs.inline) == (10, "c1", b'{"v":1}')
    assert [(source.input, source.key) for source in request.sources] == [("x", "k0")]
    [defined] = bench.scheduler.all("specs")
    assert (defined.key, defined.spec.name) == (request.spec_key, "env.child")
    [park] = await until(lambda: bench.scheduler.all("parks"))
    assert (park.lease_id, park.awaiting) == (10, 1)
    bench.scheduler.send(outcome(10, "c1", b'{"o0":2}'))
    bench.scheduler.send(frame(assignment(12, pool=POOL)))
    await until(lambda: bench.holdings.leases[10].held_outcomes, "the outcome to be held")
    await until(lambda: 12 in bench.holdings.leases)
    assert not worker.outcomes.get(10)
    worker.begin(11)
    worker.succeed(11)
    await bench.scheduler.result(11)
    await until(lambda: worker.outcomes.get(10), "the outcome")
    [delivered] = [each for each in worker.received if each.header["type"] == "outcomes"]
    assert delivered.header["outcomes"] == [
        {"lease": 10, "key": "c1", "action": "c1", "phase": "succeeded", "size": 8}
    ]
    assert delivered.body == b'{"o0":2}'
    assert 12 not in worker.runs, "the woken parent holds the only slot"
    worker.succeed(10)
    await worker.has(12)


async def test_a_park_that_an_outcome_has_overtaken_is_ignored(bench: Bench):
    """A worker that parks without having seen an outcome that was sent to it is not parked."""
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.begin(10)
    worker.ask(10, "c1")
    worker.ask(10, "c2")
    await until(lambda: len(bench.scheduler.all("children")) == 2)
    bench.scheduler.send(outcome(10, "c1"))
    await until(lambda: worker.outcomes.get(10))
    worker.park(10, awaiting=2)
    worker.park(10, awaiting=1)
    [park] = await until(lambda: bench.scheduler.all("parks"))
    assert park.awaiting == 1


async def test_an_outcome_that_comes_twice_is_delivered_once(bench: Bench):
    """A repeated outcome does not reach the worker."""
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.begin(10)
    worker.ask(10, "c1")
    await until(lambda: bench.scheduler.all("children"))
    bench.scheduler.send(outcome(10, "c1"))
    bench.scheduler.send(outcome(10, "c1"))
    bench.scheduler.send(frame(assignment(11, pool=POOL)))
    await until(lambda: worker.outcomes.get(10))
    worker.succeed(10)
    await worker.has(11)
    assert sum(each.header["type"] == "outcomes" for each in worker.received) == 1


async def test_a_failed_child_reaches_its_parent_with_its_failure(bench: Bench):
    """Kind, code and message of a child's failure arrive in the worker."""
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.begin(10)
    worker.ask(10, "c1")
    await until(lambda: bench.scheduler.all("children"))
    message = NodeSessionResponse()
    message.child_outcomes.add(
        parent_lease_id=10,
        key="c1",
        action_name="c1",
        phase=Phase.PHASE_FAILED,
        failure=Failure(kind=failure_pb2.FAILURE_KIND_OOM, code="OutOfMemory", message="too much"),
    )
    bench.scheduler.send(message)
    await until(lambda: worker.outcomes.get(10))
    [delivered] = [each for each in worker.received if each.header["type"] == "outcomes"]
    [entry] = delivered.header["outcomes"]
    assert (entry["phase"], entry["failure"]["kind"], entry["failure"]["code"]) == (
        "failed",
        "OOM",
        "OutOfMemory",
    )


async def test_a_cancelled_child_is_withdrawn(bench: Bench):
    """A worker's cancel becomes a cancellation."""
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.begin(10)
    worker.ask(10, "c1")
    worker.send({"type": "cancel", "lease": 10, "key": "c1"})
    [withdrawn] = await until(lambda: bench.scheduler.all("cancellations"))
    assert (withdrawn.parent_lease_id, withdrawn.key) == (10, "c1")


async def test_long_documents_go_through_the_blob_store(bench: Bench):
    """Documents beyond the inline limit travel by reference, below the attempt's prefix, and arrive whole."""
    long = b'{"o0":"' + b"x" * 100_000 + b'"}'
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.begin(10)
    worker.ask(10, "c1", long)
    [request] = await until(lambda: bench.scheduler.all("children"))
    key = request.inputs.reference.key
    assert key == "runs/default/development/r1/a10/0/children/c1.json"
    assert bench.blob(key) == long
    message = outcome(10, "c1")
    message.child_outcomes[0].outputs.reference.key = key
    bench.scheduler.send(message)
    await until(lambda: worker.outcomes.get(10))
    assert next(each.body for each in worker.received if each.header["type"] == "outcomes") == long
    worker.succeed(10, long)
    result = await bench.scheduler.result(10)
    assert result.outputs.reference.key == "runs/default/development/r1/a10/0/outputs.json"
    assert result.outputs.reference.size == len(long)
    assert bench.blob(result.outputs.reference.key) == long
    second = assignment(11, pool=POOL)
    second.inputs.reference.key = key
    bench.scheduler.send(frame(second))
    assert (await worker.has(11)).body == long


async def test_inputs_that_are_gone_fail_the_lease(bench: Bench):
    """A reference to nothing is a failure of the platform, with the key in its message."""
    lost = assignment(10, pool=POOL)
    lost.inputs.reference.key = "runs/none.json"
    bench.scheduler.send(frame(start(1), lost), [spec()])
    result = await bench.scheduler.result(10)
    assert result.failure.kind == failure_pb2.FAILURE_KIND_SYSTEM
    assert "runs/none.json" in result.failure.message


@pytest.mark.parametrize(
    ("is_outage", "kind", "code"),
    [
        (False, failure_pb2.FAILURE_KIND_IMAGE, "UnsupportedLayer"),
        (True, failure_pb2.FAILURE_KIND_SYSTEM, "PackagesUnavailable"),
    ],
)
async def test_an_image_that_cannot_be_made_fails_the_lease(
    bench: Bench, is_outage: bool, kind: failure_pb2.FailureKind, code: str
):
    """A cold lease fails with the engine's words, and with kind IMAGE unless it may be made later."""
    bench.world.image_failure, bench.world.is_outage = "the process engine has no apt", is_outage
    bench.scheduler.send(frame(assignment(10, worker_id=5)), [spec()])
    result = await bench.scheduler.result(10)
    assert result.failure.kind == kind
    assert (result.failure.code, result.failure.message) == (code, "the process engine has no apt")
    assert [each.detail for each in bench.scheduler.all("progress")] == ["installing"]


async def test_a_pool_worker_without_image_is_reported_as_exited(bench: Bench):
    """The status of a pool worker that could not be prepared carries the failure."""
    bench.world.image_failure = "the process engine has no apt"
    bench.scheduler.send(frame(start(5)), [spec()])
    status = await until(lambda: bench.scheduler.worker(5))
    assert status.state == node_service_pb2.WORKER_STATE_EXITED
    assert status.failure.kind == failure_pb2.FAILURE_KIND_IMAGE


async def test_a_worker_that_cannot_be_launched_fails_its_lease(bench: Bench):
    """A launch that fails is a failure of the platform."""
    bench.world.launch_failure = "no more processes"
    bench.scheduler.send(frame(assignment(10, worker_id=5)), [spec()])
    result = await bench.scheduler.result(10)
    assert result.failure.kind == failure_pb2.FAILURE_KIND_SYSTEM
    assert "no more processes" in result.failure.message


async def test_a_defect_of_the_platform_while_a_worker_is_prepared_fails_its_lease(bench: Bench):
    """Whatever is raised ends the lease with its class and message, without a traceback, which is in the log."""
    bench.world.defect = RuntimeError("a plugin broke")
    bench.scheduler.send(frame(assignment(10, worker_id=5)), [spec()])
    with structlog.testing.capture_logs() as logs:
        failure = (await bench.scheduler.result(10)).failure
    assert (failure.kind, failure.code) == (failure_pb2.FAILURE_KIND_SYSTEM, "PreparationFailed")
    assert failure.message == "RuntimeError: a plugin broke"
    assert not failure.traceback
    assert [each["exc_info"] for each in logs if each["event"] == "worker.launch_broke"] == [
        bench.world.defect
    ]


async def test_a_stopped_worker_finishes_and_takes_nothing_new(bench: Bench):
    """After WorkerStop what runs goes on, what waits goes elsewhere, and an idle worker is ended."""
    bench.scheduler.send(
        frame(start(1), start(2), assignment(10, pool=POOL), assignment(11, pool=POOL)), [spec()]
    )
    first, second = await bench.world.worker(1), await bench.world.worker(2)
    await until(lambda: len(first.runs) == 1 and len(second.runs) == 1)
    stop = NodeSessionResponse()
    stop.worker_stops.add(worker_id=1, reason="no longer needed")
    bench.scheduler.send(stop)
    await until(lambda: first.stopped)
    bench.scheduler.send(frame(assignment(12, pool=POOL)))
    [lease] = first.runs
    first.begin(lease)
    first.succeed(lease)
    assert not (await bench.scheduler.result(lease)).HasField("failure")
    status = await until(lambda: (seen := bench.scheduler.worker(1)) and seen.state == EXITED and seen)
    assert not status.HasField("failure")
    assert 12 not in first.runs
    await until(lambda: 1 in bench.world.forgotten)


async def test_many_long_outcomes_are_several_frames(bench: Bench):
    """Outcomes that come together reach the worker whole, however large they are in sum."""
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.begin(10)
    keys = [f"c{number}" for number in range(300)]
    for key in keys:
        worker.ask(10, key)
    await until(lambda: len(bench.scheduler.all("children")) == len(keys))
    message = NodeSessionResponse()
    for key in keys:
        message.child_outcomes.extend(outcome(10, key, key.encode() * 15_000).child_outcomes)
    bench.scheduler.send(message)
    await until(lambda: worker.outcomes.get(10) == len(keys))
    received: dict[str, bytes] = {}
    for each in worker.received:
        position = 0
        for entry in each.header.get("outcomes", ()):
            received[entry["key"]] = each.body[position : position + entry["size"]]
            position += entry["size"]
    assert received == {key: key.encode() * 15_000 for key in keys}


async def test_a_park_before_a_long_child_was_asked_for_is_said_again_behind_it(bench: Bench):
    """A parent whose child's inputs go through the blob store gives its place back as any other does."""
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.begin(10)
    worker.ask(10, "c1", b'"' + b"x" * 100_000 + b'"')
    worker.park(10)
    await until(lambda: bench.scheduler.all("children"))
    await until(lambda: bench.scheduler.all("parks"))
    counted = 0
    believed_parked = False

    def replay() -> bool:
        nonlocal counted, believed_parked
        counted, believed_parked = 0, False
        for heard in bench.scheduler.frames:
            counted += len(heard.children)
            believed_parked = believed_parked or any(park.awaiting == counted for park in heard.parks)
        return believed_parked

    await until(replay, "a park that the scheduler can believe")


async def test_an_outcome_that_a_parked_lease_does_not_want_is_answered_with_its_park(bench: Bench):
    """The scheduler took the lease for running when it sent the outcome."""
    bench.scheduler.send(frame(start(1), assignment(10, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(10)
    worker.begin(10)
    worker.ask(10, "c2")
    worker.park(10)
    await until(lambda: len(bench.scheduler.all("parks")) == 1)
    bench.scheduler.send(outcome(10, "c1"))
    await until(lambda: len(bench.scheduler.all("parks")) == 2)
    assert not worker.outcomes.get(10)


async def test_a_lease_that_is_stopped_in_the_frame_that_brings_it_starts_no_worker(bench: Bench):
    """The kill is confirmed, and nothing of the lease is left."""
    both = frame(assignment(7, worker_id=3))
    both.kills.add(lease_id=7, reason="no")
    bench.scheduler.send(both, [spec()])
    result = await bench.scheduler.result(7)
    assert result.killed
    await until(lambda: not bench.holdings.leases and not bench.holdings.workers)
    assert bench.world.launches == []

"""The session with the scheduler: reconnects, repeats, generations."""

from hangar.scheduler.v1 import node_service_pb2
from hangar.scheduler.v1.node_service_pb2 import ChildRequest, LeaseResult, NodeSessionRequest
from services.executor.outgoing import FRAME_BYTES, Outgoing
from services.executor.tests.conftest import Bench
from services.executor.tests.scheduler_fake import until
from services.executor.tests.specs import POOL, assignment, frame, outcome, spec, start


async def test_hello_says_what_the_host_offers(bench: Bench):
    """Name, boot id, engine and inventory are in the first frame."""
    hello = bench.scheduler.hellos[0]
    assert (hello.node, hello.engine, hello.inventory.platform) == ("n1", "fake", "linux/amd64")
    assert hello.boot_id
    assert hello.inventory.cpu_millis > 0


async def test_heartbeats_keep_coming(bench: Bench):
    """One at every interval of the welcome, with the load of the host."""
    beats = await until(
        lambda: (
            (heard := [each.heartbeat for each in bench.scheduler.frames if each.HasField("heartbeat")])
            and len(heard) >= 3
            and heard
        )
    )
    assert beats[-1].memory_used_bytes > 0
    assert beats[-1].sent_at.ToNanoseconds() > beats[0].sent_at.ToNanoseconds()


async def test_a_scheduler_that_comes_back_hears_everything_unanswered_again(bench: Bench):
    """Children, cancellations, parks, starts, results and log chunks without an answer are said again."""
    scheduler = bench.scheduler
    scheduler.acknowledges = False
    leases = [assignment(lease, pool=POOL) for lease in (10, 11, 12)]
    scheduler.send(frame(start(1, concurrency=3), *leases), [spec()])
    worker = await bench.world.worker(1)
    for lease in (10, 11, 12):
        await worker.has(lease)
        worker.begin(lease)
    worker.ask(10, "c1")
    worker.ask(10, "c2")
    worker.send({"type": "cancel", "lease": 10, "key": "c2"})
    worker.park(10)
    worker.print(11, "hello\n")
    worker.succeed(11)
    await scheduler.result(11)
    await until(lambda: scheduler.all("logs") and scheduler.all("parks") and scheduler.all("cancellations"))
    await scheduler.stop()
    scheduler.frames.clear()
    scheduler.results.clear()
    await scheduler.start()
    await scheduler.connected(2)
    await until(lambda: scheduler.all("logs") and scheduler.all("parks") and 11 in scheduler.results)
    assert {(each.parent_lease_id, each.key) for each in scheduler.all("children")} == {
        (10, "c1"),
        (10, "c2"),
    }
    assert {each.key for each in scheduler.all("specs")} == {
        each.spec_key for each in scheduler.all("children")
    }
    assert [each.key for each in scheduler.all("cancellations")] == ["c2"]
    assert [(each.lease_id, each.awaiting) for each in scheduler.all("parks")] == [(10, 1)]
    assert {each.lease_id for each in scheduler.all("started")} == {10, 12}
    assert {each.state for each in scheduler.all("workers")} == {node_service_pb2.WORKER_STATE_READY}
    assert {each.lease_id for each in scheduler.hellos[-1].leases} == {10, 11, 12}
    scheduler.send(outcome(10, "c1"))
    await until(lambda: worker.outcomes.get(10))


async def test_progress_is_told_again_to_a_scheduler_that_was_away(bench: Bench):
    """What user code said last, and the image, reach a scheduler that comes back; no progress ends the connection."""
    bench.scheduler.send(frame(assignment(7, worker_id=3)), [spec()])
    worker = await bench.world.worker(3)
    await worker.has(7)
    worker.begin(7)
    for done in (1, 2):
        worker.send({"type": "progress", "lease": 7, "done": done, "total": 0, "message": "x" * 300})
    await until(lambda: [each for each in bench.scheduler.all("user_progress") if each.progress.done == 2])
    await bench.scheduler.stop()
    await bench.scheduler.start()
    [told] = await until(lambda: bench.scheduler.all("user_progress"))
    assert (told.lease_id, told.progress.done, len(told.progress.message)) == (7, 2, 200)
    assert {each.image for each in bench.scheduler.all("started")} == {"default@sha256:1"}
    worker.send({"type": "progress", "lease": 7, "done": float("inf"), "total": 0, "message": ""})
    connection = bench.app._started().holdings.workers[3].connection
    await until(lambda: bench.app._started().holdings.workers[3].connection not in (connection, None))


async def test_an_ended_worker_is_told_to_a_scheduler_that_was_away(bench: Bench):
    """The failure of a pool worker is not lost with a session."""
    await bench.scheduler.stop()
    host = bench.app._started()
    bench.world.image_failure = "no"
    host.orders.received(frame_with_spec())
    await until(lambda: host.holdings.exits)
    await bench.scheduler.start()
    status = await until(lambda: bench.scheduler.worker(1))
    assert status.failure.code == "UnsupportedLayer"


def frame_with_spec():
    """A frame that starts a pool worker, with its definition."""
    made = frame(start(1))
    made.specs.add(key="env.task", spec=spec())
    return made


async def test_a_session_that_is_closed_is_opened_again(bench: Bench):
    """The end of a stream without an error is no end of the executor."""
    bench.scheduler.end_session()
    await bench.scheduler.connected(2)


async def test_an_older_scheduler_is_refused(bench: Bench):
    """A generation older than one that was seen is refused, also after a restart of the executor."""
    bench.scheduler.generation = 7
    bench.scheduler.end_session()
    await bench.scheduler.connected(2)
    bench.scheduler.generation = 6
    bench.scheduler.end_session()
    hellos = len(bench.scheduler.hellos)
    await until(lambda: len(bench.scheduler.hellos) > hellos + 1)
    assert not (await bench.app.describe()).connected
    await bench.stop()
    bench.scheduler.generation = 8
    await bench.start()
    await until(lambda: bench.app._session and bench.app._session.connected)
    bench.scheduler.generation = 7
    await bench.stop()
    hellos = len(bench.scheduler.hellos)
    await bench.start_without_session()
    await until(lambda: len(bench.scheduler.hellos) > hellos + 1)
    assert not (await bench.app.describe()).connected


async def test_frames_collect_what_is_queued():
    """Everything between two writes is one frame; definitions go once per session, before their child."""
    outgoing = Outgoing()
    outgoing.open()
    for number in range(100):
        outgoing.child(ChildRequest(parent_lease_id=1, key=f"k{number}", spec_key="s"), spec())
    outgoing.park(1, 100)
    taken = await outgoing.take()
    assert (len(taken.children), len(taken.specs), len(taken.parks)) == (100, 1, 1)
    outgoing.child(ChildRequest(parent_lease_id=1, key="x", spec_key="s"), spec())
    assert not (await outgoing.take()).specs
    outgoing.open()
    outgoing.child(ChildRequest(parent_lease_id=1, key="x", spec_key="s"), spec())
    assert len((await outgoing.take()).specs) == 1


async def test_what_a_lease_asks_for_after_a_park_goes_into_a_later_frame():
    """Within a frame children are looked at before parks: a stale park would seem to count the newer child."""
    outgoing = Outgoing()
    outgoing.open()
    outgoing.child(ChildRequest(parent_lease_id=1, key="a", spec_key="s"), spec())
    outgoing.park(1, 1)
    outgoing.child(ChildRequest(parent_lease_id=2, key="z", spec_key="s"), spec())
    outgoing.child(ChildRequest(parent_lease_id=1, key="b", spec_key="s"), spec())
    outgoing.park(1, 1)
    outgoing.cancellation(1, "b")
    taken = [await outgoing.take() for _ in range(3)]
    assert [[child.key for child in each.children] for each in taken] == [["a", "z"], ["b"], []]
    assert [len(each.parks) for each in taken] == [1, 1, 0]
    assert len(taken[2].cancellations) == 1


async def test_frames_stay_small_and_in_order():
    """Many large results are several frames, none of them much beyond the limit."""
    outgoing = Outgoing()
    outgoing.open()
    for number in range(100):
        result = LeaseResult(lease_id=number)
        result.outputs.inline = bytes(60_000)
        outgoing.result(result)
    taken: list[NodeSessionRequest] = []
    while sum(len(each.results) for each in taken) < 100:
        taken.append(await outgoing.take())
    assert max(each.ByteSize() for each in taken) < FRAME_BYTES + 70_000
    assert [each.lease_id for heard in taken for each in heard.results] == list(range(100))


async def test_a_frame_that_cannot_be_handled_costs_its_session_only(bench: Bench):
    """An assignment without a definition ends the session; the next one is as good as any."""
    bench.scheduler.send(frame(assignment(10, pool=POOL, task="unknown")))
    await bench.scheduler.connected(2)
    bench.scheduler.send(frame(start(1), assignment(11, pool=POOL)), [spec()])
    worker = await bench.world.worker(1)
    await worker.has(11)


async def test_a_heartbeat_that_fails_ends_the_session_and_not_the_executor(bench: Bench, monkeypatch):
    """Whatever goes wrong beside the stream, another session follows."""
    session = bench.app._session
    assert session is not None
    beat = session._heartbeat

    def broken():
        monkeypatch.setattr(session, "_heartbeat", beat)
        raise OSError("no more file descriptors")

    monkeypatch.setattr(session, "_heartbeat", broken)
    await bench.scheduler.connected(2)
    await until(lambda: session.connected)

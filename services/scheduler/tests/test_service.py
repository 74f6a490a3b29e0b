"""The service through real streams: runs, children, aborts, watches, restarts."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from hangar.core.v1.failure_pb2 import Failure, FailureKind
from hangar.core.v1.phase_pb2 import Phase
from hangar.core.v1.progress_pb2 import Progress
from hangar.core.v1.task_spec_pb2 import TaskSpec
from hangar.scheduler.v1 import node_service_pb2 as node
from hangar.scheduler.v1 import scheduler_service_pb2 as messages
from services.common.db import is_sqlite
from services.common.errors import AlreadyExists, HangarError, InvalidArgument, NotFound
from services.common.grpc_errors import from_rpc_error
from services.ledger.queries import attempts, events, logs, payloads
from services.scheduler.core import reconcile
from services.scheduler.core.model import SECOND
from services.scheduler.tests.backend import action, eventually, run_id, serving
from services.scheduler.tests.fake_executor import document, make_spec


async def error_of(call) -> HangarError:
    """The platform's error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_a_fan_out_takes_effect_once(ledger_url: str):
    """A parent and its 200 children end with one attempt each, with inputs and outputs."""
    async with serving(ledger_url) as backend:
        executor = backend.executor(fan_out=200)
        await executor.connect()
        assert await backend.create_run()
        run = await backend.ended()
        assert (run.phase, run.action_count) == (Phase.PHASE_SUCCEEDED, 201)
        assert run.started_at is not None
        assert run.ended_at is not None
        found = backend.actions()
        assert [each.sequence for each in found] == list(range(201))
        assert {each.phase for each in found} == {Phase.PHASE_SUCCEEDED}
        assert {each.parent for each in found[1:]} == {"a0"}
        assert all(len(backend.attempts(each.id)) == 1 for each in found)
        with backend.read() as connection:
            inputs = payloads.inputs_of(connection, [each.id for each in found])
            outputs = payloads.outputs_of(connection, [each.id for each in found])
            newest = events.last_cursor(connection)
        assert len(inputs) == len(outputs) == 201
        assert inputs[found[7].id].inline == b'{"x":6}'
        assert run.cursor <= newest
        await eventually(lambda: len(executor.acknowledged) == 201)
        await executor.disconnect()


async def test_create_run_is_idempotent_under_concurrency(ledger_url: str):
    """Of many equal requests at once exactly one creates the run; one with other content is told so."""
    async with serving(ledger_url) as backend:
        answers = await asyncio.gather(*(backend.create_run() for _ in range(50)))
        assert sorted(answers) == [False] * 49 + [True]
        assert len(backend.actions()) == 1
        other = await error_of(backend.create_run(text=b'{"x":2}'))
        assert (type(other), other.reason) == (AlreadyExists, "RUN_ALREADY_EXISTS")
        executor = backend.executor()
        await executor.connect()
        await backend.ended()
        assert not await backend.create_run(), "also when it has ended"
        assert (await error_of(backend.create_run(text=b"{1}"))).reason == "RUN_ALREADY_EXISTS"
        await executor.disconnect()


async def test_retry_after_a_failure_of_the_task(ledger_url: str):
    """A task that fails once and has a retry runs again; both attempts are shown."""
    async with serving(ledger_url) as backend:
        wrong = Failure(kind=FailureKind.FAILURE_KIND_USER, code="ValueError", message="no", traceback="tb")
        executor = backend.executor(fails=lambda each: wrong if each.attempt == 0 else None)
        await executor.connect()
        await backend.create_run(task=make_spec("env.root", retries=1))
        run = await backend.ended()
        assert run.phase == Phase.PHASE_SUCCEEDED
        assert run.failure is None
        first, second = backend.attempts(backend.actions()[0].id)
        assert first.failure is not None
        assert (first.failure.code, first.failure.traceback) == ("ValueError", "tb")
        assert (second.number, second.user_attempt, second.failure) == (1, 1, None)
        assert first.span_id != second.span_id
        await executor.disconnect()


async def test_assignment_carries_context(ledger_url: str):
    """An assignment has inputs, the run's settings, and a traceparent that names its own span."""
    async with serving(ledger_url) as backend:
        executor = backend.executor()
        await executor.connect()
        request = messages.CreateRunRequest(
            run=run_id("run"), task=make_spec("env.root"), inputs=document(b'{"a":1}')
        )
        request.context.env_vars["A"] = "1"
        request.context.labels["team"] = "x"
        request.context.traceparent = f"00-{'ab' * 16}-{'cd' * 8}-01"
        await backend.stub.CreateRun(request)
        run = await backend.ended()
        (assignment,) = executor.assignments.values()
        (attempt,) = backend.attempts(backend.actions()[0].id)
        assert assignment.inputs.inline == b'{"a":1}'
        assert dict(assignment.context.env_vars) == {"A": "1"}
        assert assignment.context.traceparent == f"00-{'ab' * 16}-{attempt.span_id}-01"
        assert (run.trace_id, dict(run.labels)) == ("ab" * 16, {"team": "x"})
        await executor.disconnect()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda request: request.run.ClearField("name"), "run name"),
        (lambda request: setattr(request.run, "domain", "moon"), "domain"),
        (lambda request: request.ClearField("task"), "task"),
        (lambda request: request.ClearField("inputs"), "inputs"),
        (lambda request: setattr(request.inputs, "inline", b"x" * 70_000), "inputs.inline"),
        (lambda request: request.task.ClearField("interface"), "task.interface"),
        (lambda request: setattr(request.task.retry, "count", 101), "task.retry.count"),
        (lambda request: setattr(request.task.resources, "cpu_millis", -1), "task.resources.cpu_millis"),
        (lambda request: setattr(request.task.resources.gpu, "count", 0), "task.resources.gpu.count"),
        (lambda request: setattr(request.task.reuse, "concurrency", 0), "task.reuse.max_replicas"),
        (lambda request: setattr(request.task.timeout, "max_runtime_millis", -1), "task.timeout"),
        (lambda request: setattr(request.task.code, "version", "v" * 256), "task.code.version"),
        (lambda request: request.context.labels.update({"k" * 129: ""}), "context.labels"),
        (lambda request: request.context.labels.update({"key": "v" * 257}), "context.labels"),
    ],
)
async def test_wrong_requests_are_refused(ledger_url: str, change, field: str):
    """A request that cannot be carried out is refused by the name of the field; nothing is created."""
    async with serving(ledger_url) as backend:
        request = messages.CreateRunRequest(run=run_id("run"), task=make_spec(), inputs=document())
        change(request)
        error = await error_of(backend.stub.CreateRun(request))
        assert isinstance(error, InvalidArgument)
        assert error.message.startswith(field)
        assert backend.actions() == []


async def test_any_text_of_a_user_can_be_stored(ledger_url: str):
    """NUL characters and the longest names that are allowed, of any script, break no commit on either database."""
    task = make_spec("\N{SNOWMAN}" * 255)
    task.code.version = "v" * 255
    wrong = Failure(kind=FailureKind.FAILURE_KIND_USER, code="\0E", message="a\0b", traceback="\0" * 3)
    async with serving(ledger_url) as backend:
        executor = backend.executor(fails=lambda _assignment: wrong)
        await executor.connect()
        request = messages.CreateRunRequest(run=run_id("run"), task=task, inputs=document(b"\0"))
        request.context.labels["\N{SNOWMAN}" * 128] = "\N{SNOWMAN}" * 256
        request.context.env_vars["A"] = "\N{SNOWMAN}"
        await backend.stub.CreateRun(request)
        run = await backend.ended()
        assert run.failure is not None
        nul = "\0" if is_sqlite(ledger_url) else "\N{REPLACEMENT CHARACTER}"
        assert (run.failure.code, run.failure.message) == (f"{nul}E", f"a{nul}b")
        error = await error_of(
            backend.stub.AbortAction(messages.AbortActionRequest(action=action("no\0such"), reason="\0"))
        )
        assert error.reason == "ACTION_NOT_FOUND"
        assert backend.fatal == []
        await executor.disconnect()


async def test_child_with_a_wrong_definition_fails_in_its_parent(ledger_url: str):
    """A child that cannot be run is refused to its parent with the reason; no action is created for it."""
    async with serving(ledger_url) as backend:
        executor = backend.executor(complete=False)
        await executor.connect()
        await backend.create_run()
        (lease,) = await eventually(lambda: list(executor.assignments))
        await executor.send(node.NodeSessionRequest(started=[node.LeaseStarted(lease_id=lease)]))
        await executor.request_children(lease, ["bad"], TaskSpec(name="env.child", environment="env"))
        outcome = await eventually(lambda: executor.outcomes.get("bad"))
        assert outcome.phase == Phase.PHASE_FAILED
        assert "task.interface is missing" in outcome.failure.message
        await executor.finish(lease)
        await backend.ended()
        assert len(backend.actions()) == 1
        await executor.disconnect()


async def test_abort_run_is_confirmed_by_the_executor(ledger_url: str):
    """An abort ends a run once its kill is confirmed; a second one, and a wrong name, are told apart."""
    async with serving(ledger_url) as backend:
        executor = backend.executor(complete=False)
        await executor.connect()
        await backend.create_run()
        await eventually(lambda: executor.assignments)
        request = messages.AbortRunRequest(run=run_id("run"), reason="enough")
        assert (await backend.stub.AbortRun(request)).accepted
        run = await backend.ended()
        assert (run.phase, run.abort_reason) == (Phase.PHASE_ABORTED, "enough")
        assert [kill.reason for kill in executor.kills] == ["enough"]
        assert not (await backend.stub.AbortRun(request)).accepted
        missing = await error_of(backend.stub.AbortRun(messages.AbortRunRequest(run=run_id("none"))))
        assert isinstance(missing, NotFound)
        await executor.disconnect()


async def test_abort_action_ends_a_child(ledger_url: str):
    """Aborting a child gives the parent an ABORTED outcome with the reason; unknown actions are NOT_FOUND."""
    async with serving(ledger_url) as backend:
        executor = backend.executor(complete=False)
        await executor.connect()
        await backend.create_run()
        (lease,) = await eventually(lambda: list(executor.assignments))
        await executor.send(node.NodeSessionRequest(started=[node.LeaseStarted(lease_id=lease)]))
        await executor.request_children(lease, ["one"], make_spec("env.child"))
        await eventually(lambda: len(executor.assignments) == 2)
        request = messages.AbortActionRequest(action=action("one"), reason="not needed")
        assert (await backend.stub.AbortAction(request)).accepted
        outcome = await eventually(lambda: executor.outcomes.get("one"))
        assert (outcome.phase, outcome.failure.message) == (Phase.PHASE_ABORTED, "not needed")
        assert not (await backend.stub.AbortAction(request)).accepted
        missing = await error_of(backend.stub.AbortAction(messages.AbortActionRequest(action=action("two"))))
        assert missing.reason == "ACTION_NOT_FOUND"
        await executor.finish(lease)
        await backend.ended()
        await executor.disconnect()


async def test_restart_keeps_what_runs(ledger_url: str):
    """After a restart the same leases go on; outcomes of ended children are repeated."""
    async with serving(ledger_url) as backend:
        executor = backend.executor(complete=False)
        await executor.connect()
        await backend.create_run()
        (lease,) = await eventually(lambda: list(executor.assignments))
        await executor.send(node.NodeSessionRequest(started=[node.LeaseStarted(lease_id=lease)]))
        await executor.request_children(lease, ["one", "two"], make_spec("env.child"))
        await eventually(lambda: len(executor.assignments) == 3)
        by_name = {each.action.name: each.lease_id for each in executor.assignments.values()}
        await executor.finish(by_name["one"])
        await eventually(lambda: "one" in executor.outcomes)
        generation = executor.welcome.generation
    async with serving(ledger_url) as backend:
        later = backend.executor(complete=False)
        later.held = [
            node.HeldLease(lease_id=lease, started=True),
            node.HeldLease(lease_id=999, started=True),
        ]
        await later.connect()
        assert later.welcome.generation == generation + 1
        assert list(later.welcome.dropped_leases) == [999]
        await later.request_children(lease, ["one", "two"], make_spec("env.child"))
        outcome = await eventually(lambda: later.outcomes.get("one"))
        assert outcome.outputs.inline == b'{"o0":1}', "read from the ledger"
        again = await eventually(lambda: later.assignments.get(by_name["two"]))
        assert again.inputs.inline == b"two", "a lease that the host never got is sent again, with its inputs"
        assert lease not in later.assignments
        await later.finish(by_name["two"])
        await eventually(lambda: "two" in later.outcomes)
        await later.finish(lease)
        run = await backend.ended()
        assert (run.phase, run.action_count) == (Phase.PHASE_SUCCEEDED, 3)
        assert all(len(backend.attempts(each.id)) == 1 for each in backend.actions())
        await later.disconnect()


async def test_watch_goes_on_after_a_restart(ledger_url: str):
    """Events seen before and after a restart are all events of the ledger, once and in order."""

    async def collect(stub, after: int, until: str) -> list[Any]:
        seen = []
        call = stub.WatchEvents(messages.WatchEventsRequest(after=after))
        async for response in call:
            seen.extend(response.events)
            if any(each.action.run.name == until and each.phase == Phase.PHASE_SUCCEEDED for each in seen):
                call.cancel()
                return seen
        return seen

    async with serving(ledger_url) as backend:
        watching = asyncio.create_task(collect(backend.stub, 0, "first"))
        executor = backend.executor()
        await executor.connect()
        await backend.create_run("first")
        before = await watching
        await backend.create_run("second")
        await backend.ended("second")
        await executor.disconnect()
    async with serving(ledger_url) as backend:
        executor = backend.executor()
        await executor.connect()
        watching = asyncio.create_task(collect(backend.stub, before[-1].cursor, "third"))
        await backend.create_run("third")
        after = await watching
        with backend.read() as connection:
            stored = events.list_events(connection, 0)
        assert [each.cursor for each in [*before, *after]] == [each.cursor for each in stored]
        assert [each.phase for each in after] == [each.phase for each in stored[len(before) :]]
        await executor.disconnect()


async def test_watch_from_now_skips_the_past(ledger_url: str):
    """A watch from the end first confirms its start, then shows only what comes."""
    async with serving(ledger_url) as backend:
        await backend.create_run("old")
        call = backend.stub.WatchEvents(messages.WatchEventsRequest(from_now=True))
        first = await call.read()
        with backend.read() as connection:
            assert (list(first.events), first.cursor) == ([], events.last_cursor(connection))
        await backend.create_run("new")
        second = await call.read()
        assert {each.action.run.name for each in second.events} == {"new"}
        call.cancel()


async def test_newer_session_replaces_the_older(ledger_url: str):
    """A second session of a node ends the first with the reason; work goes to the second."""
    async with serving(ledger_url) as backend:
        older = backend.executor()
        await older.connect()
        newer = backend.executor()
        await newer.connect()
        assert "newer session" in await older.ended()
        await backend.create_run()
        await backend.ended()
        assert not older.assignments
        assert len(newer.assignments) == 1
        await newer.disconnect()


async def test_session_must_begin_with_hello(ledger_url: str):
    """A stream whose first frame has no hello is refused."""
    async with serving(ledger_url) as backend:
        call = backend.executor()._stub.NodeSession()
        await call.write(node.NodeSessionRequest(heartbeat=node.Heartbeat()))
        error = await error_of(call.read())
        assert error.reason == "HELLO_MISSING"


async def test_logs_and_progress(ledger_url: str):
    """Log chunks are acknowledged once durable; progress shows as why an action waits."""
    async with serving(ledger_url) as backend:
        executor = backend.executor(complete=False)
        await executor.connect()
        await backend.create_run()
        (lease,) = await eventually(lambda: list(executor.assignments))
        frame = node.NodeSessionRequest(
            progress=[node.LeaseProgress(lease_id=lease, detail="installing pandas")]
        )
        chunk = frame.logs.add(lines=3)
        chunk.key.lease_id, chunk.key.index = lease, 0
        chunk.blob.key, chunk.blob.size = "runs/0.log", 42
        await executor.send(frame)
        await executor.send(frame)
        await eventually(lambda: executor.acknowledged_logs == [(lease, 0)] * 2)
        with backend.read() as connection:
            (stored,) = logs.list_log_chunks(connection, lease)
        assert (stored.blob_key, stored.size, stored.lines) == ("runs/0.log", 42, 3)
        assert backend.actions()[0].wait_reason == "installing pandas"
        await executor.send(node.NodeSessionRequest(started=[node.LeaseStarted(lease_id=lease)]))
        await eventually(lambda: backend.actions()[0].phase == Phase.PHASE_RUNNING)
        assert backend.actions()[0].wait_reason == ""
        await executor.finish(lease)
        await backend.ended()
        await executor.disconnect()


async def test_the_image_of_an_attempt_is_on_record(ledger_url: str):
    """It is there once the attempt runs; repeated, or said with the result alone, it is the same; none is none."""
    async with serving(ledger_url) as backend:
        executor = backend.executor(complete=False)
        await executor.connect()

        def images() -> list[str]:
            with backend.read() as connection:
                return [each.image for each in attempts.list_attempts(connection, backend.actions()[0].id)]

        await backend.create_run(task=make_spec(retries=1))
        [first] = await eventually(lambda: list(executor.assignments))
        started = node.LeaseStarted(lease_id=first, worker_id=executor.assignments[first].worker_id)
        started.image = "registry.example/hangar/a@sha256:1"
        await executor.send(node.NodeSessionRequest(started=[started]))
        await eventually(lambda: images() == [started.image])
        await executor.send(node.NodeSessionRequest(started=[started]))
        await executor.finish(first, Failure(kind=FailureKind.FAILURE_KIND_USER, code="ValueError"))
        await eventually(lambda: len(executor.assignments) == 2)
        assert images() == [started.image, ""]
        second = max(executor.assignments)
        worker = executor.assignments[second].worker_id
        frame = node.NodeSessionRequest()
        frame.results.add(lease_id=second, worker_id=worker, image="hangar/b")
        await executor.send(frame)
        await backend.ended()
        assert images() == [started.image, "hangar/b"]
        await executor.disconnect()


async def test_progress_of_user_code(ledger_url: str):
    """The latest is shown beside why an action waits, as one event; a new attempt begins without."""
    async with serving(ledger_url) as backend:
        executor = backend.executor(complete=False)
        await executor.connect()
        await backend.create_run(task=make_spec(retries=1))
        (lease,) = await eventually(lambda: list(executor.assignments))
        waits = node.LeaseProgress(lease_id=lease, detail="the store is away")
        await executor.send(
            node.NodeSessionRequest(started=[node.LeaseStarted(lease_id=lease)], progress=[waits])
        )
        for done in (1, 2, 3):
            frame = node.NodeSessionRequest(progress=[waits])
            frame.user_progress.add(lease_id=lease).progress.CopyFrom(
                Progress(done=done, total=4, message="rows")
            )
            await executor.send(frame)
        shown = '{"done":3.0,"total":4.0,"message":"rows"}'
        found = await eventually(lambda: next((a for a in backend.actions() if a.progress == shown), None))
        assert found.wait_reason == "the store is away"
        with backend.read() as connection:
            details = [each.detail for each in events.list_action_events(connection, found.id)]
        assert [each for each in details if "rows" in each] == ["3 of 4: rows"]
        await executor.finish(lease, Failure(kind=FailureKind.FAILURE_KIND_USER, code="ValueError"))
        await eventually(lambda: len(executor.assignments) == 2)
        await eventually(lambda: backend.actions()[0].attempt_count == 2)
        assert backend.actions()[0].progress == ""
        frame = node.NodeSessionRequest()
        frame.user_progress.add(lease_id=lease).progress.done = 9
        await executor.send(frame)
        await executor.finish(max(executor.assignments))
        await backend.ended()
        assert backend.actions()[0].progress == "", "that of an attempt that has ended counts no more"
        await executor.disconnect()


async def test_list_nodes_shows_what_is_free(ledger_url: str):
    """A host is listed with its capacity, what is not booked, and its leases."""
    async with serving(ledger_url) as backend:
        executor = backend.executor(complete=False, cpu=4000)
        await executor.connect()
        await backend.create_run()
        await eventually(lambda: executor.assignments)
        (host,) = (await backend.stub.ListNodes(messages.ListNodesRequest())).nodes
        assert (host.name, host.state) == ("node", messages.NODE_STATE_READY)
        assert (host.capacity.cpu_millis, host.free.cpu_millis) == (4000, 3000)
        assert (host.leases, host.workers) == (1, 1)
        await executor.disconnect()


async def test_a_host_that_was_given_up_while_it_was_silent_is_made_to_connect_again(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
):
    """The scheduler ends its session: only a Hello can settle what became of what it holds."""
    for limit in ("SILENCE", "WARM_TTL", "COLD_TTL"):
        monkeypatch.setattr(reconcile, limit, SECOND // 20)
    async with serving(ledger_url) as backend:
        executor = backend.executor(complete=False)
        await executor.connect()
        await backend.create_run()
        await executor.ended()
        assert backend.app.running.sessions.of("node") is None

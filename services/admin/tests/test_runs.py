import asyncio
import hashlib
import re
from typing import Any

import pytest

from hangar.admin.v1 import project_service_pb2, task_service_pb2
from hangar.admin.v1 import run_service_pb2 as messages
from hangar.core.v1.identifiers_pb2 import RunIdentifier
from hangar.core.v1.payload_pb2 import BlobReference, Payload
from hangar.core.v1.phase_pb2 import Phase
from hangar.core.v1.task_spec_pb2 import Code, TaskSpec
from services.admin.tests.test_projects import refused
from services.common import errors

DEADLINE = 30


async def read(stream):
    """Returns the next message of a stream."""
    return await asyncio.wait_for(anext(aiter(stream)), DEADLINE)


async def test_a_run_is_created_once_per_name(world):
    """The same name and content gives the same run; other content is ALREADY_EXISTS."""
    first = await world.runs.CreateRun(world.create_request("mine"))
    again = await world.runs.CreateRun(world.create_request("mine"))
    assert (first.created, again.created) == (True, False)
    assert first.run == again.run
    other = await refused(world.runs.CreateRun(world.create_request("mine", inputs=b"{}")))
    assert (type(other), other.reason) == (errors.AlreadyExists, "RUN_ALREADY_EXISTS")


async def test_a_rerun_is_like_the_earlier_run_but_for_what_is_said(world):
    """Task, inputs and settings are the earlier run's; what the request names is over them, and is not lost in it."""
    wanted = world.create_request("first", team="a")
    wanted.context.queue, wanted.context.interruptible = "gpu", True
    wanted.context.notifications.add(url="http://x")
    await world.runs.CreateRun(wanted)
    request = messages.RerunRunRequest(
        id=wanted.id, name="second", labels={"again": "yes"}, env_vars={"A": "1"}, interruptible=False
    )
    answer = await world.runs.RerunRun(request)
    run = (await world.runs.GetRun(messages.GetRunRequest(id=answer.run.id))).run
    assert (answer.created, run.task_name, dict(run.labels)) == (
        True,
        "env.main",
        {"team": "a", "again": "yes"},
    )
    settings = run.settings
    assert (settings.queue, settings.interruptible, dict(settings.env_vars)) == ("gpu", False, {"A": "1"})
    assert settings.notifications[0].run_url == run.url, "it tells of itself, not of the earlier run"
    data = await world.runs.GetActionData(messages.GetActionDataRequest(id=world.action(run.id)))
    assert data.inputs.inline == b'{"x":5}'
    first = (await world.runs.GetRun(messages.GetRunRequest(id=wanted.id))).run
    assert (first.settings.interruptible, dict(first.labels)) == (True, {"team": "a"})


async def test_what_cannot_be_run_again_is_refused(world):
    """An unknown run; one that is to be recovered and has not ended; the earlier run's own name."""
    identifier = await world.create("first")
    unknown = RunIdentifier(project="default", domain="development", name="none")
    cases = [
        (messages.RerunRunRequest(id=unknown), errors.NotFound, "RUN_NOT_FOUND"),
        (messages.RerunRunRequest(id=identifier, recover=True), errors.FailedPrecondition, "RUN_NOT_ENDED"),
        (messages.RerunRunRequest(id=identifier, name="first"), errors.InvalidArgument, "NAME_IN_USE"),
    ]
    for request, kind, reason in cases:
        error = await refused(world.runs.RerunRun(request))
        assert (type(error), error.reason) == (kind, reason)


async def test_a_run_gets_a_name_and_a_page(world):
    """A run without a name gets a random one; its URL is that of its page."""
    run = (await world.runs.CreateRun(world.create_request())).run
    assert re.fullmatch(r"[a-z][a-z0-9]{19}", run.id.name)
    assert run.url == f"{world.app.http_url}/v2/runs/project/default/domain/development/{run.id.name}"
    assert (run.task_name, run.phase, run.action_count) == ("env.main", Phase.PHASE_QUEUED, 1)
    assert (await world.http("GET", run.url)).status == 200


async def test_requests_that_cannot_be_are_refused(world):
    """Bad names, domains, projects, tasks and inputs are refused before the scheduler hears of them."""
    cases = []
    for change, kind, words in [
        (lambda r: setattr(r.id, "name", "No Good"), errors.InvalidArgument, "run name 'No Good'"),
        (lambda r: setattr(r.id, "domain", "dev"), errors.InvalidArgument, "domain 'dev' does not exist"),
        (lambda r: setattr(r.id, "project", "nope"), errors.NotFound, "project 'nope' does not exist"),
        (lambda r: r.task.ClearField("name"), errors.InvalidArgument, "task.name must not be empty"),
        (lambda r: r.ClearField("inputs"), errors.InvalidArgument, "inputs must be set"),
        (lambda r: setattr(r.inputs, "inline", b" " * 65537), errors.InvalidArgument, "CreateUploads"),
        (
            lambda r: setattr(r.task.code, "bundle_digest", "xyz"),
            errors.InvalidArgument,
            "bundle_digest is 'xyz'",
        ),
        (
            lambda r: setattr(r.task.code, "bundle_digest", "a" * 64),
            errors.FailedPrecondition,
            "was not uploaded",
        ),
        (
            lambda r: r.inputs.reference.CopyFrom(BlobReference(key="runs/x")),
            errors.InvalidArgument,
            "runs/x",
        ),
        (
            lambda r: r.inputs.reference.CopyFrom(BlobReference(key=f"inputs/{'a' * 64}.json")),
            errors.FailedPrecondition,
            "were not uploaded",
        ),
        (lambda r: r.context.labels.update({"": "x"}), errors.InvalidArgument, "label"),
    ]:
        request = world.create_request("fine")
        change(request)
        cases.append((await refused(world.runs.CreateRun(request)), kind, words))
    for found, kind, words in cases:
        assert isinstance(found, kind), (found, words)
        assert words in found.message
    assert world.scheduler.events == []


async def test_an_archived_project_takes_no_runs(world):
    """A run in an archived project is refused, and what ran there can still be seen."""
    run = await world.create("before")
    archive = project_service_pb2.UpdateProjectRequest(id="default", archived=True)
    await world.projects.UpdateProject(archive)
    found = await refused(world.runs.CreateRun(world.create_request("after")))
    assert (type(found), found.reason) == (errors.FailedPrecondition, "PROJECT_ARCHIVED")
    assert (await world.runs.GetRun(messages.GetRunRequest(id=run))).run.id == run


def run_name(name):
    """Names a run."""
    return RunIdentifier(project="default", domain="development", name=name)


async def test_runs_are_listed_newest_first_in_pages_and_filtered(world):
    """Pages cover every run once; filters narrow them; a page token belongs to its filter."""
    for index in range(5):
        await world.create(f"run-{index}", task=f"env.t{index % 2}", team="a" if index < 2 else "b")
    await world.scheduler.move(run_name("run-3"), "a0", 4)

    async def names(order_by="", **chosen):
        request = messages.ListRunsRequest(
            project="default",
            domain="development",
            filter=messages.RunFilter(**chosen),
            page_size=2,
            order_by=order_by,
        )
        found = []
        while True:
            page = await world.runs.ListRuns(request)
            found += [run.id.name for run in page.runs]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    assert await names() == ["run-4", "run-3", "run-2", "run-1", "run-0"]
    assert await names(phases=[Phase.PHASE_RUNNING]) == ["run-3"]
    assert await names(task_name="env.t1") == ["run-3", "run-1"]
    assert await names(labels={"team": "a"}) == ["run-1", "run-0"]
    assert await names(task_version="v2") == []
    assert await names("created_at") == ["run-0", "run-1", "run-2", "run-3", "run-4"]
    assert (await names("updated_at desc"))[0] == "run-3"
    assert (await names("updated_at"))[-1] == "run-3"
    moved = (await world.runs.GetRun(messages.GetRunRequest(id=run_name("run-3")))).run.started_at
    assert await names(updated_after=moved) == ["run-3"]
    assert "run-3" not in await names(updated_before=moved)
    assert "order_by" in (await refused(names("name"))).message
    first = await world.runs.ListRuns(
        messages.ListRunsRequest(project="default", domain="development", page_size=2)
    )
    other = messages.ListRunsRequest(project="default", domain="staging", page_token=first.next_page_token)
    assert (await refused(world.runs.ListRuns(other))).reason == "PAGE_TOKEN_INVALID"
    negative = messages.ListRunsRequest(project="default", domain="development", page_size=-1)
    assert isinstance(await refused(world.runs.ListRuns(negative)), errors.InvalidArgument)


async def test_what_does_not_exist_is_not_found(world):
    """Unknown runs and actions are NOT_FOUND by their own reasons."""
    run = await world.create("there")
    nowhere = RunIdentifier(project="default", domain="development", name="nope")
    assert (await refused(world.runs.GetRun(messages.GetRunRequest(id=nowhere)))).reason == "RUN_NOT_FOUND"
    assert (
        await refused(world.runs.AbortRun(messages.AbortRunRequest(id=nowhere)))
    ).reason == "RUN_NOT_FOUND"
    action = messages.GetActionRequest(id=world.action(run, "nope"))
    assert (await refused(world.runs.GetAction(action))).reason == "ACTION_NOT_FOUND"
    task = task_service_pb2.GetTaskRequest(project="default", domain="development", name="nope")
    assert (await refused(world.tasks.GetTask(task))).reason == "TASK_NOT_FOUND"


async def test_deployed_tasks_are_listed_and_what_was_run_is_found_by_its_version(world):
    """Lists page over deployed tasks and versions; a task that was only run is got by its version, as not deployed."""
    scope: dict[str, Any] = {"project": "default", "domain": "development"}

    async def deploy(*tasks):
        specs = [
            TaskSpec(name=name, environment="env", code=Code(version=version), entrypoint=name == "env.c")
            for name, version in tasks
        ]
        return await world.tasks.DeployTasks(task_service_pb2.DeployTasksRequest(**scope, tasks=specs))

    await world.create("one", version="v0")
    answer = await deploy(("env.a", "v1"), ("env.b", "v1"), ("env.c", "v1"))
    assert [(task.spec.name, task.HasField("deployed_at")) for task in answer.tasks] == [
        (name, True) for name in ("env.a", "env.b", "env.c")
    ]
    await deploy(("env.a", "v2"))
    listing = task_service_pb2.ListTasksRequest(**scope, page_size=2)
    first = await world.tasks.ListTasks(listing)
    assert [(t.spec.name, t.spec.code.version) for t in first.tasks] == [("env.a", "v2"), ("env.b", "v1")]
    listing.page_token = first.next_page_token
    rest = await world.tasks.ListTasks(listing)
    assert ([task.spec.name for task in rest.tasks], rest.next_page_token) == (["env.c"], "")
    starts = task_service_pb2.ListTasksRequest(**scope, entrypoint=True)
    assert [task.spec.name for task in (await world.tasks.ListTasks(starts)).tasks] == ["env.c"]
    versions = task_service_pb2.ListTaskVersionsRequest(**scope, name="env.a", page_size=1)
    newest = await world.tasks.ListTaskVersions(versions)
    versions.page_token = newest.next_page_token
    older = await world.tasks.ListTaskVersions(versions)
    assert [t.spec.code.version for t in (*newest.tasks, *older.tasks)] == ["v2", "v1"]
    assert older.next_page_token == ""
    only_run = task_service_pb2.GetTaskRequest(**scope, name="env.main")
    assert (await refused(world.tasks.GetTask(only_run))).reason == "TASK_NOT_FOUND"
    only_run.version = "v0"
    assert not (await world.tasks.GetTask(only_run)).task.HasField("deployed_at")
    missing = TaskSpec(name="env.a", environment="env", code=Code(version="v3", bundle_digest="0" * 64))
    request = task_service_pb2.DeployTasksRequest(**scope, tasks=[missing])
    assert (await refused(world.tasks.DeployTasks(request))).reason == "BUNDLE_NOT_UPLOADED"


async def test_actions_are_shown_with_attempts_lineage_and_data(world):
    """An action shows its place, attempts and sources of inputs; large outputs come with a URL that works."""
    run = await world.create("tree")
    scheduler = world.scheduler
    await scheduler.add_action(run, "one", parent="a0", group="g")
    await scheduler.add_action(run, "two", parent="a0", lineage=(("x", "one"),))
    scheduler.add_attempt(run, "two")
    document = b'{"o0":' + b" " * 70_000 + b"1}"
    key = f"inputs/{hashlib.sha256(document).hexdigest()}.json"
    await world.blobs.put(key, document)
    outputs = Payload(reference=BlobReference(key=key, size=len(document)), digest="big")
    await scheduler.move(run, "two", Phase.PHASE_SUCCEEDED, outputs=outputs)
    listing = await world.runs.ListActions(messages.ListActionsRequest(run=run, page_size=2))
    assert [(each.id.name, each.parent, each.group) for each in listing.actions] == [
        ("a0", "", ""),
        ("one", "a0", "g"),
    ]
    rest = messages.ListActionsRequest(run=run, page_size=2, page_token=listing.next_page_token)
    two = (await world.runs.ListActions(rest)).actions[0]
    assert [(edge.input, edge.source) for edge in two.lineage] == [("x", "one")]
    children = messages.ListActionsRequest(run=run, filter=messages.ActionFilter(parent="a0"))
    assert [each.id.name for each in (await world.runs.ListActions(children)).actions] == ["one", "two"]
    shown = (await world.runs.GetAction(messages.GetActionRequest(id=world.action(run, "two")))).action
    assert [(attempt.number, attempt.node) for attempt in shown.attempts] == [(0, "here")]
    data = await world.runs.GetActionData(messages.GetActionDataRequest(id=world.action(run, "two")))
    assert data.inputs.inline == b"{}"
    assert (await world.http("GET", data.outputs_url)).body == document
    root = await world.runs.GetActionData(messages.GetActionDataRequest(id=world.action(run)))
    assert root.inputs.inline == b'{"x":5}'
    assert not root.HasField("outputs")


async def test_aborts_reach_the_scheduler(world):
    """Aborting a run or an action passes the reason on; a reason without an end is refused."""
    run = await world.create("stop-me")
    assert (await world.runs.AbortRun(messages.AbortRunRequest(id=run, reason="enough"))).accepted
    await world.runs.AbortAction(messages.AbortActionRequest(id=world.action(run), reason="this too"))
    assert world.scheduler.aborts == [("stop-me", "enough"), ("a0", "this too")]
    endless = messages.AbortRunRequest(id=run, reason="x" * 3000)
    assert isinstance(await refused(world.runs.AbortRun(endless)), errors.InvalidArgument)


async def test_a_watch_of_a_run_shows_every_end_and_ends(world):
    """First all actions as they are, then each change, until the run and all in it have ended."""
    run = await world.create("watched")
    await world.scheduler.add_action(run, "one", parent="a0")
    stream = world.runs.WatchActions(messages.WatchActionsRequest(run=run))
    snapshot = await read(stream)
    assert [each.id.name for each in snapshot.actions] == ["a0", "one"]
    assert snapshot.cursor > 0
    await world.scheduler.move(run, "a0", Phase.PHASE_RUNNING)
    await world.scheduler.move(run, "a0", Phase.PHASE_FAILED)
    await world.scheduler.move(run, "one", Phase.PHASE_ABORTED)
    latest: dict[str, int] = {}
    phases, cursor = [], snapshot.cursor
    async for message in stream:
        latest |= {each.id.name: each.phase for each in message.actions}
        phases.append(message.run.phase)
        assert message.cursor >= cursor
        cursor = message.cursor
    assert latest == {"a0": Phase.PHASE_FAILED, "one": Phase.PHASE_ABORTED}
    assert phases[-1] == Phase.PHASE_FAILED


async def test_a_watch_goes_on_from_its_cursor(world):
    """Given a cursor, a watch sends what changed behind it, and not what it sent before."""
    run = await world.create("resumed")
    await world.scheduler.add_action(run, "one", parent="a0")
    stream = world.runs.WatchActions(messages.WatchActionsRequest(run=run))
    cursor = (await read(stream)).cursor
    stream.cancel()
    await world.scheduler.move(run, "one", Phase.PHASE_SUCCEEDED)
    again = world.runs.WatchActions(messages.WatchActionsRequest(run=run, after=cursor))
    assert [(each.id.name, each.phase) for each in (await read(again)).actions] == [
        ("one", Phase.PHASE_SUCCEEDED)
    ]
    again.cancel()


async def test_a_slow_reader_gets_the_latest_state(world):
    """Changes while nobody reads arrive coalesced: the last message has the last state of all."""
    run = await world.create("busy")
    for index in range(40):
        await world.scheduler.add_action(run, f"c{index}", parent="a0")
    stream = world.runs.WatchActions(messages.WatchActionsRequest(run=run))
    await read(stream)
    for _ in range(10):
        for index in range(40):
            await world.scheduler.move(run, f"c{index}", Phase.PHASE_RUNNING)
    for index in range(40):
        await world.scheduler.move(run, f"c{index}", Phase.PHASE_SUCCEEDED)
    await world.scheduler.move(run, "a0", Phase.PHASE_SUCCEEDED)
    latest: dict[str, int] = {}
    received = 0
    async for message in stream:
        latest |= {each.id.name: each.phase for each in message.actions}
        received += len(message.actions)
    assert len(latest) == 41
    assert set(latest.values()) == {Phase.PHASE_SUCCEEDED}
    assert received < 440


async def test_watches_survive_the_schedulers_restart(world):
    """After the scheduler was away, the subscription goes on from its cursor and no change is lost."""
    run = await world.create("kept")
    stream = world.runs.WatchActions(messages.WatchActionsRequest(run=run))
    await read(stream)
    await world.scheduler.stop()
    await world.scheduler.move(run, "a0", Phase.PHASE_RUNNING)
    await world.scheduler.start(world.scheduler_port)
    message = await read(stream)
    assert message.run.phase == Phase.PHASE_RUNNING
    await world.scheduler.move(run, "a0", Phase.PHASE_SUCCEEDED)
    async for message in stream:
        last = message.run.phase
    assert last == Phase.PHASE_SUCCEEDED
    first, *later = world.scheduler.subscriptions
    assert first == (0, True)
    assert later[-1] == (1, False)


async def test_commands_wait_for_a_scheduler_that_restarts(world):
    """A run that is asked for while the scheduler is away is created when it is back."""
    await world.scheduler.stop()
    creating = asyncio.create_task(world.create("patient"))
    await asyncio.sleep(0)
    await world.scheduler.start(world.scheduler_port)
    assert (await asyncio.wait_for(creating, DEADLINE)).name == "patient"


async def test_a_watch_of_runs_shows_new_ones_and_changes(world):
    """First the runs that exist, then every new run and change, also from a cursor."""
    await world.create("old")
    stream = world.runs.WatchRuns(messages.WatchRunsRequest(project="default", domain="development"))
    snapshot = await read(stream)
    assert [run.id.name for run in snapshot.runs] == ["old"]
    run = await world.create("new")
    message = await read(stream)
    assert [each.id.name for each in message.runs] == ["new"]
    stream.cancel()
    await world.scheduler.move(run, "a0", Phase.PHASE_SUCCEEDED)
    again = world.runs.WatchRuns(
        messages.WatchRunsRequest(project="default", domain="development", after=message.cursor)
    )
    assert [(each.id.name, each.phase) for each in (await read(again)).runs] == [
        ("new", Phase.PHASE_SUCCEEDED)
    ]
    again.cancel()


@pytest.mark.parametrize("empty", ["project", "domain"])
async def test_watches_of_nothing_are_refused(world, empty):
    """A watch without a project or domain is refused at once."""
    request = messages.WatchRunsRequest(project="default", domain="development")
    request.ClearField(empty)
    stream = world.runs.WatchRuns(request)
    assert isinstance(await refused(read(stream)), errors.InvalidArgument)

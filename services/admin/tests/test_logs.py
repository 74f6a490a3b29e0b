import asyncio

from hangar.admin.v1 import log_service_pb2 as messages
from hangar.core.v1.phase_pb2 import Phase
from services.admin.tests.test_projects import refused
from services.admin.tests.test_runs import DEADLINE
from services.common import errors


async def chunk(world, lease, index, *lines):
    """Stores a log chunk."""
    text = "".join(f"2026-01-01T00:00:00.{index:06}Z {line}\n" for line in lines)
    key = f"runs/default/development/r/a0/{lease}/logs/{index}.log"
    await world.blobs.put(key, text.encode())
    world.scheduler.add_chunk(lease, index, key, len(lines))


async def test_history_is_read_in_pages_of_any_size(world):
    """Whatever the page size, the pages together are all lines in order; the cursor goes on for new ones."""
    run = await world.create("r")
    lease = world.scheduler.add_attempt(run, "a0")
    await chunk(world, lease, 0, "one", "", "three  spaced")
    await chunk(world, lease, 1, "ünï", "five")
    for size in (1, 2, 3, 4, 100):
        lines, cursor = [], ""
        while True:
            request = messages.ListLogsRequest(action=world.action(run), page_size=size, cursor=cursor)
            page = await world.logs.ListLogs(request)
            lines += [line.text for line in page.lines]
            cursor = page.cursor
            assert not page.complete
            if not page.lines:
                break
        assert lines == ["one", "", "three  spaced", "ünï", "five"]
    await chunk(world, lease, 2, "six")
    world.scheduler.add_attempt(run, "a0", ended=True)
    page = await world.logs.ListLogs(messages.ListLogsRequest(action=world.action(run), cursor=cursor))
    assert [line.text for line in page.lines] == ["six"]
    assert page.lines[0].captured_at.ToJsonString() == "2026-01-01T00:00:00.000002Z"
    assert page.complete


async def test_a_tail_follows_attempts_until_the_end(world):
    """Without an attempt a tail goes from the newest on to later ones, and ends with the action."""
    run = await world.create("r")
    first = world.scheduler.add_attempt(run, "a0")
    await chunk(world, first, 0, "a")
    stream = world.logs.TailLogs(messages.TailLogsRequest(action=world.action(run)))
    message = await asyncio.wait_for(anext(aiter(stream)), DEADLINE)
    assert [line.text for line in message.lines] == ["a"]
    await chunk(world, first, 1, "b")
    world.scheduler.add_attempt(run, "a0", ended=True)
    second = world.scheduler.add_attempt(run, "a0", 1)
    await chunk(world, second, 0, "c")
    world.scheduler.add_attempt(run, "a0", 1, ended=True)
    await world.scheduler.move(run, "a0", Phase.PHASE_SUCCEEDED)
    rest = [(each.attempt, [line.text for line in each.lines]) async for each in stream]
    assert rest == [(0, ["b"]), (1, ["c"])]
    again = world.logs.TailLogs(messages.TailLogsRequest(action=world.action(run), cursor=message.cursor))
    assert [(each.attempt, len(each.lines)) async for each in again] == [(0, 1), (1, 1)]
    only = world.logs.TailLogs(messages.TailLogsRequest(action=world.action(run), attempt=0))
    assert [[line.text for line in each.lines] async for each in only] == [["a", "b"]]


async def test_an_action_that_never_ran_has_an_empty_complete_log(world):
    """A tail of an action that was aborted in the queue ends; its history is complete."""
    run = await world.create("r")
    stream = world.logs.TailLogs(messages.TailLogsRequest(action=world.action(run)))
    await world.scheduler.move(run, "a0", Phase.PHASE_ABORTED)
    assert [each async for each in stream] == []
    page = await world.logs.ListLogs(messages.ListLogsRequest(action=world.action(run)))
    assert (list(page.lines), page.complete) == ([], True)


async def test_wrong_cursors_and_attempts_are_refused(world):
    """A cursor that is none, one of another attempt, and an attempt that is not there have clear errors."""
    run = await world.create("r")
    world.scheduler.add_attempt(run, "a0")
    action = world.action(run)
    for request in (
        messages.ListLogsRequest(action=action, cursor="nonsense"),
        messages.ListLogsRequest(action=action, cursor="1:0:0", attempt=0),
    ):
        assert (await refused(world.logs.ListLogs(request))).reason == "CURSOR_INVALID"
    missing = await refused(world.logs.ListLogs(messages.ListLogsRequest(action=action, attempt=5)))
    assert isinstance(missing, errors.NotFound)
    assert "it has 1 so far" in missing.message

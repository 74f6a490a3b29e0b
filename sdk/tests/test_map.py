"""`flyte.map`, without a backend: outside a task and in local mode."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging

import pytest

import flyte
import flyte.errors
from flyte._local import run_local

env = flyte.TaskEnvironment("map_tests")
started: list[int] = []
running: set[int] = set()


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    """Records of runs go to a directory of the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    started.clear()


@env.task
def square(x: int) -> int:
    """Blocks."""
    started.append(x)
    return x * x


@env.task
async def slow_square(x: int) -> int:
    """Is awaited; later items end first."""
    started.append(x)
    for _ in range(10 - x):
        await asyncio.sleep(0)
    return x * x


@env.task
def scaled(x: int, factor: int, offset: int = 0) -> int:
    """Takes several values."""
    return x * factor + offset


@env.task
async def odd_fails(x: int) -> int:
    """Raises for odd items."""
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x


@env.task
def sync_parent(n: int) -> list[int]:
    """Maps from sync code."""
    return list(flyte.map(square, range(n)))


@env.task
def sync_parent_of_async(n: int) -> list[int]:
    """Maps an async task from sync code."""
    return list(flyte.map(slow_square, range(n)))


@env.task
async def async_parent(n: int) -> list[int]:
    """Maps from asynchronous code."""
    return [x async for x in flyte.map.aio(slow_square, range(n))]


@env.task
async def blocking_parent(n: int) -> list[int]:
    """Maps with the blocking form from asynchronous code."""
    return [*flyte.map(slow_square, range(n)), *flyte.map(square, range(n))]


@pytest.mark.parametrize("parent", [sync_parent, sync_parent_of_async, async_parent])
def test_results_come_in_the_order_of_the_items(parent):
    """However the parent maps and whichever call ends first, results are in the order of the items."""
    assert run_local(parent, 5).outputs()[0] == [0, 1, 4, 9, 16]


def test_the_blocking_form_works_in_asynchronous_code():
    """`flyte.map` in an async task blocks it, and gives the same results."""
    assert run_local(blocking_parent, 3).outputs()[0] == [0, 1, 4, 0, 1, 4]


def test_outside_a_task_the_calls_are_plain_function_calls():
    """Without a run there are no actions, for sync and async tasks alike."""
    assert list(flyte.map(square, range(4))) == [0, 1, 4, 9]
    assert list(flyte.map(slow_square, range(4))) == [0, 1, 4, 9]


async def test_outside_a_task_the_asynchronous_form_works_too():
    """`flyte.map.aio` outside a run calls the functions."""
    assert [x async for x in flyte.map.aio(slow_square, range(4))] == [0, 1, 4, 9]
    assert [x async for x in flyte.map.aio(square, range(4))] == [0, 1, 4, 9]


def test_iterables_are_zipped():
    """Each call gets one item of each iterable; the shortest ends it, and defaults fill the rest."""
    assert list(flyte.map(scaled, [1, 2, 3], [10, 100])) == [10, 200]
    assert list(flyte.map(scaled, [1, 2], [10, 100], [5, 6])) == [15, 206]


def test_a_partial_leaves_its_first_parameter_to_the_items():
    """What is the same for all calls is bound by `functools.partial`."""
    assert list(flyte.map(functools.partial(scaled, factor=3, offset=1), range(3))) == [1, 4, 7]


async def asynchronous():
    """One item."""
    yield 1


@pytest.mark.parametrize(
    ("func", "iterables", "message"),
    [
        (len, [[1]], "needs a task"),
        (functools.partial(len), [[1]], "needs a task"),
        (square, [], "at least one iterable"),
        (square, [[1], [2]], "takes 1 values"),
        (square, [5], r"flyte\.map\(.*square\): 5 is not iterable: pass a list"),
        (functools.partial(scaled, factor=1, offset=1), [None], "None is not iterable"),
        (square, [asynchronous()], "is asynchronous: collect its items first"),
        (scaled, [[1]], "also needs factor"),
        (functools.partial(scaled, 1), [[1]], "bind the others by keyword"),
        (functools.partial(scaled, factor=2), [[1]], "must leave exactly the first parameter open"),
        (functools.partial(scaled, x=1, offset=2), [[1]], "must leave exactly the first parameter open"),
        (functools.partial(scaled, factor=1, offset=1, other=2), [[1]], "no parameter 'other'"),
    ],
)
def test_what_cannot_be_mapped_is_refused_at_the_call(func, iterables, message):
    """A wrong function or number of iterables is a TypeError before anything is called."""
    for form in (flyte.map, flyte.map.aio):
        with pytest.raises(TypeError, match=message):
            form(func, *iterables)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"concurrency": -1}, ValueError), ({"concurrency": 1.5}, TypeError), ({"group_name": 3}, TypeError)],
)
def test_wrong_options_are_refused_at_the_call(options, error):
    """Options of a wrong type or value are named."""
    with pytest.raises(error, match=next(iter(options))):
        flyte.map(square, [1], **options)


@env.task
async def tolerant() -> list[str]:
    """Keeps what was raised."""
    results = [x async for x in flyte.map.aio(odd_fails, range(4))]
    return [
        f"{type(x).__name__} {x.code}" if isinstance(x, flyte.errors.RuntimeUserError) else str(x)
        for x in results
    ]


@env.task
async def strict() -> list[int]:
    """Stops at the first error."""
    return [x async for x in flyte.map.aio(odd_fails, range(4), return_exceptions=False)]


def test_exceptions_take_the_place_of_results():
    """By default what a call raised is yielded where its result would be."""
    expected = ["0", "RuntimeUserError ValueError", "2", "RuntimeUserError ValueError"]
    assert run_local(tolerant).outputs()[0] == expected


def test_the_first_exception_is_raised_when_asked_for():
    """With return_exceptions=False the first error, in the order of the items, is the caller's."""
    with pytest.raises(flyte.errors.RuntimeUserError, match="1 is odd"):
        run_local(strict).outputs()


@env.task
async def at_most(n: int, limit: int) -> int:
    """Gives the highest number of calls at the same time."""
    return max([x async for x in flyte.map.aio(count_running, range(n), concurrency=limit)])


@env.task
async def count_running(x: int) -> int:
    """Gives how many of its kind run."""
    running.add(x)
    most = 0
    for _ in range(5):
        most = max(most, len(running))
        await asyncio.sleep(0)
    running.remove(x)
    return most


@pytest.mark.parametrize("limit", [1, 3])
def test_concurrency_limits_what_runs_at_the_same_time(limit):
    """No more calls run at once than allowed, and as many as that do."""
    assert run_local(at_most, 12, limit).outputs()[0] == limit


async def test_endless_items_are_taken_one_by_one_with_a_limit():
    """With a limit, items are drawn only as calls end, so that an endless iterable can be mapped."""
    results = flyte.map.aio(slow_square, itertools.count(), concurrency=2)
    assert [await results.__anext__() for _ in range(4)] == [0, 1, 4, 9]
    await results.aclose()
    assert len(started) <= 6


async def test_closing_the_iterator_cancels_what_has_not_ended():
    """Who stops listening stops the calls."""
    cancelled = []
    hang = asyncio.Event()

    @env.task
    async def wait(x: int) -> int:
        """Ends at once, or never."""
        try:
            if x:
                await hang.wait()
        except asyncio.CancelledError:
            cancelled.append(x)
            raise
        return x

    results = flyte.map.aio(wait, range(3))
    assert await results.__anext__() == 0
    await results.aclose()
    assert cancelled == [1, 2]


def test_calls_are_shown_in_a_group_of_the_task():
    """The group is named after the task and `group_name`."""

    @env.task(short_name="short")
    def name_of_group(x: int) -> str:
        """Tells its action's group."""
        return ""

    @env.task
    def parent() -> None:
        """Maps twice."""
        list(flyte.map(square, [1]))
        list(flyte.map(name_of_group, [1], group_name="second"))

    run = run_local(parent)
    assert [action.group for action in run._state.actions[1:]] == ["square_map", "short_second"]


def test_sync_tasks_run_one_after_the_other_in_local_mode_and_it_says_so(caplog):
    """Threads of the user's own code would be a surprise on one's own machine."""
    with caplog.at_level(logging.WARNING, logger="flyte"):
        logging.getLogger("flyte").propagate = True
        run_local(sync_parent, 3)
    assert "one call after the other in local mode" in caplog.text
    assert started == [0, 1, 2]

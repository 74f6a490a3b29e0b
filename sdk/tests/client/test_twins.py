"""Blocking functions with twins to await."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import traceback

import pytest

from flyte._client._loop import LOOP
from flyte._client._twins import twin, twin_iterator, twin_method
from flyte.errors import OnlyAsyncIOSupportedError, RuntimeUserError

word = contextvars.ContextVar("word", default="")


@twin
async def double(x: int) -> int:
    """Doubles."""
    await asyncio.sleep(0)
    if x < 0:
        raise ValueError(f"{x} is negative")
    return 2 * x


@twin_iterator
async def count(n: int):
    """Counts."""
    for number in range(n):
        await asyncio.sleep(0)
        yield number


class Counter:
    def __init__(self) -> None:
        self.value = 0

    @twin_method
    async def add(self, n: int = 1) -> int:
        """Adds."""
        self.value += n
        return self.value


def test_call_blocks_and_returns():
    """A plain call returns the coroutine's result."""
    assert double(21) == 42


async def test_aio_is_awaited():
    """The twin is awaited, also while a loop runs."""
    assert await double.aio(21) == 42


def test_aio_is_for_asyncio_only():
    """Awaited where no loop of asyncio runs, as in trio, a twin says so and leaves nothing behind."""
    for awaited in (double.aio(1), count.aio(3).__anext__()):
        with pytest.raises(OnlyAsyncIOSupportedError, match="no event loop of asyncio runs: call it without"):
            awaited.send(None)


async def test_plain_call_works_inside_a_running_loop():
    """A plain call does not mind a loop that runs in its thread, such as a notebook's."""
    assert double(4) == 8


def test_errors_arrive_as_they_are():
    """What the coroutine raises is raised."""
    with pytest.raises(ValueError, match="-1 is negative"):
        double(-1)


def test_tracebacks_of_user_code_have_no_frame_of_ours():
    """From the line that called to the line that failed; the exception is the same one."""
    error = RuntimeUserError("ValueError", "no")

    async def inner():
        raise error

    with pytest.raises(RuntimeUserError) as caught:
        twin(inner)()
    assert caught.value is error
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names == ["test_tracebacks_of_user_code_have_no_frame_of_ours", "inner"]


async def test_errors_arrive_in_the_twin():
    """What the coroutine raises is raised where it is awaited."""
    with pytest.raises(ValueError, match="-1 is negative"):
        await double.aio(-1)


def test_method_is_bound():
    """A method gets its object, and keeps its name and docstring."""
    counter = Counter()
    assert (counter.add(), counter.add(n=2)) == (1, 3)
    assert counter.add.__name__ == "add"
    assert Counter.add.__doc__ == "Adds."


def test_iterates_blockingly():
    """A generator is iterated without a loop."""
    assert list(count(3)) == [0, 1, 2]


async def test_iterates_asynchronously():
    """A generator's twin is an asynchronous iterator."""
    assert [number async for number in count.aio(3)] == [0, 1, 2]


def test_iteration_that_stops_early_closes_the_generator():
    """Leaving a loop runs the generator's cleanup."""
    closed = threading.Event()

    @twin_iterator
    async def endless():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    iterator = endless()
    next(iterator)
    iterator.close()
    assert closed.is_set()


async def test_the_callers_loop_is_not_blocked():
    """While a twin waits, the caller's loop goes on."""
    release = threading.Event()

    @twin
    async def wait() -> str:
        await asyncio.to_thread(release.wait, 30)
        return "done"

    waiting = asyncio.ensure_future(wait.aio())
    await asyncio.sleep(0)
    release.set()  # only reached because the loop goes on
    assert await waiting == "done"


async def test_cancelling_the_twin_cancels_the_work():
    """Cancellation reaches the coroutine on the SDK's thread."""
    started, cancelled = threading.Event(), threading.Event()

    @twin
    async def forever() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = asyncio.ensure_future(forever.aio())
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(cancelled.wait, 10)


def test_context_variables_are_seen():
    """The coroutine sees the caller's context variables."""

    @twin
    async def read() -> str:
        return word.get()

    token = word.set("hello")
    try:
        assert read() == "hello"
    finally:
        word.reset(token)


def test_blocking_on_the_sdks_own_thread_is_refused():
    """A blocking call that would wait for itself is an error instead of a deadlock."""

    @twin
    async def wrong() -> int:
        return double(1)

    with pytest.raises(RuntimeError, match=r"await its \.aio twin"):
        wrong()
    assert not LOOP.is_current()

"""Traces, conditions, sleeps and checkpoints, in local mode."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import flyte
from flyte import errors
from flyte._client._loop import LOOP
from flyte._local import LocalAction, LocalRun, run_local, start_local_run
from flyte._local._state import RunState
from flyte._local._steps import begin_pause, wait_sync
from flyte._step import Step
from flyte._types import Interface
from flyte.models import ActionPhase

env = flyte.TaskEnvironment(name="durable")
calls: list[str] = []


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of runs go to a directory of the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    calls.clear()


@flyte.trace
async def search(query: str, limit: int = 2) -> list[str]:
    """Finds things."""
    calls.append(f"search {query}")
    return [query] * limit


@flyte.trace
def measure(text: str) -> int:
    """Tells the length."""
    calls.append(f"measure {text}")
    return len(text)


@flyte.trace
async def tokens(count: int) -> AsyncIterator[int]:
    """Yields numbers."""
    for number in range(count):
        calls.append(f"token {number}")
        yield number


@flyte.trace
def rows(count: int) -> Iterator[str]:
    """Yields texts."""
    for number in range(count):
        calls.append(f"row {number}")
        yield str(number)


@flyte.trace
async def breaks(attempt: int) -> str:
    """Fails in the first attempt."""
    calls.append("breaks")
    if flyte.ctx().attempt_number == 0:
        raise ValueError("not yet")
    return "done"


@env.task
def helper(x: int) -> int:
    """A task."""
    return x


def actions(run: LocalRun) -> list[tuple[str, str, str]]:
    """Kind, name and phase of what the root action did."""
    return [(each.kind, each.short_name, each.phase.value) for each in run.actions[1:]]


def test_outside_a_task_a_trace_is_the_plain_function() -> None:
    """Nothing is recorded, values of any type pass, and the function's kind is kept."""
    assert asyncio.run(search("a")) == ["a", "a"]
    assert measure("abc") == 3
    assert list(rows(2)) == ["0", "1"]

    async def collect() -> list[int]:
        return [number async for number in tokens(2)]

    assert asyncio.run(collect()) == [0, 1]
    assert inspect.iscoroutinefunction(search)
    assert search.__doc__ == "Finds things."


@env.task(retries=1)
async def uses_all() -> list[str]:
    """Uses every kind of trace, and fails once."""
    with flyte.group("steps"):
        found = await asyncio.gather(search("a"), search("a"), search("b", limit=1))
    lengths = [measure("x"), await asyncio.to_thread(measure, "yy")]
    numbers = [number async for number in tokens(2)]
    listed = list(rows(2))
    moment = flyte.durable.time()
    if flyte.ctx().attempt_number == 0:
        calls.append(repr(moment))
        raise ValueError("again")
    return [repr(found), repr(lengths), repr(numbers), repr(listed), repr(moment)]


def test_what_was_recorded_is_replayed_for_a_retry() -> None:
    """Every kind of function runs once; the second attempt gets the same values, the time included."""
    run = run_local(uses_all)
    result = run.result()
    moment = calls.pop()
    assert result == ["[['a', 'a'], ['a', 'a'], ['b']]", "[1, 2]", "[0, 1]", "['0', '1']", moment]
    assert sorted(calls) == sorted(
        [
            "search a",
            "search a",
            "search b",
            "measure x",
            "measure yy",
            "token 0",
            "token 1",
            "row 0",
            "row 1",
        ]
    )
    first = run.actions[1]
    assert (first.kind, first.task_name, first.group) == ("trace", f"{__name__}.search", "steps")
    assert first.inputs() == {"query": "a", "limit": 2}
    assert first.outputs().o0 == ["a", "a"]
    assert {phase for _, _, phase in actions(run)} == {"succeeded"}


@env.task(retries=1)
async def goes_on() -> str:
    """Passes a failure on."""
    return await breaks(1)


def test_a_trace_that_failed_is_shown_and_runs_again() -> None:
    """The failure is a child's, with its code; the next attempt makes the call anew."""
    run = run_local(goes_on)
    assert run.result() == "done"
    assert calls == ["breaks", "breaks"]
    assert actions(run) == [("trace", "breaks", "failed"), ("trace", "breaks", "succeeded")]
    assert run.actions[1].error is not None
    assert run.actions[1].error.code == "ValueError"


@env.task
async def leaves_early() -> list[int]:
    """Ends streams and calls before they end."""
    async for number in tokens(5):
        if number == 1:
            break
    for text in rows(5):
        if text == "2":
            break
    began = asyncio.Event()
    call = asyncio.create_task(slow(began))
    await began.wait()
    call.cancel()
    await asyncio.wait([call])
    return [len(calls)]


async def slow(began: asyncio.Event) -> None:
    """Takes long."""

    @flyte.trace
    async def slow() -> None:
        began.set()
        await asyncio.sleep(600)

    await slow()


def test_a_stream_that_is_left_and_a_cancelled_call_are_no_success() -> None:
    """They are recorded as aborted; items had passed through at once."""
    run = run_local(leaves_early)
    assert run.result() == [5]
    assert actions(run)[1:] == [("trace", "rows", "aborted"), ("trace", "slow", "aborted")]
    assert actions(run)[0][2] in {"aborted", "running"}, (
        "the loop closes an asynchronous stream when it likes to"
    )
    assert run.actions[1].phase.is_terminal, "but at the end of its task at the latest"


@flyte.trace
async def calls_a_task(x: int) -> int:
    """Calls a task, which it may not."""
    return await helper.aio(x)


@flyte.trace
def calls_a_task_sync(x: int) -> int:
    """As `calls_a_task`."""
    return helper(x)


@env.task
async def nests() -> list[str]:
    """Calls traces that call tasks."""
    found = []
    for call in (calls_a_task(1), asyncio.to_thread(calls_a_task_sync, 1)):
        with pytest.raises(
            errors.TraceDoesNotAllowNestedTasksError, match=r"durable.helper is a task"
        ) as caught:
            await call
        found.append(type(caught.value).__name__)
    return found


def test_a_task_cannot_be_called_inside_a_trace() -> None:
    """The error says which task, and what to do."""
    assert run_local(nests).result() == ["TraceDoesNotAllowNestedTasksError"] * 2


def test_functions_that_cannot_be_traced_are_refused() -> None:
    """Variable arguments and tasks are refused when decorated, wrong annotations when first called in a task."""
    with pytest.raises(ValueError, match="name every input"):

        @flyte.trace
        def stars(*numbers: int) -> int:
            return 0

    with pytest.raises(TypeError, match="decorates a function"):
        flyte.trace(helper)  # type: ignore[arg-type]

    @flyte.trace
    def returns() -> Generator[int, None, str]:
        yield 1
        return "lost"

    @env.task
    def streams() -> list[int]:
        return list(returns())

    with pytest.raises(errors.RuntimeUserError, match="yield it instead"):
        run_local(streams).result()


@dataclass
class Verdict:
    """What a person says."""

    ok: bool
    words: str = ""


@env.task(retries=1)
async def asks(timeout: float) -> Verdict:
    """Asks, and fails once after the answer."""
    verdict = await flyte.condition.aio("review", Verdict, prompt="Fine?", timeout=timeout or None)
    if flyte.ctx().attempt_number == 0:
        raise ValueError("after the answer")
    return verdict


def waiting(run: LocalRun) -> None:
    """Waits until a condition of the run waits."""
    end = time.monotonic() + 30
    while not any(action.phase is ActionPhase.PAUSED for action in run.actions):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_condition_pauses_until_it_is_signalled_once() -> None:
    """Values of a wrong type and further signals are refused; a retry gets the answer that there was."""
    run = LOOP.run(start_local_run(asks, (), {"timeout": 0}, wait=False))
    waiting(run)
    with pytest.raises(errors.RuntimeDataValidationError):
        run.signal("perhaps")
    with pytest.raises(errors.RuntimeUserError, match="'other'"):
        run.signal(Verdict(ok=True), "other")
    run.signal(Verdict(ok=True, words="good"), "review")
    assert run.result() == Verdict(ok=True, words="good")
    with pytest.raises(errors.RuntimeUserError, match="no condition"):
        run.signal(Verdict(ok=False))
    assert actions(run) == [("condition", "review", "succeeded")]


def test_a_condition_that_nobody_answers_times_out() -> None:
    """The task gets `TaskTimeoutError`, of which every attempt gets one."""
    run = run_local(asks, timeout=0.05)
    with pytest.raises(errors.TaskTimeoutError, match="nobody signalled 'review'"):
        run.result()
    assert actions(run) == [("condition", "review", "timed_out")] * 2


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: flyte.condition("x"), errors.NotInTaskContextError, "none is running"),
        (lambda: flyte.condition(""), ValueError, "1 to 100 printable characters"),
        (lambda: flyte.condition("x", timeout=0), ValueError, "more than 0 seconds"),
        (lambda: flyte.condition("x", timeout=-1), ValueError, "timeout must be 0 seconds to"),
        (lambda: flyte.durable.sleep("1"), TypeError, "number of seconds or a timedelta"),  # type: ignore[arg-type]
        (lambda: flyte.durable.sleep(-1), ValueError, "seconds must be 0 seconds to"),
    ],
)
def test_wrong_arguments_are_named(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    """Each error names the argument and what it may be."""
    with pytest.raises(error, match=message):
        make()


def test_a_condition_needs_a_type_that_people_can_write() -> None:
    """A class that would be pickled is refused by name, before anybody waits for its value."""

    class Opaque: ...

    @env.task
    async def asks() -> None:
        await flyte.condition.aio("x", Opaque)

    run = run_local(asks)
    assert run.status is ActionPhase.FAILED
    with pytest.raises(errors.RuntimeUserError, match=r"condition 'x' cannot be of type .*Opaque"):
        run.result()


def test_outside_a_task_time_is_the_clocks() -> None:
    """Sleeping sleeps, and the time is the time."""
    flyte.durable.sleep(timedelta(milliseconds=1))
    asyncio.run(flyte.durable.sleep.aio(0.001))
    assert abs(flyte.durable.time() - time.time()) < 5
    assert abs(flyte.durable.now() - datetime.now(timezone.utc)) < timedelta(seconds=5)
    assert asyncio.run(flyte.durable.now.aio()).tzinfo is timezone.utc


@env.task(retries=1)
async def sleeps() -> None:
    """Fails once in the middle of a sleep."""
    sleep = asyncio.create_task(flyte.durable.sleep.aio(0.2))
    if flyte.ctx().attempt_number == 0:
        assert await asyncio.to_thread(may_fail.wait, 60)
        raise ValueError("in the middle of the sleep")
    await sleep


may_fail = threading.Event()


def test_a_retry_sleeps_for_what_is_left() -> None:
    """The sleep goes on while its task fails and is tried again: it ends as if there had been one attempt."""
    may_fail.clear()
    run = LOOP.run(start_local_run(sleeps, (), {}, wait=False))
    end = time.monotonic() + 30
    while len(run.actions) < 2 or run.actions[1].start_time is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    may_fail.set()
    run.result()
    assert actions(run) == [("sleep", "sleep", "succeeded")]
    first, second = run.action.attempt_list
    slept_until = run.actions[1].wait_until
    assert slept_until is not None
    assert first.start_time < slept_until - timedelta(seconds=0.2) < second.start_time


@env.task
async def forgets() -> int:
    """Cancels pauses, and forgets one."""
    for pause in (flyte.durable.sleep.aio(600), flyte.condition.aio("never")):
        task = asyncio.create_task(pause)
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
    thread = threading.Thread(target=lambda: None)
    thread.start()
    asyncio.create_task(flyte.durable.sleep.aio(600))  # noqa: RUF006 - nobody waits for it
    await asyncio.sleep(0.01)
    return 1


def test_cancelled_and_forgotten_pauses_are_aborted() -> None:
    """A cancelled pause ends at once, one that nobody waits for with its task."""
    run = run_local(forgets)
    assert run.result() == 1
    assert {phase for _, _, phase in actions(run)} == {"aborted"}


@pytest.fixture
def condition() -> LocalAction:
    """A condition that waits, of a run that nothing carries out."""
    interface = Interface.from_function(answer)
    step = Step("condition", "review", "review", lambda: interface, ("", ""))
    action = LocalAction(RunState.create("torn", {}), "c", asks, b"{}", step=step)
    begin_pause(action, None)
    return action


def answer() -> int:
    """What the condition is answered with."""
    return 0


def elsewhere(call: Callable[[], Any]) -> None:
    """Makes a call in another thread, to its end."""
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def test_a_value_that_comes_with_the_time_limit_counts_once(condition: LocalAction) -> None:
    """Signalled when its waiter has just found that the time is over, a condition ends once, with the value."""

    class Now(datetime):
        def __le__(self, other: datetime) -> bool:
            if not condition.done():
                elsewhere(lambda: condition.signal_text("7"))
            return super().__le__(other)

    condition.wait_until = Now.fromtimestamp(1, timezone.utc)
    assert condition.interface.load_outputs(wait_sync(condition)) == 7
    assert (condition.phase, condition.failure) == (ActionPhase.SUCCEEDED, None)


def test_who_sees_the_end_sees_the_outcome(condition: LocalAction) -> None:
    """Another thread that finds a condition ended, however early, finds the value that it ended with."""
    seen = []

    class Watched:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __enter__(self) -> None:
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()
            elsewhere(lambda: seen.append(condition.outputs_document) if condition.done() else None)

    condition.state.lock = Watched()  # type: ignore[assignment]  # tells when something has been decided
    condition.signal_text("7")
    assert seen == [condition.outputs_document]
    assert seen != [None]


@pytest.mark.parametrize("first", ["succeed", "abort"])
def test_of_two_threads_that_end_an_action_the_first_counts(condition: LocalAction, first: str) -> None:
    """A second end in the middle of a first one changes nothing and raises nothing, nor does a late beginning."""
    ends = {"succeed": lambda: condition.succeed(b"{}"), "abort": condition.abort}
    outcomes = []

    def interfere(_: LocalAction) -> None:
        condition.state.listeners.clear()
        outcomes.append((condition.phase, condition.outputs_document, condition.failure, condition.end_time))
        elsewhere(ends["abort" if first == "succeed" else "succeed"])
        elsewhere(condition.begin_step)

    condition.state.listeners.append(interfere)
    ends[first]()
    assert condition.ended.done()
    assert outcomes == [(condition.phase, condition.outputs_document, condition.failure, condition.end_time)]


@env.task(retries=2)
def saves(directory: Path) -> list[str]:
    """Saves bytes, then a directory."""
    checkpoint, attempt = flyte.ctx().checkpoint, flyte.ctx().attempt_number
    if attempt == 0:
        assert checkpoint.load_sync() is None
        checkpoint.save_sync(b"one")
        checkpoint.save_sync(b"two")
    elif attempt == 1:
        assert checkpoint.load_sync() == b"two"
        (directory / "state").mkdir()
        (directory / "state" / "a.txt").write_text("A")
        checkpoint.save_sync(directory / "state")
    else:
        restored = checkpoint.load_sync(directory / "restored")
        assert restored == directory / "restored"
        with pytest.raises(errors.RuntimeUserError, match="say where to put it"):
            checkpoint.load_sync()
        with pytest.raises(FileNotFoundError, match="encode text"):
            checkpoint.save_sync("some text")
        return [path.read_text() for path in restored.iterdir()]
    raise ValueError("again")


def test_a_checkpoint_survives_attempts(tmp_path: Path) -> None:
    """Bytes and directories come back as they were saved last."""
    assert run_local(saves, directory=tmp_path).result() == ["A"]

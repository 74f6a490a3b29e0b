"""Local mode: retries, time limits, cancelled calls, aborted runs."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import flyte
from flyte._local import LocalRun, run_local, start_local_run
from flyte.models import ActionPhase

env = flyte.TaskEnvironment("local_attempts")
calls: list[object] = []


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    """Records of runs go to a directory of the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    calls.clear()


@env.task
def double(x: int) -> int:
    """Blocks."""
    return 2 * x


@env.task
def fails(text: str) -> int:
    """Raises."""
    raise ValueError(text)


def test_retries_run_a_failed_task_again():
    """N retries are N+1 attempts; the attempt knows its number."""

    @env.task(retries=2)
    def third_time(x: int) -> int:
        attempt = flyte.ctx().attempt_number
        assert os.environ["FLYTE_ATTEMPT_NUMBER"] == str(attempt)
        if attempt < 2:
            raise RuntimeError("not yet")
        return attempt

    run = run_local(third_time, 1)
    assert (run.result(), run.action.attempts) == (2, 3)
    failing = run_local(fails.override(retries=3), "no")
    assert (failing.action.attempts, failing.status) == (4, ActionPhase.FAILED)


def test_some_errors_are_final():
    """`NonRecoverableError` uses no retry."""

    @env.task(retries=5)
    async def hopeless() -> int:
        raise flyte.errors.NonRecoverableError("the table is empty")

    run = run_local(hopeless)
    assert run.action.attempts == 1
    with pytest.raises(flyte.errors.NonRecoverableError, match="the table is empty"):
        run.result()


def test_a_retried_parent_repeats_no_child_that_succeeded():
    """Failed children run again, under a name of their own."""

    @env.task
    def counted(x: int) -> int:
        calls.append(x)
        if x == 2 and calls.count(2) == 1:
            raise ValueError("once")
        return x

    @env.task(retries=1)
    def parent() -> int:
        return counted(1) + counted(1) + counted(2)

    run = run_local(parent)
    assert run.result() == 4
    assert calls == [1, 1, 2, 2]
    names = [a.name for a in run.actions[1:]]
    assert len(set(names)) == 4
    assert names[3] == f"{names[2]}-2"


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_time_limit_ends_an_attempt(asynchronous):
    """The action times out; its parent can catch that; retries count."""

    async def waits(x: int) -> int:
        await asyncio.Event().wait()
        return x

    def spins(x: int) -> int:
        while True:
            time.sleep(0.001)

    task = env.task(waits if asynchronous else spins).override(timeout=0.05, retries=1)
    run = run_local(task, 1)
    assert (run.status, run.action.attempts) == (ActionPhase.TIMED_OUT, 2)
    with pytest.raises(flyte.errors.TaskTimeoutError, match=r"ran longer than its time limit of 0.05 s"):
        run.result()

    @env.task
    def parent() -> str:
        try:
            return str(asyncio.run(task.aio(2)))
        except flyte.errors.TaskTimeoutError:
            return "late"

    assert run_local(parent).result() == "late"


def test_a_result_that_comes_after_the_time_limit_is_none():
    """What blocks the event loop cannot be ended, and times out all the same."""

    @env.task(timeout=0.05)
    async def blocks() -> int:
        time.sleep(0.1)  # noqa: ASYNC251 - what it should not do
        return 1

    assert run_local(blocks).status is ActionPhase.TIMED_OUT


def test_a_sync_child_with_a_time_limit_is_called_from_a_sync_parent():
    """The parent blocks until the child has ended or is late."""

    @env.task
    def parent() -> int:
        return double.override(timeout=30)(4)

    assert run_local(parent).result() == 8


def test_cancelling_a_call_aborts_the_child():
    """The child sees the cancellation; its action is aborted."""
    started = asyncio.Event()

    @env.task
    async def endless() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            calls.append("cancelled")
            raise

    @env.task
    async def parent() -> str:
        call = asyncio.create_task(endless())
        await started.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        return "went on"

    run = run_local(parent)
    assert (run.result(), calls) == ("went on", ["cancelled"])
    assert run.actions[1].phase is ActionPhase.ABORTED


def test_what_still_runs_when_the_root_ends_is_aborted():
    """Nothing outlives its run."""
    started = asyncio.Event()

    @env.task
    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    @env.task
    async def forgetful() -> int:
        forgetful.func.call = asyncio.create_task(endless())  # type: ignore[attr-defined]
        await started.wait()
        return 1

    run = run_local(forgetful)
    assert run.result() == 1
    assert [a.phase for a in run.actions] == [ActionPhase.SUCCEEDED, ActionPhase.ABORTED]


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_run_can_be_aborted(asynchronous):
    """Async tasks are cancelled, sync ones interrupted; the reason is kept."""

    async def waits() -> None:
        await asyncio.Event().wait()

    def spins() -> None:
        while True:
            time.sleep(0.001)

    async def main() -> LocalRun:
        run = await start_local_run(env.task(waits if asynchronous else spins), (), {}, wait=False)
        await run.wait.aio(quiet=True, wait_for="running")
        assert run.status is ActionPhase.RUNNING
        assert await run.abort.aio("changed my mind")
        await run.wait.aio(quiet=True)
        return run

    run = asyncio.run(main())
    assert run.status is ActionPhase.ABORTED
    with pytest.raises(flyte.errors.ActionAbortedError, match="changed my mind"):
        run.result()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_waiting_for_who_computes_the_same_counts_as_queued(asynchronous, tmp_path, monkeypatch):
    """A call that waits for another one's result longer than `max_queued_time` is timed out, and runs nothing."""
    monkeypatch.setenv("HOME", str(tmp_path))
    entered, release = threading.Event(), threading.Event()
    own = flyte.TaskEnvironment(
        "impatient", cache=flyte.Cache("override", version_override="1", serialize=True)
    )

    def compute(x: int) -> int:
        calls.append(x)
        entered.set()
        release.wait(30)
        return x

    async def compute_async(x: int) -> int:
        return compute(x)

    task = own.task(compute_async if asynchronous else compute)
    impatient = task.override(timeout=flyte.Timeout(max_queued_time=0.05))
    with ThreadPoolExecutor() as pool:
        computing = pool.submit(run_local, task, 1)
        assert entered.wait(30)
        waiting = run_local(impatient, 1)
        release.set()
        assert computing.result().result() == 1
    assert waiting.phase is ActionPhase.TIMED_OUT
    assert isinstance(waiting.error, flyte.errors.TaskTimeoutError)
    assert "waited longer than its limit of 0.05 s" in str(waiting.error)
    assert calls == [1]

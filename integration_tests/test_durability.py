"""Traces, conditions, sleeps and checkpoints: what a task has done it does not do again, whatever is killed."""

import json
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from integration_tests.api import phase_of
from integration_tests.backend import BIN
from integration_tests.polling import until

PROGRAM = """
    import asyncio
    import os
    from collections.abc import AsyncIterator, Iterator

    from notes import exists, note, worker

    import flyte

    pool = flyte.TaskEnvironment(
        name="pool", resources=flyte.Resources(cpu=1, memory="256Mi"),
        reusable=flyte.ReusePolicy(replicas=1, concurrency=4),
    )
    env = flyte.TaskEnvironment(
        name="durable", resources=flyte.Resources(cpu="500m", memory="256Mi"), depends_on=[pool]
    )

    @pool.task
    async def child(path: str, number: int) -> int:
        note(path, f"child-{number}")
        return number

    @flyte.trace
    async def step(path: str, number: int) -> int:
        note(path, f"step-{number}")
        return number * number

    @flyte.trace
    def plain(path: str, number: int) -> int:
        note(path, f"plain-{number}")
        return number + 1

    @flyte.trace
    async def stream(path: str, count: int) -> AsyncIterator[int]:
        for number in range(count):
            note(path, f"stream-{number}")
            yield number

    @flyte.trace
    def items(path: str, count: int) -> Iterator[str]:
        for number in range(count):
            note(path, f"items-{number}")
            yield str(number)

    @flyte.trace
    async def long(path: str, text: str) -> str:
        note(path, "long")
        return text * 2

    @flyte.trace
    async def fails_once(path: str, attempt_before: bool) -> str:
        note(path, "fails-once")
        if flyte.ctx().attempt_number == 0:
            raise ValueError("not yet")
        return "done"

    @env.task(retries=2)
    async def survives(path: str, kind: str) -> list[str]:
        '''Its first attempt ends its own process after all of its steps; the second one has to say the same.'''
        note(path + ".attempts", worker())
        with flyte.group("steps"):
            squares = await asyncio.gather(*(step(path, number) for number in range(20)))
        threads = await asyncio.gather(*(asyncio.to_thread(plain, path, number) for number in range(5)))
        streamed = [number async for number in stream(path, 3)]
        listed = list(items(path, 2))
        children = await asyncio.gather(*(child(path, number) for number in range(3)))
        assert await long(path, "x" * 70_000) == "x" * 140_000
        moment = await flyte.durable.time.aio()
        note(path + ".moments", repr(moment))
        saved = await flyte.ctx().checkpoint.load()
        if saved is None:
            await flyte.ctx().checkpoint.save(b"first")
        try:
            last = await fails_once(path, True)
        except ValueError:
            note(path + ".ready", "ready")
            if kind == "exit":
                os._exit(3)
            if kind == "raise":
                raise
            await asyncio.sleep(600)
        return [repr((squares, threads, streamed, listed, children)), repr(moment), saved.decode(), last]

    @env.task
    async def pauses(path: str) -> str:
        '''Steps, then a sleep and a condition, with gates between for kills.'''
        note(path + ".attempts", worker())
        before = [await step(path, number) for number in range(10)]
        note(path + ".stepped", "stepped")
        _, answer = await asyncio.gather(
            flyte.durable.sleep.aio(3), flyte.condition.aio("approve", str, prompt="Go on?")
        )
        after = [await step(path, number) for number in range(10, 15)]
        return f"{answer} {sum(before) + sum(after)}"

    @env.task
    async def asks(timeout: float) -> bool:
        return await flyte.condition.aio("ship it", prompt="Ship it?", timeout=timeout or None)

    @env.task
    async def cancels() -> list[str]:
        '''What is cancelled here ends at once, and the task goes on.'''
        ended = []
        for pause in (flyte.durable.sleep.aio(600), flyte.condition.aio("never")):
            try:
                async with asyncio.timeout(0.5):
                    await pause
            except TimeoutError:
                ended.append("timeout")
        return ended
"""

EACH_ONCE = Counter(
    [f"step-{number}" for number in range(20)]
    + [f"plain-{number}" for number in range(5)]
    + [f"stream-{number}" for number in range(3)]
    + [f"items-{number}" for number in range(2)]
    + [f"child-{number}" for number in range(3)]
    + ["long"]
)
RESULT = repr(([number * number for number in range(20)], [1, 2, 3, 4, 5], [0, 1, 2], ["0", "1"], [0, 1, 2]))


def lines(path: Path | str) -> list[str]:
    """Lines that tasks wrote."""
    return Path(path).read_text().splitlines() if Path(path).exists() else []


@pytest.fixture
def user_of(make_workspace):
    """Makes a user of a backend, with the program; returns it and the file that steps write to."""

    def make(backend):
        workspace = make_workspace(backend)
        workspace.share_notes()
        workspace.write("durable.py", PROGRAM)
        return workspace, workspace.directory / "lines"

    return make


def kinds(backend, run: str) -> Counter[str]:
    """How many actions of each kind a run has."""
    names = {0: "task", 1: "task", 2: "trace", 3: "condition", 4: "sleep"}
    return Counter(names[action.kind] for action in backend.api.actions(run))


@pytest.mark.parametrize("kind", ["exit", "raise", "kill"])
def test_a_task_that_is_tried_again_repeats_no_step(backend, user_of, kind):
    """After `os._exit`, an exception or the loss of its worker, a task replays its children and traces."""
    user, path = user_of(backend)
    run = user.launch("durable.py", "survives", "--path", path, "--kind", kind)
    if kind == "kill":
        until(lambda: lines(f"{path}.ready"), "the steps are done", 120)
        backend.kill_worker(lines(f"{path}.attempts")[0])
    if kind == "kill":  # not a failure of its own: the number of its attempt stays, and it raises again
        until(lambda: len(lines(f"{path}.ready")) > 1, "the second attempt is there", 120)
        user.flyte("abort", "run", run)
    else:
        result = backend.api.succeeded(run, 120)
        assert result == [RESULT, result[1], "first", "done"]
        assert lines(f"{path}.moments") == [result[1]] * 2, "time is what it was"
    seen = Counter(lines(path))
    assert seen.pop("fails-once") == 2, "what failed runs again"
    assert seen == EACH_ONCE
    assert len(lines(f"{path}.attempts")) == 2
    failed = [each for each in backend.api.children(run) if phase_of(each) == "failed"]
    assert [each.short_name for each in failed][:1] == ["fails_once"]
    assert {each.group for each in backend.api.children(run) if each.short_name == "step"} == {"steps"}


def test_kills_of_executor_and_scheduler_between_steps(make_backend, user_of):
    """With the parts killed one after the other nothing is repeated, the sleep ends, and the answer arrives."""
    backend = make_backend(apart=True)
    user, path = user_of(backend)
    began = time.monotonic()
    run = user.launch("durable.py", "pauses", "--path", path)
    until(lambda: lines(path), "the first step", 120)
    backend.kill_executor()
    backend.start()
    until(lambda: lines(f"{path}.stepped"), "all first steps", 120)
    until(lambda: kinds(backend, run)["condition"] == 1, "the condition waits", 60)
    backend.kill()
    backend.kill_executor()
    backend.start()
    paused = [action for action in backend.api.children(run) if action.HasField("wait")]
    condition = next(action for action in paused if action.wait.prompt)
    assert (phase_of(condition), condition.wait.prompt) == ("paused", "Go on?")
    assert json.loads(condition.wait.schema_json) == {"type": "string"}
    user.flyte("signal", run, "approve", "yes")
    assert backend.api.succeeded(run, 120) == f"yes {sum(number * number for number in range(15))}"
    assert time.monotonic() - began > 3, "the sleep lasted"
    assert Counter(lines(path)) == Counter(f"step-{number}" for number in range(15))
    assert len(lines(f"{path}.attempts")) == 1, "no attempt was used"
    assert kinds(backend, run) == {"task": 1, "trace": 15, "condition": 1, "sleep": 1}


def test_a_condition_is_answered_over_grpcurl_and_once(backend, user_of):
    """A value that does not fit is refused with the reason, one that fits is taken, a second one is refused."""
    user, _ = user_of(backend)
    run = user.launch("durable.py", "asks", "--timeout", 0)
    until(lambda: kinds(backend, run)["condition"], "the condition waits", 120)

    def signal(value_json: str) -> subprocess.CompletedProcess[str]:
        place = {"run": {"project": "default", "domain": "development", "name": run}}
        body = json.dumps({"id": place, "value_json": value_json})
        command = [str(BIN / "grpcurl"), "-plaintext", "-d", body, backend.grpc]
        method = "hangar.admin.v1.RunService/SignalAction"
        return subprocess.run([*command, method], capture_output=True, text=True, timeout=60, check=False)

    wrong = signal('"perhaps"')
    assert "does not fit the condition 'ship it': 'perhaps' is not of type 'boolean'" in wrong.stderr
    assert signal("true").returncode == 0
    second = signal("true")
    assert "FailedPrecondition" in second.stderr
    assert backend.api.succeeded(run, 60) is True
    refused = user.flyte("signal", run, "ship it", "true", code=2)
    assert "signalled, aborted or timed out already" in refused.err


def test_pauses_end_by_their_limit_and_by_cancellation(backend, user_of):
    """A condition that nobody answers times out in its task; cancelled sleeps and conditions are aborted."""
    user, _ = user_of(backend)
    late = user.launch("durable.py", "asks", "--timeout", 0.5)
    cancelled = user.launch("durable.py", "cancels")
    assert backend.api.succeeded(cancelled, 120) == ["timeout", "timeout"]
    assert {phase_of(child) for child in backend.api.children(cancelled)} == {"aborted"}
    failed = backend.api.wait(late, 120)
    assert failed.failure.code == "TaskTimeoutError", failed.failure
    assert [phase_of(child) for child in backend.api.children(late)] == ["timed_out"]

"""Failures, retries, time limits, memory limits and aborts, as parents and people see them."""

import json
from collections import Counter
from pathlib import Path

import pytest

from integration_tests.api import phase_of
from integration_tests.polling import until
from integration_tests.processes import lives

SCRIPT = """
    import asyncio
    import os
    import subprocess
    import sys
    import time

    from notes import exists, note, read, worker

    import flyte

    env = flyte.TaskEnvironment(name="env", resources=flyte.Resources(cpu="250m", memory="256Mi"))

    @env.task
    async def fine(path: str, name: str) -> str:
        note(path, name)
        return name

    @env.task
    async def fails_once(path: str, name: str) -> str:
        tried = read(path).count(name)
        note(path, name)
        if tried == 0:
            raise ValueError(f"{name} fails the first time")
        return name

    @env.task(retries=1)
    async def retried_parent(path: str) -> list[str]:
        note(path, "parent")
        return [await fine(path, "one"), await fails_once(path, "two"), await fine(path, "three")]

    @env.task
    async def lost_parent(path: str) -> list[str]:
        note(path, f"parent {worker()}")
        seen = [await fine(path, "one")]
        try:
            seen.append(await fails_once(path, "two"))
        except flyte.errors.RuntimeUserError as error:
            seen.append(f"{error.code}: {error.message}")
        while not exists(path + ".open"):
            await asyncio.sleep(0.05)
        return seen

    @env.task(retries=3)
    def third_time(path: str) -> int:
        note(path, str(flyte.ctx().attempt_number))
        if flyte.ctx().attempt_number < 2:
            raise RuntimeError("not yet")
        return flyte.ctx().attempt_number

    @env.task(retries=2)
    def never(path: str) -> int:
        note(path, "try")
        raise KeyError("always")

    @env.task(retries=5)
    def hopeless(path: str) -> int:
        note(path, "try")
        raise flyte.errors.NonRecoverableError("trying again cannot help")

    @env.task(timeout=1)
    def too_slow() -> int:
        time.sleep(600)
        return 1

    @env.task(timeout=1)
    async def too_slow_async() -> int:
        await asyncio.sleep(600)
        return 1

    @env.task
    def hungry(mebibytes: int) -> int:
        data = bytearray(mebibytes * 2**20)
        for place in range(0, len(data), 4096):
            data[place] = 1
        return len(data)

    @env.task
    def raises(text: str) -> int:
        raise ValueError(text)

    @env.task
    def exits(code: int) -> int:
        os._exit(code)

    @env.task
    async def careful() -> list[str]:
        seen = []
        for call in (
            lambda: raises.aio("x is negative"),
            lambda: hungry.aio(600),
            lambda: too_slow.aio(),
            lambda: too_slow_async(),
            lambda: exits.aio(3),
        ):
            try:
                await call()
            except flyte.errors.BaseRuntimeError as error:
                seen.append(f"{type(error).__name__} {error.code} {error.message}")
        seen.append(str(await hungry.override(resources=flyte.Resources(cpu="250m", memory="1Gi")).aio(600)))
        return seen

    @env.task
    def careless() -> int:
        return raises("x is negative")

    @env.task
    def sleeps(path: str) -> int:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        note(path, f"{os.getpid()} {child.pid}")
        time.sleep(600)
        return 1

    @env.task
    async def sleeps_async(path: str) -> int:
        try:
            note(path, worker())
            await asyncio.sleep(600)
        finally:
            note(path + ".cleanup", "done")
        return 1

    @env.task
    async def family(path: str) -> int:
        note(path, str(os.getpid()))
        return sum(await asyncio.gather(sleeps.aio(path), sleeps_async(path)))

    @env.task
    async def first_wins(path: str) -> str:
        slow = asyncio.create_task(sleeps_async(path))
        while not exists(path):
            await asyncio.sleep(0.05)
        quick = await fine(path + ".quick", "quick")
        slow.cancel()
        try:
            await slow
        except asyncio.CancelledError:
            return f"{quick}, the other was cancelled"
        return "not cancelled"

    @env.task
    async def watches_child(path: str) -> list[str]:
        ended = await asyncio.gather(sleeps_async(path), fine(path + ".fine", "fine"), return_exceptions=True)
        return [type(each).__name__ if isinstance(each, BaseException) else each for each in ended]

    @env.task
    async def leaves_early(path: str) -> str:
        asyncio.ensure_future(sleeps_async(path))
        while not exists(path):
            await asyncio.sleep(0.05)
        return "gone"
"""


@pytest.fixture
def user(workspace):
    """A user with the script."""
    workspace.share_notes()
    workspace.write("failing.py", SCRIPT)
    return workspace


@pytest.fixture
def notes(user):
    """The file that tasks write to."""
    return user.directory / "notes"


def lines(path: Path) -> list[str]:
    """What tasks have written."""
    return path.read_text().splitlines() if path.exists() else []


def phases(backend, run: str) -> dict[str, str]:
    """Phase of every action by its task; of several the last."""
    return {action.short_name: phase_of(action) for action in backend.api.actions(run)}


def test_a_retried_parent_repeats_only_failed_children(backend, user, notes):
    """After its own failure a parent gets recorded results, and failed children run again as actions of their own."""
    run = user.launch("failing.py", "retried_parent", "--path", notes)
    assert backend.api.succeeded(run) == ["one", "two", "three"]
    assert Counter(lines(notes)) == {"parent": 2, "one": 1, "two": 2, "three": 1}
    root, one, two, again, three = backend.api.actions(run)
    assert root.attempt_count == 2
    assert [each.short_name for each in (one, two, again, three)] == [
        "fine",
        "fails_once",
        "fails_once",
        "fine",
    ]
    assert (phase_of(two), phase_of(again)) == ("failed", "succeeded")
    assert again.id.name == f"{two.id.name}-2"


def test_a_lost_parent_sees_recorded_failures_as_they_were(backend, user, notes):
    """After its worker was killed a parent gets the same results and the same failures; no child runs again."""
    run = user.launch("failing.py", "lost_parent", "--path", notes)
    until(lambda: phases(backend, run).get("fails_once") == "failed", "the second child has failed")
    backend.kill_worker(lines(notes)[0].split()[1])
    until(lambda: sum(line.startswith("parent") for line in lines(notes)) == 2, "the parent runs again")
    Path(f"{notes}.open").touch()
    assert backend.api.succeeded(run) == ["one", "ValueError: two fails the first time"]
    assert Counter(line.split()[0] for line in lines(notes)) == {"parent": 2, "one": 1, "two": 1}
    assert [action.attempt_count for action in backend.api.actions(run)] == [2, 1, 1]


def test_retries_count_and_each_attempt_is_seen(backend, user, notes):
    """retries=3 is up to four attempts, numbered from 0, each with its own phase and failure."""
    run = user.launch("failing.py", "third_time", "--path", notes)
    assert backend.api.succeeded(run) == 2
    assert lines(notes) == ["0", "1", "2"]
    attempts = backend.api.action(run).attempts
    assert [(each.number, phase_of(each), each.failure.code) for each in attempts] == [
        (0, "failed", "RuntimeError"),
        (1, "failed", "RuntimeError"),
        (2, "succeeded", ""),
    ]
    assert len({each.span_id for each in attempts}) == 3


@pytest.mark.parametrize(
    ("task", "code", "tries"), [("never", "KeyError", 3), ("hopeless", "NonRecoverableError", 1)]
)
def test_retries_end(backend, user, notes, task, code, tries):
    """A task fails when its retries are used up, or at once with NonRecoverableError; the exit code is 1."""
    done = user.flyte("run", "failing.py", task, "--path", notes, code=1)
    assert len(lines(notes)) == tries
    assert f"Run 'a0' failed: {code}: " in done.err
    assert 'failing.py", line' in done.err, "the traceback of user code is shown"
    assert "_runtime" not in done.err, "and none of the platform's"
    assert backend.api.run(done.lines[0]).failure.code == code


def test_a_timeout_is_a_phase_and_an_exit_code_of_its_own(backend, user):
    """A task over its time limit ends as timed out, and `flyte run` ends with 4."""
    done = user.flyte("run", "failing.py", "too_slow", code=4)
    assert phase_of(backend.api.run(done.lines[0])) == "timed_out"
    assert "timed out" in done.err


def test_failures_of_children_arrive_as_documented(backend, user):
    """A child's exception, memory breach, timeout and exit arrive typed; the parent goes on with more memory."""
    run = user.launch("failing.py", "careful")
    raised, oom, slow, slow_async, exited, repaired = backend.api.succeeded(run)
    assert raised == "RuntimeUserError ValueError x is negative"
    assert oom.startswith("OOMError ")
    assert "memory" in oom
    assert slow.startswith("TaskTimeoutError ")
    assert slow_async.startswith("TaskTimeoutError ")
    assert exited.startswith("RuntimeUserError WorkerDied ")
    assert "code 3" in exited
    assert int(repaired) == 600 * 2**20
    found = [(each.short_name, phase_of(each)) for each in backend.api.children(run)]
    assert found == [
        ("raises", "failed"),
        ("hungry", "failed"),
        ("too_slow", "timed_out"),
        ("too_slow_async", "timed_out"),
        ("exits", "failed"),
        ("hungry", "succeeded"),
    ]
    breach = backend.api.action(run, backend.api.children(run, "hungry")[0].id.name).attempts[0]
    assert breach.peak_memory_bytes > 200 * 2**20


def test_an_uncaught_failure_of_a_child_fails_its_parent(backend, user):
    """The exception that a parent does not catch is the failure of the run; the exit code is 1."""
    done = user.flyte("run", "failing.py", "careless", code=1)
    assert "x is negative" in done.err
    assert set(phases(backend, done.lines[0]).values()) == {"failed"}


def test_abort_of_a_run_ends_everything_below_it(backend, user, notes):
    """`flyte abort` ends sync and async children with all their processes before their phase says so."""
    run = user.launch("failing.py", "family", "--path", notes)
    until(lambda: len(lines(notes)) == 3, "parent and children run")
    assert user.flyte("abort", run, "--reason", "wrong data").out == f"Run '{run}' has been aborted.\n"
    ended = backend.api.wait(run)
    assert (phase_of(ended), ended.abort_reason) == ("aborted", "wrong data")
    until(lambda: set(phases(backend, run).values()) == {"aborted"}, "all of it is aborted")
    processes = [int(pid) for line in lines(notes) for pid in line.split()]
    assert [pid for pid in processes if lives(pid)] == []
    assert lines(Path(f"{notes}.cleanup")) == ["done"], "a coroutine may clean up"
    shown = json.loads(user.flyte("-of", "json", "get", "run", run).out)
    assert "wrong data" in shown["error"]
    again = user.flyte("abort", run)
    assert "had ended already: aborted" in again.out


def test_a_waiting_client_learns_of_the_abort(user, notes):
    """`flyte run` ends with exit code 3 and the reason when somebody aborts its run."""
    client = user.popen("run", "failing.py", "sleeps", "--path", notes)
    assert client.stdout is not None
    name = client.stdout.readline().strip()
    until(lambda: lines(notes), "the task runs")
    user.flyte("abort", "run", name, "--reason", "enough")
    _, err = client.communicate(timeout=60)
    assert client.returncode == 3
    assert "enough" in err


def test_abort_of_a_child_raises_in_its_parent(backend, user, notes):
    """A parent gets ActionAbortedError for a child that somebody aborts, and goes on."""
    run = user.launch("failing.py", "watches_child", "--path", notes)
    until(lambda: lines(notes), "the child runs")
    [child] = backend.api.children(run, "sleeps_async")
    user.flyte("abort", "action", run, child.id.name)
    assert backend.api.succeeded(run) == ["ActionAbortedError", "fine"]
    assert phase_of(backend.api.action(run, child.id.name)) == "aborted"


def test_cancelling_a_call_aborts_the_child(backend, user, notes):
    """`asyncio.Task.cancel()` on a call aborts its action and nothing else."""
    run = user.launch("failing.py", "first_wins", "--path", notes)
    assert backend.api.succeeded(run) == "quick, the other was cancelled"
    until(
        lambda: (
            phases(backend, run)
            == {"first_wins": "succeeded", "fine": "succeeded", "sleeps_async": "aborted"}
        ),
        "the child is aborted",
    )
    until(lambda: not backend.worker_lives(lines(notes)[0]), "its worker has ended", 15)


def test_the_end_of_the_root_ends_its_descendants(backend, user, notes):
    """A child that its parent does not wait for is aborted when the parent ends."""
    run = user.launch("failing.py", "leaves_early", "--path", notes)
    assert backend.api.succeeded(run) == "gone"
    until(lambda: phases(backend, run)["sleeps_async"] == "aborted", "the child is aborted")
    until(lambda: not backend.worker_lives(lines(notes)[0]), "its worker has ended", 15)

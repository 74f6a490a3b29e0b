"""Local runs that are recorded."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import flyte
from flyte._client._loop import LOOP
from flyte._initialize import uninstall
from flyte._local import start_local_run
from flyte._local._store import LocalStore
from flyte._local._stored import StoredAction, StoredRun
from flyte.models import ActionPhase

env = flyte.TaskEnvironment("recorded")
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store, and records of runs, of the test's own; nothing is initialized."""
    uninstall()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return LocalStore(tmp_path / "local")


def record(store, task, *args, **options):
    """Runs a task to its end, recorded."""
    return LOOP.run(start_local_run(task, args, {}, store=store, **options))


@env.task
async def double(x: int) -> int:
    """Says what it does, and others at the same time."""
    print(f"doubling {x}", end="")
    await asyncio.sleep(0)
    print(f" to {2 * x}")
    return 2 * x


@env.task(retries=1)
async def second_time(x: int) -> int:
    """Fails once."""
    print("attempt", flyte.ctx().attempt_number)
    if flyte.ctx().attempt_number == 0:
        raise ValueError("not yet")
    return x


@env.task
async def parent(n: int) -> list[int]:
    """Everything that can be recorded."""
    with flyte.group("doubles"):
        doubled = await asyncio.gather(*[double(i) for i in range(n)])
    await second_time(1)
    return list(doubled)


@env.task
def fails(x: int) -> int:
    """Raises."""
    raise ValueError(f"{x} is too small")


def test_a_run_is_kept_as_it_was(store):
    """Actions in their order, parents, groups, attempts, errors, values, labels, times: as the run itself has them."""
    run = record(store, parent, 3, labels={"team": "data"})
    kept = StoredRun.get(run.name, store=store)
    assert (kept.task_name, kept.labels, kept.url) == ("recorded.parent", {"team": "data"}, run.url)
    assert (kept.known_phase, kept.created_at, kept.end_time) == (run.phase, run.created_at, run.end_time)
    actions = list(StoredAction.listall(for_run_name=run.name, store=store))
    shown = ("name", "task_name", "short_name", "parent", "known_phase", "attempts", "created_at", "end_time")
    for stored, original in zip(actions, run.actions, strict=True):
        assert [getattr(stored, name) for name in shown] == [getattr(original, name) for name in shown]
        assert (stored.group or "") == original.group
        assert stored.details() == original.details() or stored.attempts == 2
    assert actions[0].inputs() == {"n": 3}
    assert actions[0].outputs() == ([0, 2, 4],)
    first, second = actions[-1].details().attempts
    assert (first.phase, first.error_info.code, first.error_info.message) == (
        "failed",
        "ValueError",
        "not yet",
    )
    assert 'raise ValueError("not yet")' in first.error_info.user_traceback
    assert (second.phase, second.error_info) == ("succeeded", None)
    assert kept.details().action_count == 5


def test_an_error_keeps_class_and_traceback(store):
    """Reading outputs of a failed run raises what the run itself raises."""
    run = record(store, fails, 1)
    kept = StoredAction.get(run_name=run.name, store=store)
    with pytest.raises(flyte.errors.RuntimeUserError) as caught:
        kept.outputs()
    assert (caught.value.code, caught.value.message) == ("ValueError", "1 is too small")
    assert caught.value.user_traceback == run.error.user_traceback != ""


def test_actions_have_logs_of_their_own(store, capsys):
    """What concurrent actions print is told apart, by attempt, and still goes to the usual output."""
    run = record(store, parent, 3)
    actions = list(StoredAction.listall(for_run_name=run.name, store=store))
    printed = [[line.text for line in action.get_logs()] for action in actions]
    assert printed == [[], ["doubling 0 to 0"], ["doubling 1 to 2"], ["doubling 2 to 4"], ["attempt 1"]]
    assert [line.text for line in actions[-1].get_logs(attempt=0)] == ["attempt 0"]
    assert [line.text for line in run.actions[-1].get_logs()] == ["attempt 1"]
    assert capsys.readouterr().out.count("doubling ") == 3
    actions[-1].show_logs(raw=False, show_ts=True)
    assert re.fullmatch(r"\d{4}-\S+ │ attempt 1\n", capsys.readouterr().out)
    with pytest.raises(flyte.errors.LogsNotYetAvailableError, match="attempt 7"):
        list(actions[0].get_logs(attempt=7))


def test_runs_are_found_by_what_they_are(store):
    """Newest first; by phase, task, label, time and limit."""
    good = record(store, double, 1, labels={"team": "a"})
    bad = record(store, fails, 1)

    def found(**filters):
        return [run.name for run in StoredRun.listall(store=store, **filters)]

    assert found() == [bad.name, good.name]
    assert found(limit=1) == [bad.name]
    assert found(in_phase="succeeded") == found(task_name="recorded.double") == [good.name]
    assert found(labels={"team": "a"}) == found(created_before=bad.created_at) == [good.name]
    assert found(created_after=bad.created_at) == [bad.name]
    assert found(labels={"team": "b"}) == []
    assert [
        a.name for a in StoredAction.listall(for_run_name=bad.name, in_phase="running", store=store)
    ] == []
    for name, action in (("none", "a0"), (good.name, "a1")):
        with pytest.raises(flyte.errors.ActionNotFoundError):
            StoredAction.get(run_name=name, name=action, store=store)


def test_a_run_is_found_from_its_start(store, monkeypatch):
    """Whoever asks for a run that has begun finds it with its root action, however late its first change is written."""
    may_write, write = threading.Event(), LocalStore.write

    def late(self, actions):
        assert may_write.wait(60)
        write(self, actions)

    monkeypatch.setattr(LocalStore, "write", late)
    run = record(store, double, 1, wait=False)
    try:
        kept = StoredRun.get(run.name, store=store)
        assert (kept.task_name, kept.known_phase) == ("recorded.double", ActionPhase.QUEUED)
        actions = list(StoredAction.listall(for_run_name=run.name, store=store))
        assert [(action.name, action.inputs()) for action in actions] == [("a0", {"x": 1})]
    finally:
        may_write.set()
    assert run.result() == 2
    assert StoredRun.get(run.name, store=store).known_phase is ActionPhase.SUCCEEDED


def test_a_name_is_given_once(store):
    """As on a backend."""
    record(store, double, 1, name="nightly")
    with pytest.raises(flyte.errors.RuntimeUserError, match="'nightly' already") as caught:
        record(store, double, 1, name="nightly")
    assert caught.value.code == "RunAlreadyExistsError"


def test_a_record_is_no_run_to_start_again(store, monkeypatch):
    """`flyte.rerun` of a recorded run's name says what it is and what to do, before any backend is started."""
    monkeypatch.setenv("HANGAR_DATA_DIR", str(store.directory.parent))
    run = record(store, double, 1)
    with pytest.raises(
        flyte.errors.FeatureNotAvailableError, match=r"recorded\.double.*flyte get io"
    ) as caught:
        flyte.rerun(run.name)
    assert run.name in str(caught.value)


def test_the_configuration_switches_it_on(store, tmp_path, monkeypatch):
    """`local.persistence`, its environment variable and `flyte.init`; the store is in the data directory."""
    monkeypatch.setenv("HANGAR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    local = flyte.with_runcontext(mode="local", labels={"a": "b"})
    assert local.run(double, 1).result() == 2
    assert list(StoredRun.listall()) == []
    (tmp_path / "config.yaml").write_text("local: {persistence: true}")
    by_file = local.run(double, 1)
    (tmp_path / "config.yaml").unlink()
    monkeypatch.setenv("FLYTE_LOCAL_PERSISTENCE", "true")
    by_variable = local.run(double, 1)
    monkeypatch.delenv("FLYTE_LOCAL_PERSISTENCE")
    flyte.init(local_persistence=True)
    try:
        by_init = local.run(double, 1)
    finally:
        uninstall()
    kept = {run.name: run.labels for run in StoredRun.listall()}
    assert kept == {run.name: {"a": "b"} for run in (by_file, by_variable, by_init)}
    assert (tmp_path / "data" / "local" / "runs.db").is_file()


def test_a_configuration_of_another_program_does_not_stop_local_runs(tmp_path, monkeypatch, caplog):
    """Local runs need none; what is wrong with it is said."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("database: {url: x}")
    assert flyte.with_runcontext(mode="local").run(double, 1).result() == 2
    assert "unknown section 'database'" in caplog.text


def test_a_store_that_cannot_be_used_is_named(store):
    """A file that is no store, and one of a newer version: an error that says what to do, before anything runs."""
    store.directory.mkdir()
    store.path.write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(flyte.errors.RuntimeSystemError, match=r"runs\.db cannot be used") as caught:
        record(store, double, 1)
    assert caught.value.code == "LocalStoreError"
    store.path.unlink()
    record(store, double, 1)
    with store.connection() as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(flyte.errors.RuntimeSystemError, match="a newer version"):
        list(StoredRun.listall(store=store))


PROGRAM = """
import sys
from pathlib import Path

import flyte
from flyte._client._loop import LOOP
from flyte._local import start_local_run
from flyte._local._store import LocalStore

env = flyte.TaskEnvironment("apart")

@env.task
def child(x: int) -> int:
    print("child", x)
    sys.stdin.readline()
    return x

@env.task
def main(x: int) -> int:
    return child(x)

if __name__ == "__main__":
    LOOP.run(start_local_run(main, (1,), {}, name=sys.argv[2], store=LocalStore(Path(sys.argv[1]))))
"""


@pytest.fixture
def start(store, tmp_path):
    """Starts a program that records a run, and waits for a line in its child."""
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    programs = []

    def make(name):
        program = subprocess.Popen(
            [sys.executable, "program.py", str(store.directory), name],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "sdk"), *filter(None, sys.path)]),
            },
            stdin=subprocess.PIPE,
            text=True,
        )
        programs.append(program)
        return program

    yield make
    for program in programs:
        program.kill()
        program.wait()
        program.stdin.close()


async def until(condition):
    """Waits for something of another process."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.02)


async def test_another_process_sees_a_run_while_it_goes_on_and_when_it_is_killed(store, start):
    """Running with its child and its log, then succeeded; a killed one is failed, not running for ever."""

    def phases(name):
        if not store.path.is_file() or not store.query("SELECT 1 FROM action WHERE run = ?", name):
            return []
        return [action.known_phase for action in StoredAction.listall(for_run_name=name, store=store)]

    programs = {name: start(name) for name in ("ends", "dies")}
    for name in programs:
        await until(lambda: phases(name) == [ActionPhase.RUNNING] * 2)  # noqa: B023 - it is called here
    child = list(StoredAction.listall(for_run_name="ends", store=store))[1]
    programs["ends"].stdin.write("go\n")
    programs["ends"].stdin.flush()
    assert [line.text async for line in child.get_logs.aio(follow=True)] == ["child 1"]
    await until(lambda: phases("ends") == [ActionPhase.SUCCEEDED] * 2)
    programs["dies"].send_signal(signal.SIGKILL)
    programs["dies"].wait()
    lost = StoredRun.get("dies", store=store)
    assert (lost.known_phase, lost.error.code) == (ActionPhase.FAILED, "ProcessEndedError")
    assert isinstance(lost.error, flyte.errors.RuntimeSystemError)
    assert phases("dies") == [ActionPhase.FAILED] * 2

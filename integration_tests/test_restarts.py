"""Restarts beside other things: aborts, clean stops, builds of environments, time limits, large values."""

import threading
from pathlib import Path

import pytest

from integration_tests.api import phase_of
from integration_tests.polling import until
from integration_tests.processes import lives
from services.executor.tests.wheels import write_source, write_wheel

SCRIPT = """
    import asyncio
    import os
    import time

    from notes import exists, note

    import flyte

    env = flyte.TaskEnvironment(name="env", resources=flyte.Resources(cpu="250m", memory="512Mi"))

    @env.task
    def sleeps(path: str, number: int) -> int:
        note(path, str(os.getpid()))
        time.sleep(600)
        return number

    @env.task
    async def family(path: str) -> int:
        note(path, str(os.getpid()))
        return sum(await asyncio.gather(*(sleeps.aio(path, number) for number in range(2))))

    @env.task
    def child(path: str, x: int) -> int:
        note(path, "child")
        while not exists(path + ".open"):
            time.sleep(0.05)
        return x + 1

    @env.task
    def parent(path: str, x: int) -> int:
        '''Waits in a thread for one child after the other.'''
        note(path, "parent")
        return child(path, child(path, x))

    @env.task(timeout=3, retries=1)
    def over_time(path: str) -> int:
        note(path, "try")
        time.sleep(600)
        return 1

    @env.task
    def enlarge(text: str, times: int) -> str:
        return text * times

    @env.task
    def large(path: str, text: str, times: int) -> int:
        longer = enlarge(text, times)
        note(path, "enlarged")
        while not exists(path + ".open"):
            time.sleep(0.05)
        return len(enlarge(longer, 2))
"""
PACKAGED = """
    import flyte

    env = flyte.TaskEnvironment(
        name="packaged", resources=flyte.Resources(cpu="250m", memory="512Mi"),
        image=flyte.Image.from_debian_base().with_pip_packages("boulder", extra_args="--find-links {wheels}"),
    )

    @env.task
    def version() -> str:
        import boulder

        return boulder.VERSION
"""


@pytest.fixture
def own(make_backend, make_workspace):
    """A backend, its user with the script, and the file that tasks write to."""
    backend = make_backend(used=True)
    user = make_workspace(backend)
    user.share_notes()
    user.write("script.py", SCRIPT)
    return backend, user, user.directory / "notes"


def lines(path: Path) -> list[str]:
    """What tasks have written."""
    return path.read_text().splitlines() if path.exists() else []


def test_an_abort_survives_a_kill(own):
    """A run that is aborted just before the backend is killed is aborted after the restart, processes and all."""
    backend, user, notes = own
    run = user.launch("script.py", "family", "--path", notes)
    until(lambda: len(lines(notes)) == 3, "parent and children run")
    backend.api.abort(run, "just in time")
    backend.kill()
    backend.start()
    ended = backend.api.wait(run)
    assert (phase_of(ended), ended.abort_reason) == ("aborted", "just in time")
    until(
        lambda: {phase_of(each) for each in backend.api.actions(run)} == {"aborted"}, "all of it is aborted"
    )
    assert [pid for pid in map(int, lines(notes)) if lives(pid)] == []


def test_an_abort_while_no_executor_is_there(make_backend, make_workspace):
    """An abort waits for the executor: the phase changes only when it has confirmed that nothing runs."""
    backend = make_backend(apart=True, used=True)
    user = make_workspace(backend)
    user.share_notes()
    user.write("script.py", SCRIPT)
    notes = user.directory / "notes"
    run = user.launch("script.py", "sleeps", "--path", notes, "--number", 1)
    until(lambda: lines(notes), "the task runs")
    [pid] = map(int, lines(notes))
    backend.kill_executor()
    backend.api.abort(run, "while away")
    assert phase_of(backend.api.run(run)) == "running"
    assert lives(pid)
    backend.start()
    assert phase_of(backend.api.wait(run)) == "aborted"
    assert not lives(pid)


def test_a_clean_stop_in_the_middle_of_a_run(own):
    """After a stop and a start the run goes on where it was: nothing runs twice."""
    backend, user, notes = own
    run = user.launch("script.py", "parent", "--path", notes, "--x", 1)
    until(lambda: lines(notes) == ["parent", "child"], "the first child runs")
    backend.stop()
    assert backend.processes(), "what runs goes on"
    Path(f"{notes}.open").touch()
    backend.start()
    assert backend.api.succeeded(run) == 3
    assert lines(notes) == ["parent", "child", "child"]
    assert {each.attempt_count for each in backend.api.actions(run)} == {1}


def test_time_limits_hold_over_a_restart(own):
    """An attempt that is over its limit while the backend is away is ended when it is back, and tried again."""
    backend, user, notes = own
    run = user.launch("script.py", "over_time", "--path", notes)
    until(lambda: lines(notes), "the first attempt runs")
    backend.kill()
    backend.start()
    assert phase_of(backend.api.wait(run)) == "timed_out"
    assert lines(notes) == ["try", "try"]
    assert [phase_of(each) for each in backend.api.action(run).attempts] == ["timed_out", "timed_out"]


def test_a_kill_while_an_environment_is_made(own, environments):
    """The environment is made after the restart, whole, and nothing of the first try is left."""
    backend, user, notes = own
    wheels = user.directory / "wheels"
    user.write("packaged.py", PACKAGED.format(wheels=wheels))
    opened = Path(f"{notes}.open")
    waiting = f"while not os.path.exists({str(opened)!r}): time.sleep(0.05)"
    building = f"import os, time\nopen({str(notes)!r}, 'w')\n{waiting}"
    source = write_source(wheels, "boulder", building)
    run = user.launch("packaged.py", "version")
    until(notes.exists, "the environment is being made")
    drafts = [draft.name for draft in environments.glob(".building-*")]
    backend.kill()
    opened.touch()
    source.unlink()
    write_wheel(wheels, "boulder")
    backend.start()
    assert backend.api.succeeded(run, 120) == "1.0"
    [key] = {module.parents[3].name for module in environments.glob("*/lib/*/*/boulder.py")}
    assert [draft.rpartition("-")[0] for draft in drafts].count(f".building-{key}") == 1
    assert list(environments.glob(f".building-{key}-*")) == []


def test_values_above_64_kib_over_a_kill(own):
    """Large inputs and outputs travel through the blob store, and are there after a kill."""
    backend, user, notes = own
    text = "0123456789abcdef" * 6 * 1024  # 96 KiB
    run = user.launch("script.py", "large", "--path", notes, "--text", text, "--times", 20)
    until(lambda: lines(notes) == ["enlarged"], "the first child has ended")
    backend.kill()
    Path(f"{notes}.open").touch()
    backend.start()
    assert backend.api.succeeded(run) == len(text) * 40
    assert lines(notes) == ["enlarged"]
    first, second = backend.api.children(run)
    assert backend.api.outputs(run, first.id.name)["o0"] == text * 20
    assert backend.api.inputs(run, second.id.name)["text"] == text * 20
    assert [(edge.input, edge.source) for edge in second.lineage] == [("text", first.id.name)]


def test_many_clients_of_one_name_make_one_run(backend, workspace):
    """Of clients that create a run of the same name at once, one makes it and the others are told."""
    workspace.share_notes()
    workspace.write("script.py", SCRIPT)
    arguments = ["run", "--detach", "--name", "only-one", "script.py", "enlarge", "--text", "a", "--times", 3]
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda: codes.append(workspace.flyte(*arguments, code=None).code))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [0, 2, 2, 2]
    assert backend.api.succeeded("only-one") == "aaa"
    assert backend.api.run_names().count("only-one") == 1

"""Local mode."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import flyte
from flyte._local import LocalRun, run_local, start_local_run
from flyte.models import ActionPhase

env = flyte.TaskEnvironment("local_tests", env_vars={"FLAVOUR": "vanilla", "SIZE": "1"})
calls: list[object] = []


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    """Records of runs go to a directory of the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    calls.clear()


@dataclass
class Point:
    """A structure."""

    x: int
    y: int = 0


@env.task
def double(x: int) -> int:
    """Blocks."""
    return 2 * x


@env.task
async def slow_double(x: int) -> int:
    """Is awaited."""
    await asyncio.sleep(0)
    return 2 * x


@env.task
def chain(x: int) -> int:
    """Calls one child after the other."""
    return double(double(x))


@env.task
async def fan(n: int) -> list[int]:
    """Calls all children at once."""
    with flyte.group("fan"):
        slow, quick = [slow_double(i) for i in range(n)], [double.aio(i) for i in range(n)]
        return list(await asyncio.gather(*slow, *quick))


@env.task
def move(point: Point, by: int = 1) -> Point:
    """Changes its input."""
    point.x += by
    return point


@env.task
def fails(text: str) -> int:
    """Raises."""
    raise ValueError(text)


@env.task
async def fails_async(text: str) -> int:
    """Raises."""
    raise ValueError(text)


def test_children_are_actions_of_their_parent():
    """One run, three actions, the same names as on a backend."""
    run = run_local(chain, 5)
    assert run.result() == 20
    assert [(a.task_name, a.parent, a.phase) for a in run.actions] == [
        ("local_tests.chain", None, ActionPhase.SUCCEEDED),
        ("local_tests.double", "a0", ActionPhase.SUCCEEDED),
        ("local_tests.double", "a0", ActionPhase.SUCCEEDED),
    ]
    assert [a.name for a in run.actions] == [a.name for a in run_local(chain, 5).actions]
    assert len({a.name for a in run.actions}) == 3


def test_children_run_concurrently_in_order_of_results():
    """`asyncio.gather` over async tasks and twins of sync ones."""
    run = run_local(fan, 20)
    assert run.result() == [2 * i for i in range(20)] * 2
    assert {a.group for a in run.actions[1:]} == {"fan"}


def test_the_surface_is_that_of_a_run():
    """Phase, status, outputs, inputs, times, text."""
    run = run_local(move, Point(1), by=2)
    assert isinstance(run, LocalRun)
    assert run.status is run.phase is run.known_phase is ActionPhase.SUCCEEDED
    assert (run.status == "succeeded", run.done(), run.error, run.id) == (True, True, None, run.name)
    assert run.outputs() == (Point(3),)
    assert run.outputs().o0 == Point(3)
    assert run.inputs() == {"point": Point(1), "by": 2}
    assert run.created_at <= run.start_time <= run.end_time
    assert run.duration.total_seconds() >= 0
    assert str(run) == str(Point(3))
    assert repr(run) == f"LocalRun(name={run.name!r}, phase='succeeded', url={run.url!r})"
    assert run.sync() is run
    assert run.abort() is False
    assert run.action.outputs().named_outputs == {"o0": Point(3)}


async def test_every_method_has_a_twin():
    """Nothing blocks the caller's event loop."""
    run = await start_local_run(fan, (3,), {})
    await run.wait.aio(quiet=True)
    assert await run.result.aio() == (await run.outputs.aio()).o0 == [0, 2, 4, 0, 2, 4]
    assert await run.inputs.aio() == {"n": 3}


def test_waiting_says_how_it_ended(capsys):
    """The line that the seed prints."""
    run_local(double, 1).wait()
    run_local(fails, "no").wait()
    run_local(fails, "no").wait(quiet=True)
    assert capsys.readouterr().out == "Run 'a0' completed successfully.\nRun 'a0' failed: ValueError: no\n"


def test_a_task_without_outputs_gives_none():
    """`outputs()` is `(None,)`."""

    @env.task
    def nothing() -> None: ...

    assert run_local(nothing).outputs() == (None,)


def test_values_are_copies():
    """What a child changes in its input does not change the parent's, as between processes."""

    @env.task
    def parent() -> tuple[Point, Point]:
        point = Point(1)
        return point, move(point, 5)

    assert run_local(parent).result() == (Point(1), Point(6))


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        (("five",), {}, flyte.errors.RuntimeDataValidationError, "double: parameter 'x': expected int"),
        ((), {}, TypeError, "missing 1 required argument: 'x'"),
        ((1, 2), {}, TypeError, "takes 1 positional argument but 2 were given"),
        ((1,), {"z": 2}, TypeError, "unexpected keyword argument 'z'"),
    ],
)
def test_wrong_inputs_fail_before_anything_runs(tmp_path, args, kwargs, error, message):
    """As they do remotely, and nothing is half-created."""
    with pytest.raises(error, match=message):
        run_local(double, *args, **kwargs)
    assert not (tmp_path / "flyte").exists()


def test_wrong_outputs_fail_the_action():
    """A value that is not what the annotation says."""

    @env.task
    def wrong() -> int:
        return "text"  # type: ignore[return-value]

    run = run_local(wrong)
    assert run.status is ActionPhase.FAILED
    with pytest.raises(flyte.errors.RuntimeDataValidationError, match="return value: expected int"):
        run.result()


def test_large_values_are_refused():
    """`max_inline_io_bytes` holds for inputs in the caller and for outputs in the task."""
    with pytest.raises(flyte.errors.InlineIOMaxBytesBreached, match=r"the inputs of local_tests.fails"):
        run_local(fails.override(max_inline_io_bytes=10), "x" * 100)


@pytest.mark.parametrize("task", [fails, fails_async])
def test_an_error_of_a_task_arrives_with_its_class_name(task):
    """Code, message, and a traceback of the user's frames only."""
    run = run_local(task, "too bad")
    assert run.status is ActionPhase.FAILED
    assert str(run) == f"Run '{run.name}' failed: ValueError: too bad"
    with pytest.raises(flyte.errors.RuntimeUserError, match="too bad") as caught:
        run.result()
    assert caught.value.code == "ValueError"
    assert traceback.extract_tb(caught.value.__traceback__)[-1].line == "raise ValueError(text)"
    trace = caught.value.user_traceback
    assert "raise ValueError(text)" in trace
    assert str(Path(flyte.__file__).parent) not in trace


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_parent_can_recover_from_its_childs_error(asynchronous):
    """`try`/`except` around a call."""

    @env.task
    def sync_parent() -> str:
        try:
            return str(fails("a"))
        except flyte.errors.RuntimeUserError as error:
            return f"{error.code}: {error}"

    @env.task
    async def async_parent() -> str:
        results = await asyncio.gather(fails_async("a"), double.aio(1), return_exceptions=True)
        return f"{results[0].code}: {results[0]}, {results[1]}"

    run = run_local(async_parent if asynchronous else sync_parent)
    assert run.result() == ("ValueError: a, 2" if asynchronous else "ValueError: a")
    assert next(a.phase for a in run.actions if a.task is not run.action.task) is ActionPhase.FAILED


def test_an_uncaught_error_fails_the_parent_with_the_childs_code():
    """The cause is seen at the top."""

    @env.task
    def parent() -> int:
        return fails("deep")

    run = run_local(parent)
    assert (run.error.code, run.error.message) == ("ValueError", "deep")


def test_updates_show_every_action_until_the_end():
    """A watcher sees the last state of each action."""

    async def main() -> dict[str, ActionPhase]:
        run = await start_local_run(fan, (4,), {}, wait=False)
        seen: dict[str, ActionPhase] = {}
        async for update in run.updates.aio():
            seen.update({action.name: action.phase for action in update.actions})
        return seen

    seen = asyncio.run(main())
    assert len(seen) == 9
    assert set(seen.values()) == {ActionPhase.SUCCEEDED}


def test_the_context_names_run_and_action():
    """`flyte.ctx()` inside a task."""

    @env.task
    def where() -> list[str]:
        context = flyte.ctx()
        Path(context.raw_data_path, "note.txt").write_text("kept")
        return [context.action.name, context.action.run_name, context.mode, str(context.is_in_cluster())]

    run = asyncio.run(start_local_run(where, (), {}, name="nightly-1"))
    assert run.result() == ["a0", "nightly-1", "local", "False"]
    assert flyte.ctx() is None


def test_environment_variables_hold_while_an_action_runs():
    """Those of the run over those of the environment; afterwards all is as before."""
    os.environ["SIZE"] = "before"

    @env.task
    def variables() -> list[str]:
        return [os.environ["FLAVOUR"], os.environ["SIZE"]]

    run = asyncio.run(start_local_run(variables, (), {}, env_vars={"SIZE": "2"}))
    assert run.result() == ["vanilla", "2"]
    assert os.environ.pop("SIZE") == "before"
    assert "FLAVOUR" not in os.environ


def test_a_run_leaves_a_record(tmp_path):
    """`url` is a directory with what happened."""
    run = run_local(chain, 1)
    assert Path(run.url) == tmp_path / "flyte" / "metadata" / run.name
    record = json.loads((Path(run.url) / "run.json").read_text())
    assert (record["name"], record["phase"]) == (run.name, "succeeded")
    assert [a["outputs"] for a in record["actions"]] == ['{"o0":4}', '{"o0":2}', '{"o0":4}']
    assert not (tmp_path / "flyte" / "raw_data" / run.name).exists()


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "UPPER", "-a", "x" * 64, 3])
def test_names_that_are_no_directories_are_refused(name):
    """The message shows what to write."""
    with pytest.raises(
        ValueError, match="cannot name a run: use 1 to 63 lower-case letters, digits and hyphens"
    ):
        asyncio.run(start_local_run(double, (1,), {}, name=name))


def test_a_call_after_the_end_is_refused():
    """A thread that goes on after its action cannot start children."""
    gate = threading.Event()
    errors: list[BaseException] = []

    @env.task
    async def leaves_a_thread() -> int:
        def later() -> None:
            gate.wait(30)
            try:
                double(1)
            except flyte.errors.NotInTaskContextError as error:
                errors.append(error)

        threads.submit(__import__("contextvars").copy_context().run, later)
        return 1

    with ThreadPoolExecutor(1) as threads:
        run_local(leaves_a_thread)
        gate.set()
    assert "was called after the action a0 had ended" in str(errors[0])


def test_asyncio_run_inside_a_sync_task_works():
    """A sync task may have a loop of its own."""

    @env.task
    def own_loop(n: int) -> int:
        async def gather() -> list[int]:
            return list(await asyncio.gather(*[slow_double(i) for i in range(n)]))

        return sum(asyncio.run(gather()))

    assert run_local(own_loop, 4).result() == 12


def test_runs_inside_tasks_are_runs_of_their_own():
    """`flyte.run` in a task does not add to the run around it."""

    @env.task
    def nests() -> int:
        return run_local(double, 4).result()

    run = run_local(nests)
    assert (run.result(), len(run.actions)) == (8, 1)


def test_sys_exit_in_a_task_fails_the_task_only():
    """The process goes on."""

    @env.task
    def leaves() -> int:
        raise SystemExit(3)

    run = run_local(leaves)
    assert (run.status, run.error.code) == (ActionPhase.FAILED, "SystemExit")


INTERRUPTED = """
import asyncio, flyte
env = flyte.TaskEnvironment("interrupted")
@env.task
async def endless() -> None:
    try:
        print("started", flush=True)
        await asyncio.Event().wait()
    finally:
        print("cleaned up", flush=True)
flyte.run(endless)
"""


def test_a_generator_is_no_value():
    """What is returned instead of a list is called by its name."""

    @env.task
    def generates() -> list[int]:
        return (number for number in range(3))  # type: ignore[return-value]

    assert "expected list[int], got generator" in str(run_local(generates).error)


def test_an_interrupt_ends_run_and_program(tmp_path):
    """Ctrl-C lets tasks clean up and does not hang."""
    program = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        assert program.stdout.readline() == "started\n"
        program.send_signal(signal.SIGINT)
        output, error = program.communicate(timeout=30)
    finally:
        program.kill()
    assert output == "cleaned up\n"
    assert error.endswith("KeyboardInterrupt\n")
    assert program.returncode == -signal.SIGINT


def test_logs_of_a_run_that_is_not_recorded_are_refused():
    """What its tasks print is in the process's own output; the message says what to set."""
    with pytest.raises(flyte.errors.LogsNotYetAvailableError, match="local_persistence=True"):
        run_local(double, 1).show_logs()
    with pytest.raises(flyte.errors.LogsNotYetAvailableError, match="local_persistence=True"):
        list(run_local(double, 1).get_logs())


def test_two_environments_of_one_name_are_refused():
    """As on a backend."""
    same = [flyte.TaskEnvironment("x"), flyte.TaskEnvironment("x")]
    twins = flyte.TaskEnvironment("twins", depends_on=same)
    with pytest.raises(ValueError, match="Duplicate environment name 'x'"):
        run_local(twins.task(double.func), 1)

"""A worker runs what it is told, and says exactly how it ended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from host import Host, RunningWorker

from flyte._types import digest


def run(host: Host, worker: RunningWorker, attribute: str, /, inputs: Any = None, **fields: Any) -> tuple:
    """Runs a task; gives the header and the outputs of its result."""
    header = host.run_header(attribute, **fields)
    worker.peer.send(header, json.dumps(inputs or {}).encode())
    result, body = worker.peer.until("result")
    assert result["lease"] == header["lease"]
    worker.peer.send({"type": "ack", "lease": header["lease"]})
    return result, json.loads(body) if body else None


def test_hello_proves_who_it_is(worker: RunningWorker) -> None:
    """A worker introduces itself with its number and token, and holds nothing at first."""
    hello = worker.hellos["worker"]
    assert (hello["worker"], hello["token"], hello["leases"]) == (worker.number, "secret", [])


@pytest.mark.parametrize("attribute", ["add", "add_sync"])
def test_a_task_runs(host: Host, worker: RunningWorker, attribute: str) -> None:
    """Sync and async tasks take their inputs, defaults included, and their outputs come with their digest."""
    header = host.run_header(attribute)
    worker.peer.send(header, b'{"x":2}')
    assert worker.peer.expect("started")[0]["lease"] == header["lease"]
    result, body = worker.peer.expect("result")
    assert body == b'{"o0":3}'
    assert result["digest"] == digest(body)
    assert "failure" not in result
    assert result["killed"] is False
    assert result["peak_memory"] > 0


def test_structured_values_pass(host: Host, worker: RunningWorker) -> None:
    """Dataclasses go in and several outputs come out."""
    _, outputs = run(host, worker, "points", {"at": {"x": 1, "y": 2}})
    assert outputs == {"o0": {"x": 2, "y": 1}, "o1": "swapped"}


def test_the_process_is_used_again(host: Host, worker: RunningWorker) -> None:
    """Globals of the module persist between leases."""
    assert [run(host, worker, "count_calls")[1]["o0"] for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("attribute", ["fail", "fail_sync"])
def test_an_exception_is_a_user_failure(host: Host, worker: RunningWorker, attribute: str) -> None:
    """The code is the class name, and the traceback has the user's frames only."""
    failure = run(host, worker, attribute, {"message": "x is wrong"})[0]["failure"]
    assert (failure["kind"], failure["code"], failure["message"]) == ("USER", "ValueError", "x is wrong")
    assert failure["non_recoverable"] is False
    assert f"in {attribute}" in failure["traceback"]
    assert "_runtime" not in failure["traceback"]
    assert failure["traceback"].endswith("ValueError: x is wrong\n")


@pytest.mark.parametrize(
    ("attribute", "inputs", "kind", "code"),
    [
        ("no_memory", {}, "OOM", "MemoryError"),
        ("leave", {"code": 3}, "USER", "SystemExit"),
        ("interrupt", {}, "USER", "KeyboardInterrupt"),
        ("wrong_type", {}, "USER", "RuntimeDataValidationError"),
        ("large", {"size": 11 * 1024 * 1024}, "USER", "InlineIOMaxBytesBreached"),
        ("add", {"x": "many"}, "USER", "RuntimeDataValidationError"),
        ("add", {}, "USER", "RuntimeDataValidationError"),
    ],
)
def test_failures_are_told_apart(
    host: Host, worker: RunningWorker, attribute: str, inputs: dict, kind: str, code: str
) -> None:
    """Each way to fail has its kind and code, and the worker goes on."""
    failure = run(host, worker, attribute, inputs)[0]["failure"]
    assert (failure["kind"], failure["code"]) == (kind, code)
    assert run(host, worker, "add", {"x": 1})[1] == {"o0": 2}


def test_non_recoverable_errors_say_so(host: Host, worker: RunningWorker) -> None:
    """`NonRecoverableError` forbids further attempts."""
    failure = run(host, worker, "give_up")[0]["failure"]
    assert (failure["code"], failure["non_recoverable"]) == ("NonRecoverableError", True)


def test_sys_exit_in_a_subtask_does_not_end_the_worker(host: Host, worker: RunningWorker) -> None:
    """Whoever awaits a subtask that called `sys.exit` receives it, and the worker lives."""
    assert run(host, worker, "leave_in_subtask")[1] == {"o0": "caught 3"}


@pytest.mark.parametrize(
    ("module", "attribute", "message"),
    [
        ("broken", "add", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        (
            "missing",
            "add",
            "No module named 'missing': it is neither in the code that was sent nor in the image",
        ),
        ("tasks", "missing", "has no 'missing'"),
        ("tasks", "Point", "is no task"),
    ],
)
def test_code_that_cannot_be_loaded_is_named(
    host: Host, worker: RunningWorker, module: str, attribute: str, message: str
) -> None:
    """A module or task that is not there fails the attempt with what was wrong."""
    failure = run(host, worker, attribute, {}, module=module)[0]["failure"]
    assert (failure["kind"], failure["code"]) == ("USER", "ModuleLoadError")
    assert message in failure["message"]


def test_the_context_describes_the_attempt(host: Host, worker: RunningWorker) -> None:
    """`flyte.ctx()` and the environment say which attempt this is; variables end with the lease."""
    fields = {
        "action": "a1",
        "user_attempt": 2,
        "attempt": 5,
        "traceparent": "00-1-2-01",
        "env_vars": {"A": "x"},
    }
    assert run(host, worker, "describe", **fields)[1]["o0"] == {
        "action": "a1",
        "run": "r1",
        "project": "p",
        "attempt": "2",
        "mode": "remote",
        "version": "v1",
        "variable": "2",
        "traceparent": "00-1-2-01",
        "A": "x",
    }
    after = run(host, worker, "describe")[1]["o0"]
    assert (after["A"], after["traceparent"], after["variable"]) == ("", "", "0")


def test_variables_that_cannot_be_fail_the_attempt_alone(host: Host, worker: RunningWorker) -> None:
    """An attempt whose environment cannot be set ends at once, and the worker goes on as it was."""
    result, _ = run(host, worker, "add", {"x": 2}, env_vars={"A": "1", "B=": "2"})
    assert (result["failure"]["kind"], "could not be prepared" in result["failure"]["message"]) == (
        "SYSTEM",
        True,
    )
    assert run(host, worker, "add", {"x": 2})[1] == {"o0": 3}


def test_user_modules_have_their_own_names(host: Host, worker: RunningWorker) -> None:
    """Classes know the module that they come from, and `__main__` is that module as well."""
    assert run(host, worker, "main_name")[1] == {"o0": "tasks True"}


def test_the_working_directory_is_the_workers_own(host: Host, worker: RunningWorker) -> None:
    """Bundled files can be read by relative paths; what is written does not land in the bundle."""
    assert run(host, worker, "write_here", {"name": "new.txt"})[1] == {"o0": "bundled"}
    assert not (host.code / "new.txt").exists()
    assert (worker.directory / "work" / "new.txt").exists()


def test_a_repeated_run_is_ignored(host: Host, worker: RunningWorker) -> None:
    """A lease that is here already is not run again; one that has ended is answered with its result again."""
    header = host.run_header("count_calls")
    worker.peer.send(header, b"{}")
    first = worker.peer.until("result")
    worker.peer.send(header, b"{}")
    assert worker.peer.expect("result") == first


def test_results_are_sent_until_they_are_acknowledged(host: Host, worker: RunningWorker) -> None:
    """After a reconnect a worker sends unacknowledged results again, and acknowledged ones never."""
    header = host.run_header("add")
    worker.peer.send(header, b'{"x":1}')
    first = worker.peer.until("result")
    peer = worker.reconnect()
    assert worker.hellos["worker"]["leases"] == []
    assert peer.expect("result") == first
    peer.send({"type": "ack", "lease": header["lease"]})
    run(host, worker, "add", {"x": 5})
    peer = worker.reconnect()
    other = host.run_header("add")
    peer.send(other, b'{"x":9}')
    assert peer.receive()[0] == {"type": "started", "lease": other["lease"]}


def test_stop_waits_for_what_runs(host: Host, worker: RunningWorker) -> None:
    """A worker that is told to stop finishes, waits for the acknowledgement and exits with 0."""
    header = host.run_header("say_and_wait")
    worker.peer.send(header, b'{"text":"x"}')
    child = worker.peer.until("children")[0]["children"][0]
    worker.peer.send({"type": "stop"})
    outcome = {"lease": child["lease"], "key": child["key"], "action": "c", "phase": "succeeded", "size": 8}
    worker.peer.send({"type": "outcomes", "outcomes": [outcome]}, b'{"o0":4}')
    assert worker.peer.until("result")[1] == b'{"o0":4}'
    worker.peer.send({"type": "ack", "lease": header["lease"]})
    ended = worker.wait_exit()
    assert (ended["code"], ended["signal"], ended["killed"]) == (0, None, False)


def test_a_note_says_whose_code_ended_the_process(host: Host, worker: RunningWorker) -> None:
    """Of several leases the one whose coroutine was being stepped is named in a file that outlives the process."""
    neighbour, culprit = host.run_header("chain"), host.run_header("end_process_after_child")
    worker.peer.send(neighbour, b'{"x":1}')
    worker.peer.until("children")
    worker.peer.send(culprit, b"{}")
    child = worker.peer.until("children")[0]["children"][0]
    note = worker.directory / "current"
    assert int.from_bytes(note.read_bytes(), "little") == 0
    outcome = {"lease": child["lease"], "key": child["key"], "action": "c", "phase": "succeeded", "size": 8}
    worker.peer.send({"type": "outcomes", "outcomes": [outcome]}, b'{"o0":4}')
    assert worker.wait_exit()["code"] == 9
    assert int.from_bytes(note.read_bytes(), "little") == culprit["lease"]


def test_several_leases_run_at_once(host: Host, worker: RunningWorker) -> None:
    """Coroutines of several leases take turns, and each result names its own lease."""
    headers = [host.run_header("chain", action=f"a{number}") for number in range(3)]
    for number, header in enumerate(headers):
        worker.peer.send(header, json.dumps({"x": number}).encode())
    results: dict[int, bytes] = {}
    while len(results) < 3:
        header, body = worker.peer.receive()
        if header["type"] == "result":
            results[header["lease"]] = body
        for child in header.get("children", ()):
            document = b'{"o0":%d}' % child["lease"]
            outcome = {"lease": child["lease"], "key": child["key"], "action": "c", "phase": "succeeded"}
            worker.peer.send({"type": "outcomes", "outcomes": [{**outcome, "size": len(document)}]}, document)
    assert results == {header["lease"]: b'{"o0":%d}' % header["lease"] for header in headers}


def test_an_attempt_that_gets_no_thread_fails_alone(host: Host, worker: RunningWorker) -> None:
    """Its code never ran, so the platform answers for it; code that asks for a thread itself sees the error."""
    run(host, worker, "refuse_threads")
    failure = run(host, worker, "add_sync", {"x": 1})[0]["failure"]
    assert (failure["kind"], failure["code"]) == ("SYSTEM", "NoThread")
    assert "can't start new thread" in failure["message"]
    assert "limit" in failure["message"]
    failure = run(host, worker, "in_thread", {"x": 1})[0]["failure"]
    assert (failure["kind"], failure["code"]) == ("USER", "RuntimeError")
    assert run(host, worker, "add", {"x": 1})[1] == {"o0": 2}
    run(host, worker, "allow_threads")
    for attribute in ("add_sync", "in_thread"):
        assert run(host, worker, attribute, {"x": 1})[1] == {"o0": 2}


def test_unknown_frames_and_fields_are_ignored(host: Host, worker: RunningWorker) -> None:
    """A newer executor may say more than this worker knows."""
    worker.peer.send({"type": "news", "lease": 1})
    assert run(host, worker, "add", {"x": 1}, novelty=True)[1] == {"o0": 2}

"""A lease that is stopped ends with the reason, and its neighbours go on."""

from __future__ import annotations

import pytest
from host import Host, RunningWorker, wait_for
from parent import play


def test_a_coroutine_is_cancelled(host: Host, worker: RunningWorker) -> None:
    """An async task receives CancelledError and can clean up; its result says that it was stopped and why."""
    header = host.run_header("wait_for_ever")
    worker.peer.send(header, b"{}")
    worker.peer.until("started")
    worker.peer.send({"type": "kill", "lease": header["lease"], "reason": "not needed", "kind": ""})
    result = worker.peer.until("result")[0]
    assert result["killed"] is True
    assert result["failure"]["message"] == "not needed"
    assert "cancelled" in host.log_of(header)


@pytest.mark.parametrize("kind", ["TIMEOUT", "PREEMPTED"])
def test_the_kind_of_a_kill_is_the_kind_of_the_failure(host: Host, worker: RunningWorker, kind: str) -> None:
    """Time limits and pre-emption are told apart from aborts."""
    header = host.run_header("wait_for_ever")
    worker.peer.send(header, b"{}")
    worker.peer.until("started")
    worker.peer.send({"type": "kill", "lease": header["lease"], "reason": "enough", "kind": kind})
    assert worker.peer.until("result")[0]["failure"]["kind"] == kind


def test_a_busy_thread_is_interrupted(host: Host, worker: RunningWorker) -> None:
    """A sync task that runs Python code ends as well, and the worker is of further use."""
    header = host.run_header("loop_for_ever")
    worker.peer.send(header, b"{}")
    wait_for(lambda: "looping" in host.log_of(header), "the task to run")
    worker.peer.send({"type": "kill", "lease": header["lease"], "reason": "enough", "kind": ""})
    assert worker.peer.until("result")[0]["killed"] is True
    worker.peer.send({"type": "ack", "lease": header["lease"]})
    assert play(host, worker, "add_sync", {"x": 1}).output == 2


@pytest.mark.parametrize("attribute", ["wait_for_child", "chain", "sync_in_async", "own_loop"])
def test_waiting_for_a_child_ends(host: Host, worker: RunningWorker, attribute: str) -> None:
    """A parent that is blocked in a call of a child ends when it is stopped, however it waits."""
    header = host.run_header(attribute)
    worker.peer.send(header, b'{"x":1}')
    worker.peer.until("children")
    worker.peer.send({"type": "kill", "lease": header["lease"], "reason": "enough", "kind": ""})
    assert worker.peer.until("result")[0]["killed"] is True


def test_neighbours_go_on(host: Host, worker: RunningWorker) -> None:
    """Stopping one lease of a worker does not touch the others, and stopping one that is not here nothing."""
    first, second = host.run_header("wait_for_ever"), host.run_header("chain")
    worker.peer.send(first, b"{}")
    worker.peer.send(second, b'{"x":1}')
    worker.peer.until("children")
    worker.peer.send({"type": "kill", "lease": 10**9, "reason": "not here", "kind": ""})
    worker.peer.send({"type": "kill", "lease": first["lease"], "reason": "enough", "kind": ""})
    result = worker.peer.until("result")[0]
    assert (result["lease"], result["killed"]) == (first["lease"], True)
    assert play(host, worker, "add", {"x": 1}).output == 2

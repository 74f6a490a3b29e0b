"""A supervisor records how its worker ended, and nothing outlives it."""

from __future__ import annotations

import json
import os
import shutil
import signal

import pytest
from host import Host, RunningWorker, alive, wait_for
from parent import play


def test_the_exit_code_is_recorded(host: Host, worker: RunningWorker) -> None:
    """The executor hears of the exit as a frame, and finds it in the directory."""
    worker.accept("supervisor")
    worker.peer.send(host.run_header("die"), b'{"code":4}')
    said = worker.peers["supervisor"].until("exit")[0]
    recorded = worker.wait_exit()
    assert said == recorded
    assert (recorded["code"], recorded["signal"], recorded["oom"], recorded["killed"]) == (
        4,
        None,
        False,
        False,
    )
    assert recorded["cpu_millis"] >= 0


def test_a_signal_is_recorded(host: Host, worker: RunningWorker) -> None:
    """A worker that is killed from outside has no exit code but a signal, and is not out of memory."""
    os.kill(worker.pid, signal.SIGKILL)
    recorded = worker.wait_exit()
    assert (recorded["code"], recorded["signal"], recorded["oom"]) == (None, 9, False)


def test_a_kill_ends_the_tree(host: Host, worker: RunningWorker) -> None:
    """A supervisor that is told to kill ends everything below it, daemons included, and says that it did."""
    daemon = play(host, worker, "daemon").output
    worker.accept("supervisor").send({"type": "kill", "reason": "enough"})
    recorded = worker.wait_exit()
    assert (recorded["killed"], recorded["reason"]) == (True, "enough")
    assert not alive(daemon)


def test_the_worker_dies_with_its_supervisor(host: Host, worker: RunningWorker) -> None:
    """No worker lives without a supervisor."""
    os.kill(worker.supervisor_pid, signal.SIGKILL)
    wait_for(lambda: not alive(worker.pid), "the worker to end")


def test_orphans_end(host: Host) -> None:
    """A worker without an executor ends after the orphan time to live."""
    worker = host.launch(orphan_ttl=0.3)
    pid = worker.pid
    worker.accept("supervisor")
    worker.close_connections()
    recorded = worker.wait_exit()
    assert recorded["killed"] is True
    assert "no executor for 0.3 s" in recorded["reason"]
    assert not alive(pid)


def test_the_watchdog_enforces_memory(host: Host) -> None:
    """Without control groups a worker that exceeds its memory is ended as out of memory."""
    worker = host.launch(memory_limit=150 * 2**20)
    worker.peer.send(host.run_header("eat"), b'{"megabytes":4000}')
    recorded = worker.wait_exit()
    assert recorded["oom"] is True
    assert recorded["peak_memory"] > 150 * 2**20
    assert "memory" in recorded["reason"]


def test_the_watchdog_leaves_a_modest_worker_alone(host: Host) -> None:
    """A worker below its limits is not touched."""
    worker = host.launch(memory_limit=400 * 2**20, pids_limit=50)
    assert play(host, worker, "eat", {"megabytes": 100}).output == 100


def test_records_are_there_from_the_start(host: Host, worker: RunningWorker) -> None:
    """Supervisor and worker are on record, with the start time that makes a process id unique."""
    supervisor = json.loads((worker.directory / "supervisor.json").read_text())
    wait_for((worker.directory / "process.json").exists, "the record of the worker")
    process = json.loads((worker.directory / "process.json").read_text())
    assert (supervisor["pid"], process["pid"]) == (worker.supervisor_pid, worker.pid)
    assert supervisor["start_time"] > 0
    assert process["start_time"] > 0


@pytest.mark.parametrize("long", ["x" * 120])
def test_directories_may_have_long_names(host: Host, long: str) -> None:
    """A worker connects to a socket whose path is too long for a socket address."""
    worker = host.launch_in(host.root / long / "workers" / "77")
    assert play(host, worker, "add", {"x": 1}).output == 2


def test_the_tree_ends_although_its_directory_is_gone(host: Host) -> None:
    """Daemons of a worker end with it when its directory was removed and the exit cannot be recorded."""
    worker = host.launch()
    daemon = play(host, worker, "daemon").output
    shutil.rmtree(worker.directory)
    os.kill(worker.pid, signal.SIGKILL)
    wait_for(lambda: not alive(worker.supervisor_pid), "the supervisor to end")
    assert not alive(daemon)

"""What user code prints is in the log of its lease, to the last byte."""

from __future__ import annotations

import json
from pathlib import Path

from host import Host, RunningWorker
from parent import Story, echo, play, respond, take


def finish(worker: RunningWorker) -> None:
    """Waits for a result and acknowledges it."""
    header, _ = worker.peer.until("result")
    worker.peer.send({"type": "ack", "lease": header["lease"]})


def test_everything_that_is_printed_is_kept(host: Host, worker: RunningWorker) -> None:
    """Python, subprocesses and writes to descriptors land in the lease's log in their order."""
    header = host.run_header("say")
    worker.peer.send(header, b'{"text":"hi"}')
    finish(worker)
    assert host.log_of(header) == (
        "module is imported\nhi\nhi to stderr\nhi from a subprocess\nhi by descriptor"
    )


def test_lines_are_there_at_once(host: Host, worker: RunningWorker) -> None:
    """A line can be read while the task runs, and one without an end at the latest when it has ended."""
    header = host.run_header("say_and_wait")
    worker.peer.send(header, b'{"text":"now"}')
    child = take(*worker.peer.until("children"), Story())
    assert host.log_of(header).endswith("now before\n")
    respond(worker, [(child[0], {"phase": "succeeded", "value": 1})])
    finish(worker)
    assert host.log_of(header).endswith("now before\nnow after\n")
    half = host.run_header("say_half")
    worker.peer.send(half, b'{"text":"no end"}')
    finish(worker)
    assert host.log_of(half) == "no end"


def test_leases_do_not_mix(host: Host, worker: RunningWorker) -> None:
    """Two leases that run at once print to their own logs, also after the other one has run."""
    headers = [host.run_header("say_and_wait", action=f"a{number}") for number in range(2)]
    for number, header in enumerate(headers):
        worker.peer.send(header, json.dumps({"text": f"lease {number}"}).encode())
    for _ in headers:
        story = Story()
        for child in take(*worker.peer.until("children"), story):
            respond(worker, [(child, {"phase": "succeeded", "value": 1})])
        if len(story.children) == 2:
            break
    for _ in headers:
        finish(worker)
    for number, header in enumerate(headers):
        lines = [line for line in host.log_of(header).splitlines() if line.startswith("lease")]
        assert lines == [f"lease {number} before", f"lease {number} after"]


def test_threads_print_for_their_lease(host: Host, worker: RunningWorker) -> None:
    """A thread without a context prints for the only lease that runs."""
    header = host.run_header("say_in_thread")
    worker.peer.send(header, b'{"text":"from a thread"}')
    finish(worker)
    assert host.log_of(header).endswith("from a thread\n")


def test_bytes_can_be_printed(host: Host, worker: RunningWorker) -> None:
    """`sys.stdout.buffer` is the lease's log as well."""
    header = host.run_header("say_bytes")
    worker.peer.send(header, b"{}")
    finish(worker)
    assert host.log_of(header).endswith("bytes\n")


def test_the_last_words_of_a_dying_process_are_kept(host: Host, worker: RunningWorker) -> None:
    """What was printed before the process ended itself is in the log."""
    header = host.run_header("die")
    worker.peer.send(header, b'{"code":4}')
    assert worker.wait_exit()["code"] == 4
    assert host.log_of(header).endswith("last words\n")


def test_silent_leases_have_no_log(host: Host, worker: RunningWorker) -> None:
    """No file is left for a lease that printed nothing."""
    play(host, worker, "add", {"x": 1})
    header = host.run_header("add")
    worker.peer.send(header, b'{"x":1}')
    finish(worker)
    assert not Path(header["log_path"]).exists()


def test_a_log_that_cannot_be_written_is_a_failure_of_the_platform(host: Host, worker: RunningWorker) -> None:
    """The attempt fails as SYSTEM when its log cannot be opened, and the worker goes on."""
    story = play(host, worker, "add", {"x": 1}, echo, log_path="/nowhere/at/all.log")
    assert (story.failure["kind"], "/nowhere/at/all.log" in story.failure["message"]) == ("SYSTEM", True)
    assert play(host, worker, "add", {"x": 1}).output == 2

"""Progress of user code reaches the executor, and does not get in the way."""

from __future__ import annotations

import json

from host import Host, RunningWorker
from parent import play


def test_ten_thousand_calls_are_few_frames(host: Host, worker: RunningWorker) -> None:
    """However often it is called, about one frame a second leaves, and the last one is said before the result."""
    header = host.run_header("counts")
    worker.peer.send(header, json.dumps({"total": 10_000}).encode())
    frames = []
    while not frames or frames[-1]["type"] != "result":
        frames.append(worker.peer.receive()[0])
    said = [frame for frame in frames if frame["type"] == "progress"]
    assert 0 < len(said) < 20
    assert said[-1] == {
        "type": "progress",
        "lease": header["lease"],
        "done": 10_000,
        "total": 10_000,
        "message": "counting",
    }


def test_progress_does_not_keep_a_parent_from_being_parked(host: Host, worker: RunningWorker) -> None:
    """A parent that has progress to say in a moment is parked all the same while it waits."""
    story = play(host, worker, "waits_with_progress", {}, once_parked=True)
    assert len(story.parks) == 1


def test_progress_is_said_again_to_the_next_executor(host: Host, worker: RunningWorker) -> None:
    """After a restart of the executor the latest is said again, without waiting."""
    worker.peer.send(host.run_header("waits_with_progress"), b"{}")
    worker.peer.until("children")
    while worker.peer.until("progress")[0]["done"] != 2:
        pass
    again = worker.reconnect()
    progress = again.until("progress")[0]
    assert (progress["done"], progress["total"], progress["message"]) == (2, 0, "waiting")

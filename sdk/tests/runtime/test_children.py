"""A task that calls tasks asks for children, the same in every attempt, and receives what became of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from host import Host, RunningWorker
from parent import Story, echo, follow, play, respond, succeed, take

from flyte._runtime.controller import child_key
from flyte._types import digest


@pytest.mark.parametrize("attribute", ["chain", "chain_sync"])
def test_children_run_one_after_the_other(host: Host, worker: RunningWorker, attribute: str) -> None:
    """A sequential parent asks for its second child with the output of the first, and its definition once."""
    story = play(host, worker, attribute, {"x": 5}, lambda child: succeed(child["inputs"]["x"] + 10))
    assert story.output == 25
    assert [child["inputs"] for child in story.children] == [{"x": 5}, {"x": 15}]
    assert len(story.specs) == 1
    spec = story.specs[story.children[0]["spec"]]
    assert spec["name"] in ("env.one", "env.sync_child")
    assert spec["code"]["module"] == "tasks"
    assert spec["code"]["bundle_digest"] == host.code.name


def test_keys_are_those_of_the_contract(host: Host, worker: RunningWorker) -> None:
    """A key is derived from parent, task, inputs, group and occurrence; the digest is that of the inputs."""
    story = play(host, worker, "chain", {"x": 2}, action="a7")
    first = story.children[0]
    assert first["digest"] == digest(b'{"x":2}')
    assert first["key"] == child_key("a7", "env.one", digest(b'{"x":2}'), "", 0)
    assert len(first["key"]) == 16
    assert first["key"] == first["key"].lower()


def test_keys_are_the_same_in_every_attempt(host: Host, worker: RunningWorker) -> None:
    """A parent that runs again asks for the same children under the same keys."""
    first, again = (play(host, worker, "fan", {"count": 20}) for _ in range(2))
    keys = [child["key"] for child in first.children]
    assert keys == [child["key"] for child in again.children]
    assert len(set(keys)) == 20


def test_equal_calls_are_different_children(host: Host, worker: RunningWorker) -> None:
    """Equal calls of one parent differ by their occurrence, and calls in a group by the group."""
    story = play(host, worker, "same_twice")
    assert story.output == [5, 5, 5]
    assert [child["group"] for child in story.children] == ["g", "", ""]
    assert len({child["key"] for child in story.children}) == 3


def test_a_fan_out_is_one_frame(host: Host, worker: RunningWorker) -> None:
    """Children that are asked for in one turn of the loop travel together."""
    story = play(host, worker, "fan", {"count": 3000})
    assert story.output == sum(range(3000))
    assert story.frames == 1


def test_lineage_names_the_sibling_that_made_an_input(host: Host, worker: RunningWorker) -> None:
    """An input that equals an earlier sibling's output records that sibling; trivial values do not."""
    story = play(host, worker, "chain", {"x": 5}, lambda child: succeed(child["inputs"]["x"] * 2))
    assert story.children[0]["sources"] == []
    assert story.children[1]["sources"] == [["x", story.children[0]["key"]]]
    trivial = play(host, worker, "chain", {"x": 5}, lambda child: succeed(0))
    assert trivial.children[1]["sources"] == []


@pytest.mark.parametrize(
    ("outcome", "caught"),
    [
        (
            {"phase": "failed", "failure": {"kind": "USER", "code": "ValueError"}},
            "RuntimeUserError|ValueError",
        ),
        ({"phase": "failed", "failure": {"kind": "OOM", "code": "OutOfMemory"}}, "OOMError|OutOfMemory"),
        (
            {"phase": "timed_out", "failure": {"kind": "TIMEOUT", "code": "Timeout"}},
            "TaskTimeoutError|Timeout",
        ),
        ({"phase": "aborted", "failure": {"kind": "", "code": "Aborted"}}, "ActionAbortedError|Aborted"),
        ({"phase": "failed", "failure": {"kind": "SYSTEM", "code": "Gone"}}, "RuntimeSystemError|Gone"),
        ({"phase": "failed", "failure": {"kind": "LOST", "code": "Lost"}}, "RuntimeSystemError|Lost"),
        (
            {"phase": "failed", "failure": {"kind": "IMAGE", "code": "ImageBuildError"}},
            "ImageBuildError|ImageBuildError",
        ),
    ],
)
def test_failures_of_children_are_documented_exceptions(
    host: Host, worker: RunningWorker, outcome: dict[str, Any], caught: str
) -> None:
    """Each kind of failure arrives as the documented exception, with its code and message."""
    failure = {**outcome["failure"], "message": "what happened"}
    story = play(host, worker, "catch", {"x": 1}, lambda child: {**outcome, "failure": failure})
    assert story.output == f"{caught}|what happened"


def test_an_uncaught_failure_fails_the_parent(host: Host, worker: RunningWorker) -> None:
    """A child's failure that the parent lets through keeps its code and is the parent's own failure."""
    failed = {"phase": "failed", "failure": {"kind": "USER", "code": "ValueError", "message": "x"}}
    story = play(host, worker, "uncaught", {"x": 1}, lambda child: failed)
    assert (story.failure["kind"], story.failure["code"]) == ("USER", "ValueError")


def test_cancelling_a_call_cancels_the_child(host: Host, worker: RunningWorker) -> None:
    """Cancelling the asyncio task that awaits a child withdraws it, after it was asked for."""
    story = play(host, worker, "cancel_child", answer=lambda child: None)
    assert story.output == "cancelled"
    assert story.cancels == [story.children[0]["key"]]


def test_inputs_that_are_too_large_raise_in_the_caller(host: Host, worker: RunningWorker) -> None:
    """Nothing is asked for when the inputs exceed the limit."""
    story = play(host, worker, "too_large_for_child")
    assert "max_inline_io_bytes=10" in story.output
    assert story.children == []


@pytest.mark.parametrize(
    ("attribute", "expected"), [("sync_in_async", 4), ("aio", 9), ("own_loop", 9), ("threads", 9)]
)
def test_children_can_be_called_from_anywhere(
    host: Host, worker: RunningWorker, attribute: str, expected: int
) -> None:
    """Sync calls in async code, `aio`, and loops and threads of the user's own all make children."""
    story = play(host, worker, attribute, {"x": 4})
    assert story.output == expected
    assert len(story.children) == (1 if expected == 4 else 2)


def test_children_that_nobody_awaits_are_withdrawn_at_the_end(host: Host, worker: RunningWorker) -> None:
    """A parent that returns while a child runs cancels it before its result."""
    story = play(host, worker, "forgets", answer=lambda child: None)
    assert story.output == "done"
    assert story.cancels == [child["key"] for child in story.children]
    assert play(host, worker, "add", {"x": 1}).output == 2


def test_unresolved_children_are_asked_for_again_after_a_reconnect(host: Host, worker: RunningWorker) -> None:
    """A new connection hears of leases, definitions and children without an outcome, in this order."""
    header = host.run_header("fan")
    worker.peer.send(header, json.dumps({"count": 3}).encode())
    children = take(*worker.peer.until("children"), Story())
    respond(worker, [(children[0], echo(children[0]))])
    worker.peer.until("park")
    peer = worker.reconnect()
    assert [lease["lease"] for lease in worker.hellos["worker"]["leases"]] == [header["lease"]]
    assert peer.expect("started")[0]["lease"] == header["lease"]
    peer.expect("spec")
    again = take(*peer.expect("children"), Story())
    assert [child["key"] for child in again] == [child["key"] for child in children[1:]]
    respond(worker, [(child, echo(child)) for child in children])
    assert follow(worker).output == 3


def test_outcomes_that_come_twice_count_once(host: Host, worker: RunningWorker) -> None:
    """A repeated outcome changes nothing."""
    header = host.run_header("chain")
    worker.peer.send(header, b'{"x":3}')
    first = take(*worker.peer.until("children"), Story())[0]
    for value in (4, 5):
        respond(worker, [(first, succeed(value))])
    second = take(*worker.peer.until("children"), Story())[0]
    assert second["inputs"] == {"x": 4}
    respond(worker, [(second, succeed(9))])
    assert follow(worker).output == 9

"""A lease is parked when, and only when, nothing but the outcome of a child can make it go on."""

from __future__ import annotations

import json

import pytest
from host import Host, RunningWorker
from parent import Story, echo, follow, play, respond, take


@pytest.mark.parametrize(
    ("attribute", "inputs", "children"),
    [
        ("chain", {"x": 1}, [1, 2]),
        ("chain_sync", {"x": 1}, [1, 2]),
        ("fan", {"count": 50}, [50]),
        ("with_semaphore", {"count": 4}, [2, 4]),
        ("sync_in_async", {"x": 1}, [1]),
        ("own_loop", {"x": 1}, [2]),
    ],
)
def test_parents_that_only_wait_are_parked(
    host: Host, worker: RunningWorker, attribute: str, inputs: dict, children: list[int]
) -> None:
    """Each time a parent has nothing to do but wait it is parked, behind the children that it waits for."""
    story = play(host, worker, attribute, inputs, once_parked=True)
    assert [asked for asked, _ in story.parks] == children
    assert all(park["awaiting"] > 0 for _, park in story.parks)


def test_a_parent_counts_what_it_awaits(host: Host, worker: RunningWorker) -> None:
    """A park says how many children have no outcome, so that one sent too early is known to be stale."""
    worker.peer.send(host.run_header("fan"), b'{"count":3}')
    children = take(*worker.peer.until("children"), Story())
    assert worker.peer.expect("park")[0]["awaiting"] == 3
    respond(worker, [(children[0], echo(children[0]))])
    assert worker.peer.expect("park")[0]["awaiting"] == 2
    respond(worker, [(child, echo(child)) for child in children[1:]])
    assert follow(worker).output == 3


def test_consuming_results_as_they_come_parks_in_between(host: Host, worker: RunningWorker) -> None:
    """`asyncio.as_completed` waits on plain futures, and is parked all the same."""
    worker.peer.send(host.run_header("as_completed"), b'{"count":2}')
    children = take(*worker.peer.until("children"), Story())
    worker.peer.expect("park")
    respond(worker, [(children[0], echo(children[0]))])
    assert worker.peer.expect("park")[0]["awaiting"] == 1
    respond(worker, [(children[1], echo(children[1]))])
    assert follow(worker).output == 1


@pytest.mark.parametrize("attribute", ["with_timer", "with_thread"])
def test_parents_with_something_else_going_on_are_not_parked(
    host: Host, worker: RunningWorker, attribute: str
) -> None:
    """A timer or a thread of the parent's own keeps it from being parked."""
    assert play(host, worker, attribute).parks == []


def test_a_thread_that_is_done_does_not_keep_a_parent(host: Host, worker: RunningWorker) -> None:
    """While `asyncio.to_thread` works a parent is not parked; when only its idle threads are left it is."""
    story = play(host, worker, "with_thread_in_pool")
    assert [asked for asked, _ in story.parks] == [2]


def test_one_of_two_leases_is_parked(host: Host, worker: RunningWorker) -> None:
    """A parent is parked although its neighbour in the process is not waiting for children."""
    busy, parent = host.run_header("wait_for_ever"), host.run_header("chain")
    worker.peer.send(busy, b"{}")
    worker.peer.send(parent, b'{"x":1}')
    assert worker.peer.until("park")[0]["lease"] == parent["lease"]


def test_a_parked_lease_says_so_after_a_reconnect(host: Host, worker: RunningWorker) -> None:
    """A new executor learns that the lease is parked, from the hello and from a park behind its children."""
    header = host.run_header("fan")
    worker.peer.send(header, json.dumps({"count": 2}).encode())
    worker.peer.until("park")
    peer = worker.reconnect()
    assert worker.hellos["worker"]["leases"] == [{"lease": header["lease"], "parked": True}]
    children = take(*peer.until("children"), Story())
    assert peer.expect("park")[0]["awaiting"] == 2
    respond(worker, [(child, echo(child)) for child in children])
    assert follow(worker).output == 1


def test_threads_of_modules_do_not_keep_a_parent(host: Host, worker: RunningWorker) -> None:
    """A thread that a module starts when it is imported belongs to no lease."""
    story = play(host, worker, "chain", {"x": 1}, module="threaded")
    assert [asked for asked, _ in story.parks] == [1, 2]

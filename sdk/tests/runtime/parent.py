"""Plays the platform for a parent: answers its children and takes down what it asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from host import Host, RunningWorker

Outcome = dict[str, Any]


def succeed(value: Any) -> Outcome:
    """The outcome of a child that returned a value."""
    return {"phase": "succeeded", "value": value}


def echo(child: dict[str, Any]) -> Outcome:
    """A child that returns its input."""
    return succeed(child["inputs"]["x"])


@dataclass
class Story:
    """What happened in a lease.

    Attributes:
        children: Children in the order they were asked for, with their inputs and definitions.
        frames: How many `children` frames there were.
        parks: `park` frames, with the number of children asked for before each.
    """

    children: list[dict[str, Any]] = field(default_factory=list)
    specs: dict[str, Any] = field(default_factory=dict)
    frames: int = 0
    parks: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    output: Any = None

    @property
    def failure(self) -> dict[str, Any]:
        failure: dict[str, Any] = self.result["failure"]
        return failure


def play(
    host: Host,
    worker: RunningWorker,
    attribute: str,
    /,
    inputs: Any = None,
    answer: Callable[[dict[str, Any]], Outcome | None] = echo,
    *,
    once_parked: bool = False,
    **fields: Any,
) -> Story:
    """Runs a parent to its end. `answer` gives the outcome of a child, or None to leave it without one.

    With `once_parked` outcomes are held back until the parent has parked.
    """
    header = host.run_header(attribute, **fields)
    worker.peer.send(header, json.dumps(inputs or {}).encode())
    return follow(worker, answer, once_parked=once_parked)


def follow(
    worker: RunningWorker,
    answer: Callable[[dict[str, Any]], Outcome | None] = echo,
    *,
    once_parked: bool = False,
) -> Story:
    """Answers the children of a parent until it ends."""
    story = Story()
    held: list[tuple[dict[str, Any], Outcome]] = []
    while True:
        header, body = worker.peer.receive()
        if header["type"] == "spec":
            story.specs[header["key"]] = header["spec"]
        elif header["type"] == "cancel":
            story.cancels.append(header["key"])
        elif header["type"] == "park":
            story.parks.append((len(story.children), header))
            respond(worker, held)
            held = []
        elif header["type"] == "children":
            story.frames += 1
            answers = [(child, answer(child)) for child in take(header, body, story)]
            held += [(child, outcome) for child, outcome in answers if outcome is not None]
            if not once_parked:
                respond(worker, held)
                held = []
        elif header["type"] == "result":
            story.result = header
            story.output = json.loads(body).get("o0") if body else None
            worker.peer.send({"type": "ack", "lease": header["lease"]})
            return story


def take(header: dict[str, Any], body: bytes, story: Story) -> list[dict[str, Any]]:
    """The children of a frame, with their inputs."""
    start = 0
    for child in header["children"]:
        child["inputs"] = json.loads(body[start : start + child["size"]])
        start += child["size"]
        story.children.append(child)
    assert start == len(body)
    return list(header["children"])


def respond(worker: RunningWorker, answers: list[tuple[dict[str, Any], Outcome]]) -> None:
    """Sends outcomes, all in one frame."""
    documents, outcomes = [], []
    for child, outcome in answers:
        document = json.dumps({"o0": outcome["value"]}).encode() if "value" in outcome else b""
        documents.append(document)
        rest = {name: value for name, value in outcome.items() if name != "value"}
        outcomes.append(
            {
                "lease": child["lease"],
                "key": child["key"],
                "action": child["key"],
                "size": len(document),
                **rest,
            }
        )
    if outcomes:
        worker.peer.send({"type": "outcomes", "outcomes": outcomes}, b"".join(documents))

"""Deployed tasks that running code looks up: asked once per attempt, and again on a new connection."""

from __future__ import annotations

import json
from typing import Any

from host import Host, RunningWorker

MODULE = """
import asyncio

import flyte
from flyte.remote import Task

env = flyte.TaskEnvironment(name="looking")


@env.task
async def twice(x: int) -> list[int]:
    handle = Task.get("there.add", auto_version="latest")
    return await asyncio.gather(handle(x=x), handle(x=x + 1))


@env.task
async def missing() -> str:
    try:
        await Task.get("there.no", project="p", domain="d", version="v1")()
    except flyte.errors.RemoteTaskNotFoundError as error:
        return error.message
    return ""
"""

SPEC: dict[str, Any] = {
    "name": "there.add",
    "environment": "there",
    "interface": {
        "inputs": [{"name": "x", "schema_json": '{"type":"integer"}', "required": True}],
        "outputs": [{"name": "o0", "schema_json": '{"type":"integer"}'}],
    },
    "code": {"module": "there", "attribute": "add", "version": "v7"},
    "max_inline_io_bytes": "1000",
}


def test_a_lookup_is_asked_again_on_a_new_connection_and_once_per_attempt(
    host: Host, worker: RunningWorker
) -> None:
    """Two calls share one lookup; an executor that restarts before the answer is asked again."""
    host.module("looking", MODULE)
    run = host.run_header("twice", "looking")
    worker.peer.send(run, b'{"x":1}')
    asked, _ = worker.peer.until("task")
    assert (asked["name"], asked["version"], asked["project"]) == ("there.add", "", "")
    peer = worker.reconnect()
    assert peer.until("task")[0] == asked
    peer.send({"type": "task", "lease": run["lease"], "id": asked["id"]}, json.dumps(SPEC).encode())
    assert peer.until("spec")[0]["spec"] == SPEC
    children = peer.until("children")[0]["children"]
    assert len(children) == 2
    outcomes = [
        {"lease": run["lease"], "key": child["key"], "action": "c", "phase": "succeeded", "size": 8}
        for child in children
    ]
    peer.send({"type": "outcomes", "outcomes": outcomes}, b'{"o0":3}' * 2)
    assert json.loads(peer.until("result")[1]) == {"o0": [3, 3]}


def test_a_task_that_is_not_there_is_a_typed_error(host: Host, worker: RunningWorker) -> None:
    """Project, domain and version are asked for as they were given; the refusal's words reach the caller."""
    host.module("looking", MODULE)
    run = host.run_header("missing", "looking")
    worker.peer.send(run, b"{}")
    asked, _ = worker.peer.until("task")
    assert (asked["project"], asked["domain"], asked["version"]) == ("p", "d", "v1")
    error = {"code": "TASK_NOT_FOUND", "message": "task 'there.no' is not deployed"}
    worker.peer.send({"type": "task", "lease": run["lease"], "id": asked["id"], "error": error})
    assert json.loads(worker.peer.until("result")[1]) == {"o0": "task 'there.no' is not deployed"}

"""Deployed tasks that running code looks up by name, through the executor."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from flyte import errors
from flyte._runtime.frames import Header
from flyte._runtime.lease import Lease

_NOT_FOUND = "TASK_NOT_FOUND"


class Lookups:
    """What was asked and has no answer yet. Touched on the event loop only.

    Args:
        send: Sends a frame to the executor.
    """

    def __init__(self, send: Callable[[Header], None]) -> None:
        self._send = send
        self._pending: dict[int, tuple[Lease, Header, Future[dict[str, Any]]]] = {}
        self._numbers = itertools.count(1)

    def ask(self, lease: Lease, wanted: Header, answer: Future[dict[str, Any]]) -> None:
        """Asks for a task: its name and, when they are not the run's own, project, domain and version."""
        if lease.ended or lease.killed is not None:
            answer.cancel()
            return
        number = next(self._numbers)
        frame: Header = {"type": "task", "lease": lease.id, "id": number, **wanted}
        self._pending[number] = lease, frame, answer
        lease.lookups += 1
        self._send(frame)

    def ask_again(self) -> None:
        """Asks on a new connection for what was not answered."""
        for _, frame, _ in self._pending.values():
            self._send(frame)

    def answered(self, header: Header, body: bytes) -> None:
        """The executor knows."""
        found = self._pending.pop(int(header["id"]), None)
        if found is None:
            return
        lease, frame, answer = found
        lease.lookups -= 1
        if answer.cancelled():
            return
        error = header.get("error")
        if error is None:
            answer.set_result(json.loads(body))
        elif error["code"] == _NOT_FOUND:
            answer.set_exception(errors.RemoteTaskNotFoundError(str(error["message"])))
        else:
            message = f"task {frame['name']!r} could not be looked up: {error['message']}"
            answer.set_exception(errors.RuntimeSystemError(str(error["code"]), message))

    def drop(self, lease: Lease) -> None:
        """Nobody waits any more: the lease ended or was killed."""
        for number, (asker, _, answer) in list(self._pending.items()):
            if asker is lease:
                del self._pending[number]
                lease.lookups -= 1
                answer.cancel()

"""A traced call inside an attempt: asks for what an earlier attempt recorded, and records how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyte._runtime import failures
from flyte._runtime.lease import Child, Outcome, TraceEnd
from flyte._types import digest

if TYPE_CHECKING:
    from flyte._runtime.controller import LeaseController


class LeaseTrace:
    """One traced call.

    Args:
        controller: Of the attempt.
        name: Of the traced function, for messages.
        child: What the call is recorded as.
        replays: An earlier attempt may have recorded it: it asks first.
    """

    def __init__(self, controller: LeaseController, name: str, child: Child, replays: bool) -> None:
        self.key = child.key
        self._controller = controller
        self._name = name
        self._child = child
        self._replays = replays

    async def recorded(self) -> bytes | None:
        """The outputs that an earlier attempt recorded; None when the call has to be made."""
        if not self._replays:
            self._controller.begin_trace(self._child)
            return None
        return self._answer(await self._controller.ask(self._child))

    def recorded_sync(self) -> bytes | None:
        """The same, blocking."""
        if not self._replays:
            self._controller.begin_trace(self._child)
            return None
        return self._answer(self._controller.ask_sync(self._child))

    def _answer(self, outcome: Outcome | None) -> bytes | None:
        if outcome is not None and outcome.phase == "running":
            return None
        return self._controller.document(self._name, self._child, outcome)

    async def keep(self, outputs: bytes) -> None:
        """Records the outputs; returns when the executor has them in its outbox."""
        await self._controller.keep_trace(self._kept(outputs))

    def keep_sync(self, outputs: bytes) -> None:
        """The same, blocking."""
        self._controller.keep_trace_sync(self._kept(outputs))

    def _kept(self, outputs: bytes) -> TraceEnd:
        self._controller.learn(self.key, outputs)
        return TraceEnd(self.key, outputs, digest(outputs))

    async def fail(self, error: BaseException) -> None:
        """Records that the call raised; returns as `keep`."""
        await self._controller.keep_trace(self._failed(error))

    def fail_sync(self, error: BaseException) -> None:
        """The same, blocking."""
        self._controller.keep_trace_sync(self._failed(error))

    def _failed(self, error: BaseException) -> TraceEnd:
        return TraceEnd(self.key, failure=dict(failures.from_exception(error)))

    def abandon(self, reason: str) -> None:
        """Records that the call did not come to its end."""
        self._controller.end_trace(TraceEnd(self.key, abandoned=reason))

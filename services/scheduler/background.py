"""Work beside the shell: a loop that a defect ends by itself, and nothing else with it."""

from __future__ import annotations

import asyncio

import structlog

_log = structlog.get_logger(__name__)


class Background:
    """A loop of its own, from `start` to `stop`.

    Args:
        name: Name of its task.
        lost: What the log says when the loop ends by itself: what no longer happens, and what becomes of the rest.
    """

    def __init__(self, name: str, lost: str) -> None:
        self._name = name
        self._lost = lost
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins. Call it in the event loop."""
        self._task = asyncio.create_task(self._run(), name=self._name)
        self._task.add_done_callback(self._report)

    async def stop(self) -> None:
        """Stops. What was not done is done after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        """The loop."""
        raise NotImplementedError

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error(self._lost, exc_info=error)

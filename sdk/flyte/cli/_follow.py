"""What all actions of a run write, while it goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from typing import TYPE_CHECKING

from flyte._client._loop import LOOP
from flyte.models import ActionPhase

if TYPE_CHECKING:
    from flyte.remote import Action

_MOST_STREAMS = 32
_SILENT_SECONDS = 10.0
_NOT_STARTED = frozenset(
    {ActionPhase.QUEUED, ActionPhase.WAITING_FOR_RESOURCES, ActionPhase.INITIALIZING, ActionPhase.PAUSED}
)


class LogFollower:
    """Prints the lines of actions as they come: those of children with their names in front.

    So many are followed at once; further ones when others have ended, so that none is left out.

    Args:
        say: Prints a line; True for one that is about the run, False for one that it wrote.
    """

    def __init__(self, say: Callable[[str, bool], None]) -> None:
        self._say = say
        self._followed: dict[str, Future[None]] = {}
        self._streams: asyncio.Semaphore | None = None
        self._heard = time.monotonic()

    def see(self, actions: tuple[Action, ...]) -> None:
        """Follows those that have begun. Actions without an attempt write nothing."""
        for action in actions:
            begun = action.known_phase not in _NOT_STARTED and action.attempts > 0
            if begun and action.name not in self._followed:
                self._followed[action.name] = LOOP.submit(self._follow(action))

    def finish(self) -> None:
        """Returns when all lines are printed; after some seconds of silence without them, which it says."""
        self._heard = time.monotonic()
        waiting = set(self._followed.values())
        while waiting and time.monotonic() - self._heard < _SILENT_SECONDS:
            waiting = wait_for_futures(waiting, timeout=0.5).not_done
        for future in waiting:
            future.cancel()
        if waiting:
            self._say("Some logs do not end: flyte get logs shows them", True)

    async def _follow(self, action: Action) -> None:
        if self._streams is None:
            self._streams = asyncio.Semaphore(_MOST_STREAMS)
        front = f"[{action.short_name} {action.name}] " if action.parent else ""
        async with self._streams:
            try:
                async for line in action.get_logs.aio(follow=True):
                    self._heard = time.monotonic()
                    self._say(f"{front}{line.text}", False)
            except Exception as error:  # noqa: BLE001 - said to the user; the run itself goes on
                self._say(f"The log of {action.short_name} could not be followed: {error}", True)
            self._heard = time.monotonic()

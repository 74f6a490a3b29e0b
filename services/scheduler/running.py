"""What exists between start and stop, for servicers that exist before."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.errors import Unavailable
from services.scheduler.feed import EventFeed
from services.scheduler.service import Commands
from services.scheduler.sessions import Sessions
from services.scheduler.shell import Shell
from services.scheduler.specs import Specs


@dataclass(frozen=True, slots=True)
class Running:
    """A scheduler that was started."""

    shell: Shell
    commands: Commands
    sessions: Sessions
    feed: EventFeed
    specs: Specs


class Slot:
    """Holds what is running."""

    def __init__(self) -> None:
        self._running: Running | None = None

    def set(self, running: Running | None) -> None:
        """Puts in what was started, None at the end."""
        self._running = running

    def get(self) -> Running:
        """Returns what is running.

        Raises:
            Unavailable: The scheduler is not started, or is stopping.
        """
        if self._running is None:
            raise Unavailable("the scheduler is not ready; try again", reason="NOT_READY")
        return self._running

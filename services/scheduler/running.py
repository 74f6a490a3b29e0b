"""What exists between start and stop, for servicers that exist before."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.errors import Unavailable
from services.scheduler.caching import CacheLookup
from services.scheduler.deployments import Deployments
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
    deployments: Deployments
    sessions: Sessions
    feed: EventFeed
    specs: Specs
    cache: CacheLookup


class Slot:
    """Holds what is running."""

    def __init__(self) -> None:
        self._running: Running | None = None
        self._writer: str | None = None

    def set(self, running: Running | None) -> None:
        """Puts in what was started, None at the end."""
        self._running = running
        self._writer = None

    def stand_by(self, writer: str) -> None:
        """Notes that another scheduler does the work.

        Args:
            writer: Where it answers, empty when it does not say.
        """
        self._writer = writer

    def get(self) -> Running:
        """Returns what is running.

        Raises:
            Unavailable: The scheduler waits as standby (reason ``STANDBY``, with the address of the one that
                serves), is not started, or is stopping.
        """
        if self._running is not None:
            return self._running
        if self._writer is not None:
            other = f"the one at {self._writer}" if self._writer else "another one"
            message = f"this scheduler is a standby: {other} does the work; send the request there"
            raise Unavailable(message, reason="STANDBY", writer=self._writer)
        raise Unavailable("the scheduler is not ready; try again", reason="NOT_READY")

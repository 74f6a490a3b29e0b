"""Keeps the right to write the ledger while the scheduler runs.

It renews from the event loop, in a thread and a session of its own: neither a commit that takes long nor the readers'
threads hold it up, and a scheduler whose loop hangs loses the right, as it should.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog
from sqlalchemy.exc import DBAPIError

from services.common.db import is_passing
from services.scheduler.writer_lease import WriterLease

_log = structlog.get_logger(__name__)
_RENEWALS = 5
"""Renewals in the time after which another one may take over."""
_PAUSE = 0.2


class Renewal:
    """Renews the right to write in the background, and proves it before anything leaves.

    Args:
        lease: The right, taken.
        seconds: How long it lasts unless it is renewed.
        on_lost: Called once when it was lost, or cannot be kept because of a defect.
    """

    def __init__(self, lease: WriterLease, seconds: float, on_lost: Callable[[BaseException], None]) -> None:
        self._lease = lease
        self._seconds = seconds
        self._on_lost = on_lost
        self._proved_at = _boot_time()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-lease")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to renew. Call it in the event loop."""
        self._task = asyncio.create_task(self._run(), name="ledger-lease")

    async def stop(self) -> None:
        """Ends the renewing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)

    def now(self) -> float:
        """Returns seconds that go on while the process or the machine is paused: moments for `proved`."""
        return _boot_time()

    def proved(self, moment: float) -> None:
        """Notes that the right was this process's after a moment: a commit that began then has passed the fence."""
        self._proved_at = max(self._proved_at, moment)

    async def confirm(self) -> None:
        """Returns once it is sure that the right was this process's within the time that it lasts.

        After a pause of the process, what was committed before must not leave behind a newer writer's back.

        Raises:
            Superseded: Another one has taken over.
        """
        if _boot_time() - self._proved_at >= self._seconds:
            await self._renew()

    async def _run(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._seconds / _RENEWALS)
                await self._renew()
        except Exception as error:  # noqa: BLE001  # the caller decides how the process ends
            self._on_lost(error)

    async def _renew(self) -> None:
        """Renews, as soon as the database can be reached: until then nobody else can take over either."""
        while True:
            began = _boot_time()
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._lease.renew)
            except DBAPIError as error:
                if not is_passing(error):
                    raise
                _log.debug("the right to write cannot be renewed; trying again", error=str(error.orig))
            else:
                self.proved(began)
                return
            await asyncio.sleep(_PAUSE)


def _boot_time() -> float:
    """Seconds since the machine started, its sleep included where the system can tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)

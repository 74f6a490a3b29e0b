"""Waiting for the right to write the ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy.exc import DBAPIError

from services.common.db import is_passing
from services.common.errors import FailedPrecondition
from services.scheduler.writer_lease import Holder, WriterLease

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_POLL_SECONDS = 0.5
_COURTESY_SECONDS = 2.0
"""After the database was away its writer goes first: it is repeating a commit, and nothing has to be loaded."""


class Standby:
    """Takes the right to write as soon as nobody has it.

    Args:
        lease: The right.
        on_holder: Called with the address of who has it, whenever that changes.
    """

    def __init__(self, lease: WriterLease, on_holder: Callable[[str], None]) -> None:
        self._lease = lease
        self._on_holder = on_holder
        self._holder: Holder | None = None
        self._not_before = 0.0

    async def take_now(self, *, forced: bool) -> bool:
        """Takes it unless another one has it.

        Args:
            forced: True to take it whoever has it: that one is gone for certain.
        """
        now = time.time_ns() // 1000
        if await _to_its_end(partial(self._lease.take, now, only_if_lapsed=not forced)):
            return True
        self._note(await _to_its_end(self._lease.holder))
        return False

    async def take_within(self, seconds: float) -> None:
        """Takes it once it lapses, which takes this long when its holder is gone.

        Raises:
            FailedPrecondition: Its holder is alive (reason ``LEDGER_IN_USE``).
        """
        try:
            async with asyncio.timeout(seconds + 2 * _POLL_SECONDS):
                await self.take()
        except TimeoutError:
            raise FailedPrecondition(
                f"another scheduler, {self._holder}, writes this ledger: stop that one first, "
                "or start this one with `hangar serve scheduler`, which waits as its standby",
                reason="LEDGER_IN_USE",
            ) from None

    async def take(self) -> None:
        """Takes it once nobody has it, however long that takes."""
        _log.info("waiting as standby", writer=str(self._holder))
        while True:
            if await self._try():
                break
            await asyncio.sleep(_POLL_SECONDS)
        _log.info("taking over", generation=self._lease.generation, before=str(self._holder))

    async def _try(self) -> bool:
        try:
            holder = await _to_its_end(self._lease.holder)
            self._note(holder)
            if holder.lapsed and time.monotonic() >= self._not_before:
                return await self.take_now(forced=False)
        except DBAPIError as error:
            if not is_passing(error):
                raise
            if time.monotonic() >= self._not_before:
                _log.warning("the ledger cannot be reached; waiting", error=str(error.orig))
            self._not_before = time.monotonic() + _COURTESY_SECONDS
        return False

    def _note(self, holder: Holder) -> None:
        if self._holder is None or holder.generation != self._holder.generation:
            self._on_holder(holder.address)
        self._holder = holder


async def _to_its_end(question: Callable[[], T]) -> T:
    """Asks the database on a thread. Who is cancelled waits for that thread: the connections are closed after it."""
    asking = asyncio.ensure_future(asyncio.to_thread(question))
    try:
        return await asyncio.shield(asking)
    except asyncio.CancelledError:
        await asyncio.gather(asking, return_exceptions=True)
        raise

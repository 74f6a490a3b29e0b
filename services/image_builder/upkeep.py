"""Removes images that nobody asks for any more: when an operator wants it, and from time to time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import structlog

from services.common.clock import Clock
from services.common.errors import FailedPrecondition, HangarError, InvalidArgument, NotFound, Unavailable
from services.image_builder.makers import Maker
from services.image_builder.store import Store

_UPKEEP_SECONDS = 600.0
_log = structlog.get_logger(__name__)


class Upkeep:
    """Looks after what an image builder has made.

    Args:
        store: The record of builds.
        clock: Tells the time.
        makers: What made the images.
        delete: Removes an image and its build.
    """

    def __init__(
        self, store: Store, clock: Clock, makers: Sequence[Maker], delete: Callable[[str], Awaitable[None]]
    ) -> None:
        self._store = store
        self._clock = clock
        self._makers = makers
        self._delete = delete

    async def prune(self, max_age_seconds: float | None, *, build_cache: bool) -> tuple[list[str], int]:
        """Removes images of this builder that nobody asked for lately, and what it keeps. What is in use stays.

        Returns:
            Names of the images, and bytes of what the builder kept.

        Raises:
            InvalidArgument: The age is none.
        """
        if max_age_seconds is None or max_age_seconds < 0:
            what = "is missing" if max_age_seconds is None else f"is {max_age_seconds:g}"
            fix = "give the seconds for which nobody has asked for what goes; 0 for all that is not in use"
            raise InvalidArgument(f"max_age_seconds {what}: {fix}", field="max_age_seconds")
        moment = self._clock.now() - timedelta(seconds=max_age_seconds)
        known = await asyncio.to_thread(self._store.names)
        old, others = await asyncio.to_thread(self._store.unasked_since, moment), set[str]()
        for maker in self._makers:
            with suppress(Unavailable):  # where tasks run as processes there may be no engine
                found = await maker.list_made()
                old |= {
                    name
                    for name, made in found
                    if made.is_own and name not in known and made.made_at <= moment
                }
                others |= {name for name, made in found if not made.is_own}
        removed = []
        for name in sorted(old - others):
            try:
                await self._delete(name)
            except FailedPrecondition:  # in use
                continue
            except NotFound:  # its build failed, and is on record only
                pass
            removed.append(name)
        for maker in self._makers:
            with suppress(Unavailable):
                await maker.remove_unneeded(moment)
        freed = [await maker.prune_cache(max_age_seconds) for maker in self._makers if build_cache]
        return removed, sum(freed)

    async def look_after(self, keep: float) -> None:
        """Removes, from time to time, images that nobody asked for within so many seconds."""
        while True:
            try:
                removed, _ = await self.prune(keep, build_cache=False)
                if removed:
                    _log.info("images removed", images=removed)
            except HangarError as error:
                _log.warning("old images cannot be removed", reason=error.message)
            await asyncio.sleep(_UPKEEP_SECONDS)

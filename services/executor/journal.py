"""Group commit: what queued up since the last commit goes into the next one."""

import asyncio
import sqlite3
from collections.abc import Callable

import structlog

from services.common import disk
from services.executor.outbox import Batch, Outbox

log = structlog.get_logger(__name__)

RETRY_SECONDS = 0.5
LAZY_SECONDS = 0.05
CHECKPOINT_BYTES = 8 * 1024 * 1024
TRUNCATE_BYTES = 128 * 1024 * 1024


class Journal:
    """Writes to the outbox on the event loop, once per turn of the loop at most.

    A commit takes some tens of microseconds because it waits for no disk; a thread for it would cost more in
    hand-overs than it saves. Checkpoints wait for the disk: they run on a thread.

    Args:
        outbox: The file.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._callbacks: list[Callable[[], None]] = []
        self._scheduled: asyncio.Handle | None = None
        self._checkpoint: asyncio.Task[None] | None = None
        self._blocked = False
        self._closed = False
        self._lazy: asyncio.TimerHandle | None = None
        self.pending = Batch()
        """Changes of the next commit: append to its lists, then call `commit_soon`."""
        self.trouble = ""
        """Why the outbox cannot be written at the moment, empty when it can."""
        self.on_trouble: Callable[[str], None] = lambda reason: None
        """Called with that at every try that fails because of it, and with an empty text when it is over."""

    def commit_soon(self, then: Callable[[], None] | None = None) -> None:
        """Commit what is pending in the next turn of the loop, then call `then`."""
        if then is not None:
            self._callbacks.append(then)
        if self._scheduled is None and not self._blocked and not self._closed:
            self._scheduled = asyncio.get_running_loop().call_soon(self._commit)

    def commit_later(self) -> None:
        """Commit what is pending with the next commit, or by itself a moment later."""
        if self._lazy is None and not self._closed:
            self._lazy = asyncio.get_running_loop().call_later(LAZY_SECONDS, self._commit_lazily)

    def _commit_lazily(self) -> None:
        self._lazy = None
        self.commit_soon()

    async def settled(self) -> None:
        """Waits until all that is pending is committed and its callbacks have run."""
        done = asyncio.Event()
        self.commit_soon(done.set)
        await done.wait()

    def _commit(self) -> None:
        self._scheduled = None
        batch = self.pending
        if batch:
            try:
                self._outbox.commit(batch)
            except sqlite3.Error as error:
                self._failed(error)
                return
            self.pending = Batch()
        if self.trouble and batch:
            log.info("outbox.working_again")
            self.trouble = ""
            self.on_trouble("")  # Before the callbacks: what waited is told apart by that.
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
        self._checkpoint_when_due()

    def _failed(self, error: sqlite3.Error) -> None:
        reason = str(error)
        if disk.is_full(error):
            reason = disk.full_message(self._outbox.path.parent, 0, "the outbox")
        if not self.trouble:
            log.error("outbox.write_failed", error=reason, hint="nothing is lost; it is tried again")
        self.trouble = reason
        self.on_trouble(reason)
        self._scheduled = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._commit)

    def _checkpoint_when_due(self) -> None:
        if self._closed:
            return
        size = self._outbox.log_bytes()
        if size > TRUNCATE_BYTES:
            self._blocked = True  # Commits outran the checkpoints: they wait for one that empties the log.
        if size > CHECKPOINT_BYTES and self._checkpoint is None:
            self._checkpoint = asyncio.get_running_loop().create_task(self._run_checkpoints())

    async def _run_checkpoints(self) -> None:
        try:
            await asyncio.to_thread(self._outbox.checkpoint, truncate=self._blocked)
            if self._blocked and self._outbox.log_bytes() > CHECKPOINT_BYTES:
                await asyncio.to_thread(self._outbox.checkpoint, truncate=True)
        except sqlite3.Error as error:
            log.warning("outbox.checkpoint_failed", error=str(error))
        finally:
            self._checkpoint = None
            self._blocked = False
            if self._callbacks or self.pending:
                self.commit_soon()

    async def close(self) -> None:
        """Commit what is pending and let a running checkpoint end."""
        if self._lazy is not None:
            self._lazy.cancel()
            self.commit_soon()
        if self._checkpoint is not None:
            await asyncio.wait([self._checkpoint])
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._commit()
        self._closed = True
        if self._scheduled is not None:
            self._scheduled.cancel()

"""Turns what the core decided into rows of the ledger and events for those who watch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.scheduler.action_rows import ActionRows
from services.scheduler.attempt_rows import AttemptRows
from services.scheduler.core import effects as fx
from services.scheduler.definition_rows import DefinitionRows
from services.scheduler.documents import Payloads
from services.scheduler.host_rows import HostRows
from services.scheduler.live import Live
from services.scheduler.recording import ROW_BYTES, Draft, NextIds, Recording
from services.scheduler.rows import Row, parameters
from services.scheduler.run_rows import RunRows


class Recorder:
    """Collects the changes of the next transaction.

    Args:
        live: What is live; kept up to date.
        payloads: Where inputs and outputs are kept for frames.
        next_ids: The identities to hand out next, as the ledger has them.

    Attributes:
        definitions: Takes definitions that are deployed.
        attempts: Takes what attempts say on the way.
        hosts: Takes the images of workers.
    """

    def __init__(self, live: Live, payloads: Payloads, next_ids: NextIds) -> None:
        self._draft = draft = Draft(live, next_ids)
        self.definitions = DefinitionRows(draft)
        self.attempts = AttemptRows(draft)
        self.hosts = HostRows(draft)
        runs = RunRows(draft)
        actions = ActionRows(draft, self.definitions, payloads)
        self._handlers: dict[type, Callable[[Any], None]] = {
            fx.RunCreated: runs.created,
            fx.RunMoved: runs.moved,
            fx.ActionCreated: actions.created,
            fx.ActionMoved: actions.moved,
            fx.ActionAdopted: actions.adopted,
            fx.CacheStored: actions.result_stored,
            fx.LeaseGranted: self.attempts.granted,
            fx.LeaseRunning: self.attempts.running,
            fx.LeaseClosed: self.attempts.closed,
            fx.WorkerChanged: self.hosts.worker_changed,
            fx.NodeChanged: self.hosts.node_changed,
        }

    @property
    def weight(self) -> int:
        """Roughly the bytes of the next transaction."""
        return self._draft.rows.weight

    def record(self, effect: fx.Persist) -> None:
        """Adds an effect that changes the ledger."""
        self._handlers[type(effect)](effect)
        self._draft.rows.weight += ROW_BYTES

    def record_log_chunk(self, row: Row) -> None:
        """Adds a log chunk, columns of `log_chunk`. One that is known already stays as it is."""
        self._draft.rows.log_chunks.append(row)
        self._draft.rows.weight += ROW_BYTES

    def record_notification(
        self, key: tuple[int, int], tries: int, due_at: int, ended_at: int | None, error: str
    ) -> None:
        """Notes what became of a notification that was sent."""
        values = {"tries": tries, "due_at": due_at, "ended_at": ended_at, "error": error}
        change: Row = dict(zip(parameters(values), values.values(), strict=True))
        change["cursor_"], change["number_"] = key
        self._draft.rows.notification_changes.append(change)
        self._draft.rows.weight += ROW_BYTES

    def record_span_export(self, cursor: int) -> None:
        """Notes how far spans were exported."""
        self._draft.rows.span_export = {"id": 1, "cursor": cursor}
        self._draft.rows.weight += ROW_BYTES

    def take(self) -> Recording:
        """Returns what was collected, and starts anew."""
        return self._draft.take()

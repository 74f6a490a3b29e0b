"""Rows of attempts: granted, running, closed, and what they say on the way."""

from __future__ import annotations

import json

from hangar.core.v1.progress_pb2 import Progress
from services.scheduler.convert import PHASE_NUMBER
from services.scheduler.core import effects as fx
from services.scheduler.core.model import Phase
from services.scheduler.live import LiveAction, SpanIds
from services.scheduler.progress import progress_text, progress_words
from services.scheduler.recording import NO_FAILURE_ROW, ROW_BYTES, Draft, failure_values
from services.scheduler.rows import CLOSED_COLUMNS, Row, parameters

_CLOSED_PARAMETERS = parameters(CLOSED_COLUMNS)
_INITIALIZING = PHASE_NUMBER[Phase.INITIALIZING]
_RUNNING = PHASE_NUMBER[Phase.RUNNING]


class AttemptRows:
    """Writes attempts into the next transaction."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._span_ids = SpanIds()

    def granted(self, effect: fx.LeaseGranted) -> None:
        """Adds an attempt; what an earlier one had reported no longer counts."""
        action = self._draft.live.actions[effect.action_id]
        parent = self._draft.live.actions.get(action.parent_id) if action.parent_id is not None else None
        action.span_id = self._span_ids.next()
        action.lease_id = effect.lease_id
        if effect.number:  # what an earlier attempt had done
            self._show(action, "")
            action.progress_cursor = 0
        self._draft.live.leases[effect.lease_id] = action
        self._draft.rows.attempts[effect.lease_id] = {
            "id": effect.lease_id,
            "action_id": action.id,
            "number": effect.number,
            "user_attempt": effect.user_attempt,
            "node": effect.node,
            "worker_id": effect.worker_id,
            "pool_key": effect.pool_key,
            "gpu_uuids": json.dumps(effect.gpu_uuids),
            "phase": _INITIALIZING,
            "assigned_at": effect.at,
            "started_at": None,
            "ended_at": None,
            "span_id": action.span_id,
            "parent_span_id": parent.span_id if parent is not None else action.run.parent_span_id,
            "peak_memory_bytes": 0,
            "cpu_millis": 0,
            "ended_cursor": None,
            **NO_FAILURE_ROW,
        }
        self._draft.next_ids["next_lease_id"] = effect.lease_id + 1
        self._draft.worker_named(effect.worker_id)

    def running(self, effect: fx.LeaseRunning) -> None:
        """Notes that the user code of an attempt runs."""
        rows = self._draft.rows
        new = rows.attempts.get(effect.lease_id)
        if new is not None:
            new.update(phase=_RUNNING, started_at=effect.at, worker_id=effect.worker_id)
        else:
            rows.attempt_starts[effect.lease_id] = {
                "id_": effect.lease_id,
                "phase_": _RUNNING,
                "started_at_": effect.at,
                "worker_id_": effect.worker_id,
            }

    def closed(self, effect: fx.LeaseClosed) -> None:
        """Notes the end of an attempt."""
        action = self._draft.live.leases.pop(effect.lease_id)
        action.lease_id = 0
        self._draft.cursor += 1
        values = (
            PHASE_NUMBER[effect.phase],
            effect.at,
            self._draft.cursor,
            effect.peak_memory,
            effect.cpu_millis,
            *failure_values(effect.failure),
        )
        rows = self._draft.rows
        new = rows.attempts.get(effect.lease_id)
        if new is not None:
            new.update(zip(CLOSED_COLUMNS, values, strict=True))
            new["started_at"] = effect.started_at or new["started_at"]
            new["worker_id"] = effect.worker_id or new["worker_id"]
            return
        start = rows.attempt_starts.pop(effect.lease_id, None)
        change: Row = dict(zip(_CLOSED_PARAMETERS, values, strict=True))
        change["id_"] = effect.lease_id
        change["started_at_"] = effect.started_at or (start["started_at_"] if start else None)
        change["worker_id_"] = effect.worker_id or (start["worker_id_"] if start else None)
        rows.attempt_ends[effect.lease_id] = change

    def progress(self, lease_id: int, detail: str, at: int) -> None:
        """Shows what the preparation of a lease is doing, or what a running one waits for, unless it is over."""
        action = self._draft.live.leases.get(lease_id)
        if action is None or action.phase not in (_INITIALIZING, _RUNNING):
            return
        rows = self._draft.rows
        if action.id in rows.actions:
            rows.actions[action.id]["wait_reason"] = detail
        elif action.id in rows.action_changes:
            rows.action_changes[action.id]["wait_reason_"] = detail
        else:
            rows.wait_reasons[action.id] = {"id_": action.id, "wait_reason_": detail}
        self._draft.event(action, at, detail)
        rows.weight += ROW_BYTES

    def user_progress(self, lease_id: int, progress: Progress, at: int) -> None:
        """Shows how far user code is. Of all that an attempt reports the ledger keeps the latest, and one event."""
        action = self._draft.live.leases.get(lease_id)
        if action is None or action.phase not in (_INITIALIZING, _RUNNING):
            return
        self._show(action, progress_text(progress))
        if action.progress_cursor:
            self._draft.rows.replaced_events.append({"cursor_": action.progress_cursor})
        self._draft.event(action, at, progress_words(progress))
        action.progress_cursor = self._draft.cursor
        self._draft.rows.weight += ROW_BYTES

    def _show(self, action: LiveAction, text: str) -> None:
        rows = self._draft.rows
        new = rows.actions.get(action.id)
        if new is not None:
            new["progress"] = text
        else:
            rows.progress[action.id] = {"id_": action.id, "progress_": text}

"""What one transaction of the ledger will write, while it is collected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hangar.core.v1.identifiers_pb2 import RunIdentifier
from services.scheduler.convert import FAILURE_KIND_NUMBER
from services.scheduler.core.model import Failure
from services.scheduler.live import Live, LiveAction, LiveRun
from services.scheduler.rows import FAILURE_COLUMNS, RUN_COLUMNS, Rows, parameters

_NO_FAILURE: tuple[Any, ...] = (0, "", "", "", False, "")
NO_FAILURE_ROW = dict(zip(FAILURE_COLUMNS, _NO_FAILURE, strict=True))
ROW_BYTES = 300
"""Roughly the bytes of a row without its texts."""
_RUN_PARAMETERS = parameters(RUN_COLUMNS)


class Change(NamedTuple):
    """An event of the ledger as it is shown to those who watch."""

    cursor: int
    run: RunIdentifier
    action: str
    phase: int
    attempt: int
    occurred_at: int
    detail: str


@dataclass(frozen=True, slots=True)
class NextIds:
    """The identities to hand out next."""

    run: int = 1
    action: int = 1
    lease: int = 1
    worker: int = 1
    cursor: int = 1


@dataclass(slots=True)
class Recording:
    """What one transaction writes, and what is to be seen of it afterwards."""

    rows: Rows = field(default_factory=Rows)
    changes: list[Change] = field(default_factory=list)
    cursor: int = 0
    """Cursor of the newest event after the transaction."""


class Draft:
    """The next transaction, as far as it is collected.

    Args:
        live: What is live.
        next_ids: The identities to hand out next, as the ledger has them.
    """

    def __init__(self, live: Live, next_ids: NextIds) -> None:
        self.live = live
        self.cursor = next_ids.cursor - 1
        self.next_ids = {
            "next_run_id": next_ids.run,
            "next_action_id": next_ids.action,
            "next_lease_id": next_ids.lease,
            "next_worker_id": next_ids.worker,
        }
        self.touched: dict[int, LiveRun] = {}
        """Runs whose row has changed."""
        self.rows = Rows()
        self.changes: list[Change] = []

    def event(self, action: LiveAction, at: int, detail: str) -> None:
        """Adds an event of an action, for the ledger and for those who watch."""
        self.cursor += 1
        run = action.run
        attempt = max(action.attempts - 1, 0)
        self.rows.events.append(
            {
                "cursor": self.cursor,
                "run_id": run.id,
                "action_id": action.id,
                "phase": action.phase,
                "attempt": attempt,
                "occurred_at": at,
                "detail": detail,
            }
        )
        self.changes.append(
            Change(self.cursor, run.identifier, action.name, action.phase, attempt, at, detail)
        )
        run.row["cursor"] = self.cursor
        self.touched[run.id] = run

    def worker_named(self, worker_id: int) -> None:
        """Notes an identity of a worker: later ones are higher."""
        self.next_ids["next_worker_id"] = max(self.next_ids["next_worker_id"], worker_id + 1)

    def take(self) -> Recording:
        """Returns what was collected, and starts anew."""
        rows = self.rows
        for run in self.touched.values():
            values = [run.row[name] for name in RUN_COLUMNS]
            if run.id in rows.runs:
                rows.runs[run.id].update(zip(RUN_COLUMNS, values, strict=True))
            else:
                rows.run_changes[run.id] = {"id_": run.id, **dict(zip(_RUN_PARAMETERS, values, strict=True))}
            if not run.live_count:
                self.live.runs.pop(run.id, None)
        self.touched.clear()
        rows.next_ids = {**self.next_ids, "next_cursor": self.cursor + 1}
        recording = Recording(rows, self.changes, self.cursor)
        self.rows, self.changes = Rows(), []
        return recording


def failure_values(failure: Failure | None) -> tuple[Any, ...]:
    """The values of `FAILURE_COLUMNS`."""
    if failure is None:
        return _NO_FAILURE
    return (
        FAILURE_KIND_NUMBER[failure.kind],
        failure.code,
        failure.message,
        failure.traceback,
        failure.non_recoverable,
        failure.worker,
    )

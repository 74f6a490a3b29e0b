"""Notifications that are to be sent."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from hangar.core.v1.task_spec_pb2 import Notification
from services.ledger.queries.failures import FailureRecord, failure_columns, failure_of
from services.ledger.run_context import run_context
from services.ledger.tables import NOTIFICATION, RUN


@dataclass(frozen=True, slots=True)
class NotificationRecord:
    """What is to be told of a run, and to whom."""

    cursor: int
    """The event that it tells of."""
    number: int
    """Which of the run's notifications it is."""
    phase: int
    occurred_at: int
    tries: int
    project: str
    domain: str
    run: str
    task: str
    failure: FailureRecord | None
    notification: Notification

    @property
    def key(self) -> tuple[int, int]:
        """What identifies it."""
        return self.cursor, self.number


_SETTINGS = (RUN.c.settings, RUN.c.env_vars, RUN.c.labels, RUN.c.overwrite_cache, RUN.c.disable_cache)
_FIELDS = (
    NOTIFICATION.c.cursor,
    NOTIFICATION.c.number,
    NOTIFICATION.c.phase,
    NOTIFICATION.c.occurred_at,
    NOTIFICATION.c.tries,
    RUN.c.project,
    RUN.c.domain,
    RUN.c.name,
    RUN.c.task_name,
)


def due_notifications(connection: Connection, now: int, limit: int) -> list[NotificationRecord]:
    """List notifications that are to be sent, those that wait longest first.

    Args:
        connection: Where to read.
        now: Current time in microseconds.
        limit: Most notifications in the answer.
    """
    query = (
        select(*_FIELDS, *failure_columns(RUN), *_SETTINGS, RUN.c.cache_scope)
        .join_from(NOTIFICATION, RUN, RUN.c.id == NOTIFICATION.c.run_id)
        .where(NOTIFICATION.c.ended_at.is_(None), NOTIFICATION.c.due_at <= now)
        .order_by(NOTIFICATION.c.due_at, NOTIFICATION.c.cursor, NOTIFICATION.c.number)
        .limit(limit)
    )
    return [_record(row) for row in connection.execute(query)]


def _record(row: Any) -> NotificationRecord:
    width = len(_FIELDS)
    failure = failure_of(row[width : -len(_SETTINGS) - 1])
    values = [*row[:width], failure, run_context(row).notifications[row.number]]
    return NotificationRecord(*values)

"""Attempts of an action."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from services.ledger.queries.failures import FailureRecord, failure_columns, failure_of
from services.ledger.tables import ATTEMPT, WORKER_IMAGE


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt."""

    lease_id: int
    action_id: int
    number: int
    """From 0."""
    user_attempt: int
    phase: int
    node: str
    worker_id: int
    """0 when it never had one."""
    pool_key: str
    assigned_at: int
    started_at: int | None
    ended_at: int | None
    span_id: str
    """16 hex digits."""
    peak_memory_bytes: int
    cpu_millis: int
    image: str
    """What its worker was started from, empty when that is not known or was no image."""
    failure: FailureRecord | None


_COLUMNS = (
    ATTEMPT.c.id,
    ATTEMPT.c.action_id,
    ATTEMPT.c.number,
    ATTEMPT.c.user_attempt,
    ATTEMPT.c.phase,
    ATTEMPT.c.node,
    ATTEMPT.c.worker_id,
    ATTEMPT.c.pool_key,
    ATTEMPT.c.assigned_at,
    ATTEMPT.c.started_at,
    ATTEMPT.c.ended_at,
    ATTEMPT.c.span_id,
    ATTEMPT.c.peak_memory_bytes,
    ATTEMPT.c.cpu_millis,
    func.coalesce(WORKER_IMAGE.c.image, ""),
)
_ATTEMPTS = select(*_COLUMNS, *failure_columns(ATTEMPT)).select_from(
    ATTEMPT.outerjoin(WORKER_IMAGE, WORKER_IMAGE.c.worker_id == ATTEMPT.c.worker_id)
)


def list_attempts(connection: Connection, action_id: int) -> list[AttemptRecord]:
    """List the attempts of an action, oldest first."""
    query = _ATTEMPTS.where(ATTEMPT.c.action_id == action_id).order_by(ATTEMPT.c.number)
    return [_record(row) for row in connection.execute(query)]


def get_attempt(connection: Connection, action_id: int, number: int | None = None) -> AttemptRecord | None:
    """Return one attempt of an action.

    Args:
        connection: Where to read.
        action_id: The action.
        number: Number of the attempt, from 0; None for the newest.

    Returns:
        The attempt, None when there is none.
    """
    query = _ATTEMPTS.where(ATTEMPT.c.action_id == action_id)
    if number is not None:
        query = query.where(ATTEMPT.c.number == number)
    row = connection.execute(query.order_by(ATTEMPT.c.number.desc()).limit(1)).one_or_none()
    return None if row is None else _record(row)


def _record(row: Sequence[Any]) -> AttemptRecord:
    width = len(_COLUMNS)
    values = [*row[:width], failure_of(row[width:])]
    return AttemptRecord(*values)

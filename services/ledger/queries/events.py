"""The stream of committed changes."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from services.ledger.tables import ACTION, EVENT, RUN


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One committed change of an action."""

    cursor: int
    """Position in the stream."""
    project: str
    domain: str
    run: str
    action: str
    phase: int
    attempt: int
    occurred_at: int
    detail: str


_EVENTS = (
    select(
        EVENT.c.cursor,
        RUN.c.project,
        RUN.c.domain,
        RUN.c.name,
        ACTION.c.name,
        EVENT.c.phase,
        EVENT.c.attempt,
        EVENT.c.occurred_at,
        EVENT.c.detail,
    )
    .join_from(EVENT, ACTION, ACTION.c.id == EVENT.c.action_id)
    .join(RUN, RUN.c.id == EVENT.c.run_id)
    .order_by(EVENT.c.cursor)
)


def last_cursor(connection: Connection) -> int:
    """Return the cursor of the newest event, 0 when there is none."""
    newest: int = connection.execute(select(func.coalesce(func.max(EVENT.c.cursor), 0))).scalar_one()
    return newest


def list_events(connection: Connection, after: int, *, limit: int = 1000) -> list[EventRecord]:
    """List events after a cursor in order.

    Args:
        connection: Where to read.
        after: Cursor of the last event that is known; 0 for all that are kept.
        limit: Most events in the answer.

    Returns:
        The events; fewer than `limit` only at the end of what is committed so far.
    """
    return [
        EventRecord(*row) for row in connection.execute(_EVENTS.where(EVENT.c.cursor > after).limit(limit))
    ]


def list_action_events(connection: Connection, action_id: int) -> list[EventRecord]:
    """List all events of one action in order."""
    return [EventRecord(*row) for row in connection.execute(_EVENTS.where(EVENT.c.action_id == action_id))]

"""Log chunks of attempts."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from services.ledger.tables import LOG_CHUNK


@dataclass(frozen=True, slots=True)
class LogChunkRecord:
    """A piece of the log of one attempt in the blob store."""

    lease_id: int
    index: int
    """Position among the chunks of the attempt, from 0."""
    blob_key: str
    size: int
    lines: int
    first_at: int | None
    """Time of its first line."""


def list_log_chunks(
    connection: Connection, lease_id: int, *, from_index: int = 0, limit: int = 1000
) -> list[LogChunkRecord]:
    """List the log chunks of an attempt in order.

    Args:
        connection: Where to read.
        lease_id: The attempt's lease.
        from_index: Index of the first chunk to return.
        limit: Most chunks in the answer.

    Returns:
        The chunks; fewer than `limit` only at the end of what is stored so far.
    """
    c = LOG_CHUNK.c
    query = (
        select(c.lease_id, c.index, c.blob_key, c.size, c.lines, c.first_at)
        .where((c.lease_id == lease_id) & (c.index >= from_index))
        .order_by(c.index)
        .limit(limit)
    )
    return [LogChunkRecord(*row) for row in connection.execute(query)]

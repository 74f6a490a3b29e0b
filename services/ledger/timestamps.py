"""Time as the ledger stores it: whole microseconds since 1970-01-01 UTC.

Integers are the same on SQLite and PostgreSQL, compare and index fast, know no time zone to get wrong, and
go into a protobuf timestamp with one call (`Timestamp.FromMicroseconds`).
"""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """Return a time as the ledger stores it.

    Args:
        moment: A time with a time zone.

    Returns:
        Microseconds since the epoch.

    Raises:
        ValueError: The time has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"time {moment.isoformat()} has no time zone; give it one, such as datetime.UTC")
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return a stored time as a datetime in UTC."""
    return _EPOCH + micros * _MICROSECOND

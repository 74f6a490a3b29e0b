"""What lists are filtered and sorted by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

_FIELDS = ("created_at", "updated_at")
_DIRECTIONS = ("asc", "desc")


@dataclass(frozen=True)
class TimeFilter:
    """A range of times. Times without a zone are local.

    Attributes:
        after: Only what is at or after this time; None for no limit.
        before: Only what is before this time; None for no limit.

    Example:
        ```python
        today = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0)
        runs = flyte.remote.Run.listall(updated_at=flyte.remote.TimeFilter(after=today))
        ```
    """

    after: datetime | None = None
    before: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("after", "before"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, datetime):
                raise TypeError(f"TimeFilter({name}={value!r}) must be a datetime.datetime")


TimeRange: TypeAlias = "TimeFilter | tuple[datetime | None, datetime | None]"
SortBy: TypeAlias = tuple[str, Literal["asc", "desc"]]


def time_range(name: str, value: TimeRange | None) -> TimeFilter:
    """What a parameter for times says.

    Raises:
        TypeError: It is no range.
    """
    if value is None:
        return TimeFilter()
    if isinstance(value, TimeFilter):
        return value
    if isinstance(value, tuple) and len(value) == 2:
        return TimeFilter(*value)
    raise TypeError(f"{name}={value!r} must be flyte.remote.TimeFilter(after=…, before=…) or a pair of times")


def order_of(sort_by: SortBy | None) -> str:
    """What the backend calls an order of runs.

    Raises:
        ValueError: Runs cannot be sorted so.
    """
    if sort_by is None:
        return ""
    pair = tuple(sort_by) if isinstance(sort_by, (tuple, list)) else ()
    if len(pair) != 2 or pair[0] not in _FIELDS or pair[1] not in _DIRECTIONS:
        raise ValueError(
            f'sort_by={sort_by!r} must be a field and a direction: ("created_at" or "updated_at", "asc" or "desc")'
        )
    return pair[0] if pair[1] == "asc" else f"{pair[0]} desc"

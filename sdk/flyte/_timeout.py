"""Time limits of a task."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Timeout:
    """Time limits of an action. A number means seconds; 0 and None mean no limit.

    Attributes:
        max_runtime: Longest run time of one attempt. Beyond it the attempt ends as `TIMED_OUT`.
        max_queued_time: Longest time from enqueueing to the start of the attempt.
        deadline: Longest time from the call to the end, over all attempts and the waits between them. Beyond it the
            action ends as `TIMED_OUT`, whatever retries are left.

    Raises:
        TypeError: A limit is neither a number nor a timedelta.
        ValueError: A limit is negative.

    Example:
        ```python
        @env.task(timeout=flyte.Timeout(max_runtime=timedelta(minutes=5), max_queued_time=60))
        def train(rows: int) -> float: ...
        ```
    """

    max_runtime: int | float | timedelta | None = 0
    max_queued_time: int | float | timedelta | None = None
    deadline: int | float | timedelta | None = None

    def __post_init__(self) -> None:
        millis("max_runtime", self.max_runtime)
        millis("max_queued_time", self.max_queued_time)
        millis("deadline", self.deadline)

    @property
    def runtime_seconds(self) -> float | None:
        """Longest run time of one attempt in seconds, None for no limit."""
        limit = millis("max_runtime", self.max_runtime)
        return limit / 1000 if limit else None

    @property
    def queued_seconds(self) -> float | None:
        """Longest wait for the start of an attempt in seconds, None for no limit."""
        limit = millis("max_queued_time", self.max_queued_time)
        return limit / 1000 if limit else None

    @property
    def deadline_seconds(self) -> float | None:
        """Longest time from the call to the end in seconds, None for no limit."""
        limit = millis("deadline", self.deadline)
        return limit / 1000 if limit else None

    def to_spec(self) -> dict[str, int]:
        """The `Timeout` of the task spec, in milliseconds."""
        spec = {
            "max_runtime_millis": millis("max_runtime", self.max_runtime),
            "max_queued_millis": millis("max_queued_time", self.max_queued_time),
        }
        if deadline := millis("deadline", self.deadline):
            spec["deadline_millis"] = deadline
        return spec


def timeout_of(timeout: int | float | timedelta | Timeout | None) -> Timeout:
    """The limits that a `timeout=` argument means: a number or timedelta limits the run time."""
    return timeout if isinstance(timeout, Timeout) else Timeout(max_runtime=timeout)


def millis(name: str, value: object) -> int:
    """Whole milliseconds of seconds or a timedelta, 0 for None; a `TypeError` or `ValueError` names `name`."""
    if value is None:
        return 0
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    else:
        raise TypeError(
            f"{name} must be seconds or a timedelta, not {value!r}; write timeout=60 or timedelta(minutes=1)"
        )
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{name} must not be negative or infinite: {value!r}; 0 means no limit")
    return max(1, round(seconds * 1000)) if seconds else 0

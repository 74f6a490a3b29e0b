"""How often a task is tried again, and how long each further attempt waits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flyte._timeout import millis

MOST_RETRIES = 100
LARGEST_FACTOR = 1000.0
LONGEST_WAIT_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Backoff:
    """How long further attempts wait: `base`, then `base * factor`, `base * factor ** 2` and so on, up to `cap`.

    Attributes:
        base: Wait before the first further attempt, in seconds or as a timedelta.
        factor: What each wait is multiplied with for the next one, 1 to 1000.
        cap: Longest wait in seconds or as a timedelta; a day unless given.
        jitter: Part of each wait by which it may be shorter, 0 to 1, so that what failed together does not start
            together again.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: A value is out of range.

    Example:
        ```python
        strategy = flyte.RetryStrategy(count=5, backoff=flyte.Backoff(base=2, factor=3, cap=60))
        ```
    """

    base: int | float | timedelta
    factor: float = 1.0
    cap: int | float | timedelta | None = None
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if not millis("Backoff: base", self.base):
            raise ValueError(
                f"Backoff: base must be more than 0, not {self.base!r}; without a wait leave backoff out"
            )
        if self.cap is not None and millis("Backoff: cap", self.cap) < millis("Backoff: base", self.base):
            raise ValueError(f"Backoff: cap={self.cap!r} must not be less than base={self.base!r}")
        for name, value, least, most in (
            ("factor", self.factor, 1.0, LARGEST_FACTOR),
            ("jitter", self.jitter, 0.0, 1.0),
        ):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"Backoff: {name} must be a number, not {value!r}")
            if not math.isfinite(value) or not least <= value <= most:
                raise ValueError(f"Backoff: {name} must be between {least:g} and {most:g}, not {value!r}")

    def seconds(self, failures: int) -> float:
        """The wait after so many failures, the first one is 1, without jitter."""
        longest = millis("cap", self.cap) / 1000 if self.cap is not None else LONGEST_WAIT_SECONDS
        wait = millis("base", self.base) / 1000
        for _ in range(failures - 1):
            if wait >= longest:
                break
            wait *= self.factor
        return min(wait, longest)


@dataclass(frozen=True)
class RetryStrategy:
    """Further attempts after a failure of the task itself; failures of the platform do not use them up.

    Attributes:
        count: Further attempts after the first one, 0 to 100: `count=2` means at most three attempts.
        backoff: How long they wait; they start at once unless given.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: `count` is out of range.

    Example:
        ```python
        @env.task(retries=flyte.RetryStrategy(count=2))  # the same as retries=2
        def fetch(url: str) -> str: ...
        ```
    """

    count: int = 0
    backoff: Backoff | None = None

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int):
            raise TypeError(f"retries must be an int or flyte.RetryStrategy(count=…), not {self.count!r}")
        if not 0 <= self.count <= MOST_RETRIES:
            raise ValueError(f"retries must be between 0 and {MOST_RETRIES}, not {self.count}")
        if self.backoff is not None and not isinstance(self.backoff, Backoff):
            raise TypeError(f"backoff must be flyte.Backoff(base=…), not {self.backoff!r}")

    def to_spec(self) -> dict[str, Any]:
        """The `RetryPolicy` of the task spec."""
        spec: dict[str, Any] = {"count": self.count}
        if self.backoff is not None:
            spec["backoff_base_millis"] = millis("base", self.backoff.base)
            spec["backoff_factor"] = float(self.backoff.factor)
            spec["backoff_cap_millis"] = millis("cap", self.backoff.cap)
            spec["backoff_jitter"] = float(self.backoff.jitter)
        return spec


def retry_strategy(retries: int | RetryStrategy) -> RetryStrategy:
    """The strategy that a `retries=` argument means."""
    return retries if isinstance(retries, RetryStrategy) else RetryStrategy(retries)

"""How often a task is tried again."""

from __future__ import annotations

from dataclasses import dataclass

MOST_RETRIES = 100


@dataclass(frozen=True)
class RetryStrategy:
    """Further attempts after a failure of the task itself; failures of the platform do not use them up.

    Attributes:
        count: Further attempts after the first one, 0 to 100: `count=2` means at most three attempts.

    Raises:
        TypeError: `count` is not an int.
        ValueError: `count` is out of range.

    Example:
        ```python
        @env.task(retries=flyte.RetryStrategy(count=2))  # the same as retries=2
        def fetch(url: str) -> str: ...
        ```
    """

    count: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int):
            raise TypeError(f"retries must be an int or flyte.RetryStrategy(count=…), not {self.count!r}")
        if not 0 <= self.count <= MOST_RETRIES:
            raise ValueError(f"retries must be between 0 and {MOST_RETRIES}, not {self.count}")

    def to_spec(self) -> dict[str, int]:
        """The `RetryPolicy` of the task spec."""
        return {"count": self.count}


def retry_strategy(retries: int | RetryStrategy) -> RetryStrategy:
    """The strategy that a `retries=` argument means."""
    return retries if isinstance(retries, RetryStrategy) else RetryStrategy(retries)

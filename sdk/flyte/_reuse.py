"""Pools of warm workers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

SHORTEST_TTL_SECONDS = 30.0


@dataclass(frozen=True)
class ReusePolicy:
    """Keep workers alive between the actions of an environment, so that calls start at once.

    Module globals persist between the actions of one worker, such as a model that is loaded once.

    Attributes:
        replicas: Number of workers, or `(fewest, most)` to scale between.
        idle_ttl: The whole pool ends after so long without any work. At least 30 seconds.
        concurrency: Actions at the same time in one worker; above 1 for async tasks only.
        scaledown_ttl: One idle worker above the fewest ends after so long. At least 30 seconds.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: A value is out of range.

    Example:
        ```python
        env = flyte.TaskEnvironment("fast", reusable=flyte.ReusePolicy(replicas=(1, 4), concurrency=8))
        ```
    """

    replicas: int | tuple[int, int] = 2
    idle_ttl: int | float | timedelta = 30
    concurrency: int = 1
    scaledown_ttl: int | float | timedelta = 30

    def __post_init__(self) -> None:
        fewest, most = self._replicas()
        for name, number in (("replicas", fewest), ("replicas", most), ("concurrency", self.concurrency)):
            if isinstance(number, bool) or not isinstance(number, int):
                raise TypeError(f"ReusePolicy.{name} must be an int, not {number!r}")
        if most < 1 or fewest < 0 or fewest > most:
            raise ValueError(
                f"ReusePolicy.replicas must be n or (fewest, most) with most at least 1: {self.replicas!r}"
            )
        if self.concurrency < 1:
            raise ValueError(f"ReusePolicy.concurrency must be at least 1, not {self.concurrency}")
        for name in ("idle_ttl", "scaledown_ttl"):
            if _seconds(name, getattr(self, name)) < SHORTEST_TTL_SECONDS:
                raise ValueError(
                    f"ReusePolicy.{name} must be at least 30 seconds, not {getattr(self, name)!r}"
                )

    @property
    def min_replicas(self) -> int:
        """Fewest workers kept while the pool is in use."""
        return self._replicas()[0]

    @property
    def max_replicas(self) -> int:
        """Most workers."""
        return self._replicas()[1]

    def to_spec(self) -> dict[str, int]:
        """The `ReusePolicy` of the task spec."""
        return {
            "min_replicas": self.min_replicas,
            "max_replicas": self.max_replicas,
            "concurrency": self.concurrency,
            "idle_ttl_millis": round(_seconds("idle_ttl", self.idle_ttl) * 1000),
            "scaledown_ttl_millis": round(_seconds("scaledown_ttl", self.scaledown_ttl) * 1000),
        }

    def _replicas(self) -> tuple[int, int]:
        if isinstance(self.replicas, (tuple, list)):
            if len(self.replicas) != 2:
                raise ValueError(f"ReusePolicy.replicas must be n or (fewest, most), not {self.replicas!r}")
            return self.replicas[0], self.replicas[1]
        return self.replicas, self.replicas


def _seconds(name: str, value: object) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise TypeError(f"ReusePolicy.{name} must be seconds or a timedelta, not {value!r}")

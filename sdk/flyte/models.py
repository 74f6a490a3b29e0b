"""Values that the SDK shares with its callers."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["ActionPhase", "Progress"]


class ActionPhase(str, enum.Enum):
    """Where an action, or a run through its root action, stands.

    Example:
        ```python
        while not run.phase.is_terminal:
            time.sleep(1)
        ```
    """

    UNSPECIFIED = "unspecified"
    QUEUED = "queued"
    WAITING_FOR_RESOURCES = "waiting_for_resources"
    INITIALIZING = "initializing"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    TIMED_OUT = "timed_out"

    def __str__(self) -> str:
        return self.value

    @property
    def is_terminal(self) -> bool:
        """True when it is final."""
        return self in _TERMINAL

    @classmethod
    def parse(cls, text: str) -> ActionPhase:
        """Reads a phase as people write it: any case, with hyphens or underscores.

        Raises:
            ValueError: When there is no such phase; names those that there are.
        """
        name = text.strip().lower().replace("-", "_").removeprefix("phase_")
        try:
            return cls(name)
        except ValueError:
            known = ", ".join(phase.value for phase in cls if phase is not cls.UNSPECIFIED)
            raise ValueError(f"phase {text!r} does not exist: use one of {known}") from None


_TERMINAL = frozenset({ActionPhase.SUCCEEDED, ActionPhase.FAILED, ActionPhase.ABORTED, ActionPhase.TIMED_OUT})


@dataclass(frozen=True)
class Progress:
    """How far a task said that it is, with `flyte.progress`. `str()` of it is for people: "30 of 100: reading".

    Attributes:
        done: How much is done, in whatever its author counts.
        total: How much there is to do, None when that is not known.
        message: What is being done, empty when it did not say.
    """

    done: float
    total: float | None = None
    message: str = ""

    @property
    def fraction(self) -> float | None:
        """The part that is done, 0 to 1; None when the total is not known."""
        return None if not self.total else min(self.done / self.total, 1.0)

    def __str__(self) -> str:
        amount = f"{self.done:,.10g}" if self.total is None else f"{self.done:,.10g} of {self.total:,.10g}"
        return f"{amount}: {self.message}" if self.message else amount

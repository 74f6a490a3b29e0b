"""One attempt of a local action, and the failures that it can end with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from flyte import errors
from flyte._details import AttemptDetails
from flyte._runtime import failures
from flyte.models import ActionPhase, Progress


class TimedOut(Exception):
    """An attempt exceeded its time limit."""


@dataclass(eq=False)
class LocalAttempt:
    """One attempt of a local action.

    Attributes:
        number: From 0.
        output_path: Directory that it may write to; its report is there.
        phase: Where it stands.
        start_time: When user code started.
        end_time: When it ended, None while it runs.
        failure: What failed, as on the wire; None unless it failed.
        progress: How far it said that it is, None when it did not.
    """

    number: int
    output_path: Path
    phase: ActionPhase = ActionPhase.RUNNING
    start_time: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    end_time: datetime | None = None
    failure: failures.Failure | None = None
    progress: Progress | None = None

    def end(self, phase: ActionPhase, failure: failures.Failure | None = None) -> None:
        """It has ended, unless that was known."""
        if self.end_time is None:
            self.phase, self.failure = phase, failure
            self.end_time = datetime.now(timezone.utc)

    @property
    def details(self) -> AttemptDetails:
        """What is shown of it."""
        return AttemptDetails(
            number=self.number,
            phase=self.phase,
            node="",
            assigned_at=self.start_time,
            start_time=self.start_time,
            end_time=self.end_time,
            error_info=error_from(self.failure, self.phase) if self.failure else None,
            peak_memory_bytes=0,
        )


def error_from(failure: failures.Failure, phase: ActionPhase, retries: int = 0) -> errors.BaseRuntimeError:
    """The exception that stands for a failure, of an action that ended after this many `retries`."""
    return errors.from_failure(
        failure["kind"],
        failure["code"],
        failure["message"],
        phase=phase.value,
        retries=0 if failure["non_recoverable"] else max(retries, 0),
        user_traceback=failure["traceback"],
    )


def platform_failure(kind: str, code: str, message: str) -> failures.Failure:
    """A failure that no user code raised, as on the wire."""
    return {"kind": kind, "code": code, "message": message, "traceback": "", "non_recoverable": False}

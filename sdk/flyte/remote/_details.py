"""Details of actions: attempts, times, errors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flyte import errors
from flyte.models import ActionPhase
from flyte.remote._convert import duration_of, error_of, phase_of, time_of
from hangar.admin.v1 import run_pb2
from hangar.core.v1 import identifiers_pb2


@dataclass(frozen=True)
class AttemptDetails:
    """One attempt of an action.

    Attributes:
        number: From 0.
        phase: Where it stands.
        node: Host, empty before it was placed.
        assigned_at: When it was placed.
        start_time: When user code started.
        end_time: When it ended.
        error_info: What failed, None without a failure.
        peak_memory_bytes: Highest memory, 0 when it was not measured.
    """

    number: int
    phase: ActionPhase
    node: str
    assigned_at: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    error_info: errors.BaseRuntimeError | None
    peak_memory_bytes: int

    @classmethod
    def from_message(cls, message: run_pb2.Attempt) -> AttemptDetails:
        """From the backend's message."""
        phase = phase_of(message.phase)
        failure = message.failure if message.HasField("failure") else None
        return cls(
            number=message.number,
            phase=phase,
            node=message.node,
            assigned_at=time_of(message, "assigned_at"),
            start_time=time_of(message, "started_at"),
            end_time=time_of(message, "ended_at"),
            error_info=error_of(phase, failure, "", f"attempt {message.number}") if failure else None,
            peak_memory_bytes=message.peak_memory_bytes,
        )


@dataclass(frozen=True)
class ActionDetails:
    """An action with its attempts.

    Attributes:
        name: Name within the run.
        run_name: Name of the run.
        task_name: Fully qualified name of the task.
        phase: Where it stands.
        attempts: Its attempts, oldest first.
        error_info: What failed, None without a failure.
        abort_info: Why it was aborted, None when it was not.
        created_at: When it was enqueued.
        start_time: When user code first ran.
        end_time: When it ended.
        cached_from: The action whose result it has from the cache, as "project/domain/run/action"; None for none.
    """

    name: str
    run_name: str
    task_name: str
    phase: ActionPhase
    attempts: tuple[AttemptDetails, ...]
    error_info: errors.BaseRuntimeError | None
    abort_info: str | None
    created_at: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    cached_from: str | None = None

    @classmethod
    def from_message(cls, message: run_pb2.Action) -> ActionDetails:
        """From the backend's message."""
        phase = phase_of(message.phase)
        failure = message.failure if message.HasField("failure") else None
        return cls(
            name=message.id.name,
            run_name=message.id.run.name,
            task_name=message.task_name,
            phase=phase,
            attempts=tuple(AttemptDetails.from_message(attempt) for attempt in message.attempts),
            error_info=error_of(phase, failure, "", f"action {message.id.name!r}") if failure else None,
            abort_info=message.abort_reason if phase is ActionPhase.ABORTED else None,
            created_at=time_of(message, "created_at"),
            start_time=time_of(message, "started_at"),
            end_time=time_of(message, "ended_at"),
            cached_from=_place(message.cached_from) if message.HasField("cached_from") else None,
        )

    @property
    def queued_time(self) -> timedelta | None:
        """Time from enqueueing to the start of user code, or until now."""
        return duration_of(self.created_at, self.start_time or self.end_time)

    @property
    def running_time(self) -> timedelta | None:
        """Time from the start of user code to the end, or until now; None before it started."""
        return duration_of(self.start_time, self.end_time)

    @property
    def total_time(self) -> timedelta | None:
        """Time from enqueueing to the end, or until now."""
        return duration_of(self.created_at, self.end_time)


def _place(action: identifiers_pb2.ActionIdentifier) -> str:
    return f"{action.run.project}/{action.run.domain}/{action.run.name}/{action.name}"

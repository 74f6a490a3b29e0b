"""Details of actions, on a backend or local: attempts, times, errors, lines of logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from flyte import errors
from flyte.models import ActionPhase


@dataclass(frozen=True)
class AttemptDetails:
    """One attempt of an action.

    Attributes:
        number: From 0.
        phase: Where it stands.
        node: Host, empty before it was placed and in local mode.
        assigned_at: When it was placed.
        start_time: When user code started.
        end_time: When it ended.
        error_info: What failed, None without a failure.
        peak_memory_bytes: Highest memory, 0 when it was not measured.
        image: Image that it ran in, with the digest of its registry where there is one; empty for processes.
    """

    number: int
    phase: ActionPhase
    node: str
    assigned_at: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    error_info: errors.BaseRuntimeError | None
    peak_memory_bytes: int
    image: str = ""


@dataclass(frozen=True)
class PhaseTransition:
    """An action enters a phase.

    Attributes:
        phase: The phase.
        time: When.
    """

    phase: ActionPhase
    time: datetime


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
        cache_status: What the cache did: "disabled", "miss", "hit", "overwritten" or "recovered".
        cache_reason: Why it did so, in words; empty when the task keeps no results.
        links: Addresses of pages elsewhere that belong to it, by name.
        custom_context: Custom context, where it differs from the run's.
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
    cache_status: str = "disabled"
    cache_reason: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    custom_context: Mapping[str, str] = field(default_factory=dict)

    @property
    def phase_transitions(self) -> tuple[PhaseTransition, ...]:
        """When it entered each of its phases, oldest first, over all attempts."""
        moves = [(ActionPhase.QUEUED, self.created_at)]
        for attempt in self.attempts:
            moves += [
                (ActionPhase.INITIALIZING, attempt.assigned_at),
                (ActionPhase.RUNNING, attempt.start_time),
            ]
            if attempt is not self.attempts[-1]:
                moves.append((ActionPhase.QUEUED, attempt.end_time))
        if self.phase.is_terminal:
            moves.append((self.phase, self.end_time))
        return tuple(PhaseTransition(phase, time) for phase, time in moves if time is not None)

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


@dataclass(frozen=True)
class LogLine:
    """One line that an action wrote.

    Attributes:
        text: The line without its end.
        time: When it was captured, in UTC.
        attempt: The attempt that wrote it, None for the one that was asked for.
    """

    text: str
    time: datetime
    attempt: int | None = None

    def render(self, *, show_ts: bool = False, apart: bool = False) -> str:
        """The line as it is printed.

        Args:
            show_ts: True to begin with its local time, to the millisecond.
            apart: True to begin with its local time, to the second unless `show_ts`, and to set the text apart.
        """
        moment = self.time.astimezone()
        text = moment.isoformat(timespec="milliseconds") if show_ts else f"{moment:%H:%M:%S}"
        if apart:
            return f"{text} │ {self.text}"
        return f"{text} {self.text}" if show_ts else self.text


def duration_of(start: datetime | None, end: datetime | None) -> timedelta | None:
    """Time from start to end, to now when it has not ended; None when it has not started."""
    if start is None:
        return None
    return max((end or datetime.now(timezone.utc)) - start, timedelta())

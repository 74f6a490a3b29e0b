"""Details of actions from the backend's messages."""

from __future__ import annotations

from flyte._details import ActionDetails, AttemptDetails
from flyte.models import ActionPhase
from flyte.remote._convert import cache_status_of, error_of, phase_of, time_of
from hangar.admin.v1 import run_pb2
from hangar.core.v1 import identifiers_pb2


def attempt_details(message: run_pb2.Attempt) -> AttemptDetails:
    """One attempt."""
    phase = phase_of(message.phase)
    failure = message.failure if message.HasField("failure") else None
    return AttemptDetails(
        number=message.number,
        phase=phase,
        node=message.node,
        assigned_at=time_of(message, "assigned_at"),
        start_time=time_of(message, "started_at"),
        end_time=time_of(message, "ended_at"),
        error_info=error_of(phase, failure, "", f"attempt {message.number}") if failure else None,
        peak_memory_bytes=message.peak_memory_bytes,
        image=message.image,
    )


def action_details(message: run_pb2.Action) -> ActionDetails:
    """An action with its attempts."""
    phase = phase_of(message.phase)
    failure = message.failure if message.HasField("failure") else None
    return ActionDetails(
        name=message.id.name,
        run_name=message.id.run.name,
        task_name=message.task_name,
        phase=phase,
        attempts=tuple(attempt_details(attempt) for attempt in message.attempts),
        error_info=error_of(phase, failure, "", f"action {message.id.name!r}", message.counted_failures)
        if failure
        else None,
        abort_info=message.abort_reason if phase is ActionPhase.ABORTED else None,
        created_at=time_of(message, "created_at"),
        start_time=time_of(message, "started_at"),
        end_time=time_of(message, "ended_at"),
        cached_from=_place(message.cached_from) if message.HasField("cached_from") else None,
        cache_status=cache_status_of(message.cache_status),
        cache_reason=message.cache_reason,
        links={link.name: link.url for link in message.links},
        custom_context=dict(message.custom_context),
    )


def _place(action: identifiers_pb2.ActionIdentifier) -> str:
    return f"{action.run.project}/{action.run.domain}/{action.run.name}/{action.name}"

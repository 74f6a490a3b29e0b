"""From messages of the backend to values of the SDK."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp

from flyte import errors
from flyte._outcome import ending
from flyte.models import ActionPhase
from hangar.core.v1 import action_kind_pb2, failure_pb2, identifiers_pb2, phase_pb2, task_spec_pb2

if TYPE_CHECKING:
    from hangar.admin.v1 import run_pb2
    from hangar.image.v1 import image_build_pb2

_KINDS: dict[int, str] = {
    action_kind_pb2.ACTION_KIND_TRACE: "trace",
    action_kind_pb2.ACTION_KIND_CONDITION: "condition",
    action_kind_pb2.ACTION_KIND_SLEEP: "sleep",
}
_CACHE_STATUSES: dict[int, str] = {
    task_spec_pb2.CACHE_STATUS_MISS: "miss",
    task_spec_pb2.CACHE_STATUS_HIT: "hit",
    task_spec_pb2.CACHE_STATUS_OVERWRITTEN: "overwritten",
    task_spec_pb2.CACHE_STATUS_RECOVERED: "recovered",
}


def phase_of(value: int) -> ActionPhase:
    """The SDK's phase for the backend's."""
    return ActionPhase(phase_pb2.Phase.Name(value).removeprefix("PHASE_").lower())


def phase_values(
    phases: ActionPhase | str | Iterable[ActionPhase | str] | None,
) -> list[Any]:
    """The backend's phases for a filter: one, several or None for all.

    Raises:
        ValueError: When a phase does not exist.
    """
    if phases is None:
        return []
    several = [phases] if isinstance(phases, str) else list(phases)
    return [phase_pb2.Phase.Value(f"PHASE_{ActionPhase.parse(phase).name}") for phase in several]


def time_of(
    message: run_pb2.Run | run_pb2.Action | run_pb2.Attempt | run_pb2.Wait | image_build_pb2.ImageBuild,
    field: str,
) -> datetime | None:
    """A time of a message in UTC, None when it is not set."""
    if not message.HasField(field):
        return None
    value: datetime = getattr(message, field).ToDatetime(tzinfo=timezone.utc)
    return value


def timestamp(value: datetime) -> Timestamp:
    """A time as a message. Times without a zone are local."""
    result = Timestamp()
    result.FromDatetime(value.astimezone(timezone.utc))
    return result


def kind_of(value: int) -> str:
    """What an action is, in words."""
    return _KINDS.get(value, "task")


def cache_status_of(value: int) -> str:
    """What the cache did: "disabled", "miss", "hit", "overwritten" or "recovered"."""
    return _CACHE_STATUSES.get(value, "disabled")


def error_of(
    phase: ActionPhase,
    failure: failure_pb2.Failure | None,
    abort_reason: str,
    what: str,
    counted_failures: int = 0,
) -> errors.BaseRuntimeError | None:
    """The exception that stands for an end other than success; None for success or no end.

    Args:
        phase: Where it stands.
        failure: What failed, when it is known.
        abort_reason: Why it was aborted.
        what: Names it, such as ``run 'abc'``.
        counted_failures: Failures that counted for its retries, this one included.
    """
    if phase is ActionPhase.SUCCEEDED or not phase.is_terminal:
        return None
    if phase is ActionPhase.ABORTED:
        reason = f": {abort_reason}" if abort_reason else ""
        return errors.from_failure(
            "user", "ActionAbortedError", f"{what} was aborted{reason}", phase=phase.value
        )
    failure = failure or failure_pb2.Failure()
    return errors.from_failure(
        failure_pb2.FailureKind.Name(failure.kind),
        failure.code or ("TaskTimeoutError" if phase is ActionPhase.TIMED_OUT else "UnknownError"),
        failure.message or f"{what} ended as {phase.value}, and the backend does not know why",
        phase=phase.value,
        retries=0 if failure.non_recoverable else max(counted_failures - 1, 0),
        worker=failure.worker,
        user_traceback=failure.traceback,
    )


def end_line(name: str, message: run_pb2.Run | run_pb2.Action, error: errors.BaseRuntimeError | None) -> str:
    """The line that says how a run or an action ended, or that it goes on."""
    phase = phase_of(message.phase)
    if phase is ActionPhase.ABORTED:
        return f"Run '{name}' was aborted: {message.abort_reason or 'nobody said why'}"
    return ending(name, phase, error)


def run_identifier(project: str, domain: str, name: str) -> identifiers_pb2.RunIdentifier:
    """Names a run."""
    return identifiers_pb2.RunIdentifier(project=project, domain=domain, name=name)

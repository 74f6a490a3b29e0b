"""One action of a local run: what it was asked, how it stands, how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from flyte import errors
from flyte._client._twins import twin_method
from flyte._local._reports import read_report, report_file
from flyte._outcome import ActionInputs, ActionOutputs
from flyte._runtime import failures
from flyte.models import ActionPhase

if TYPE_CHECKING:
    from pathlib import Path

    from flyte._local._state import RunState
    from flyte._task import TaskTemplate

_RETRIED = frozenset({"USER", "OOM", "GPU_OOM", "TIMEOUT"})


class TimedOut(Exception):
    """An attempt exceeded its time limit."""


@dataclass(eq=False)
class LocalAction:
    """An action of a local run.

    Attributes:
        name: Name within the run; the root's is "a0".
        task: The task that it runs.
        parent_action: The action that called it, None for the root.
        group: Path of the groups that it was called in, empty for none.
        phase: Where it stands.
        attempts: Number of attempts so far.
        created_at: When it was called.
        start_time: When user code first ran, None before.
        end_time: When it ended, None while it runs.
        error: What failed, None unless it ended without success.
        cache_status: What the cache did: "disabled", "miss", "hit" or "overwritten".

    Example:
        ```python
        for action in run.actions:
            print(action.name, action.task_name, action.phase)
        ```
    """

    state: RunState
    name: str
    task: TaskTemplate[Any, Any]
    inputs_document: bytes
    parent_action: LocalAction | None = None
    group: str = ""
    phase: ActionPhase = ActionPhase.QUEUED
    attempts: int = 0
    created_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    start_time: datetime | None = None
    end_time: datetime | None = None
    outputs_document: bytes | None = None
    error: errors.BaseRuntimeError | None = None
    cache_status: str = "disabled"
    children: dict[str, list[LocalAction]] = field(default_factory=dict)

    @property
    def task_name(self) -> str:
        """Fully qualified name of its task."""
        return self.task.name

    @property
    def short_name(self) -> str:
        """Name shown to people."""
        return self.task.short_name

    @property
    def run_name(self) -> str:
        """Name of the run."""
        return self.state.name

    @property
    def parent(self) -> str | None:
        """Name of the action that called it, None for the root."""
        return self.parent_action.name if self.parent_action else None

    @property
    def status(self) -> ActionPhase:
        """The phase."""
        return self.phase

    @property
    def known_phase(self) -> ActionPhase:
        """The phase."""
        return self.phase

    @property
    def duration(self) -> timedelta | None:
        """Time from its start to its end, or until now; None before it started."""
        if self.start_time is None:
            return None
        return (self.end_time or datetime.now(timezone.utc)) - self.start_time

    def done(self) -> bool:
        """True when it has ended."""
        return self.phase.is_terminal

    @twin_method
    async def inputs(self) -> ActionInputs:
        """Its inputs by name."""
        return ActionInputs(self.task.interface.load_inputs(self.inputs_document))

    @twin_method
    async def outputs(self) -> ActionOutputs:
        """Its outputs in order, once it has succeeded.

        Raises:
            flyte.errors.BaseRuntimeError: It did not succeed, or has not ended.
        """
        return ActionOutputs.of(self.task.interface, self._document())

    @twin_method
    async def result(self) -> Any:
        """What its function returned, once it has succeeded.

        Raises:
            flyte.errors.BaseRuntimeError: It did not succeed, or has not ended.
        """
        return self.task.interface.load_outputs(self._document())

    def report_path(self, attempt: int | None = None) -> Path | None:
        """File of its report, None when there is none.

        Args:
            attempt: Number of the attempt; the newest that has a report unless given.
        """
        return report_file(self, attempt)

    @twin_method
    async def get_report(self, attempt: int | None = None) -> str:
        """Its report as an HTML document.

        Args:
            attempt: Number of the attempt; the newest that has a report unless given.

        Raises:
            flyte.errors.RuntimeUserError: There is none (code "ReportNotFound").
        """
        return read_report(self, attempt)

    def begin_attempt(self) -> None:
        """An attempt starts."""
        self.attempts += 1
        self.start_time = self.start_time or datetime.now(timezone.utc)
        self._move(ActionPhase.RUNNING)

    def succeed(self, document: bytes) -> None:
        """The last attempt gave an outputs document."""
        self.outputs_document = document
        self._end(ActionPhase.SUCCEEDED)

    def abort(self) -> errors.BaseRuntimeError:
        """It was stopped on request."""
        reason = self.state.abort_reason or "nobody waits for it any more"
        self.error = errors.ActionAbortedError(f"{self.task_name} was aborted: {reason}")
        self._end(ActionPhase.ABORTED)
        return self.error

    def refuse(self, cause: BaseException) -> None:
        """It cannot be run at all."""
        failure = failures.from_exception(cause)
        self.error = errors.from_failure(
            failure["kind"], failure["code"], failure["message"], user_traceback=failure["traceback"]
        )
        self._end(ActionPhase.FAILED)

    def fail_attempt(self, cause: BaseException) -> bool:
        """The last attempt raised. True when there is no other one."""
        if self.state.abort_reason is not None:
            self.abort()
            return True
        if isinstance(cause, TimedOut):
            limit = self.task.timeout.runtime_seconds
            failure: failures.Failure = {
                "kind": "TIMEOUT",
                "code": "TaskTimeoutError",
                "message": f"{self.task_name} ran longer than its time limit of {limit:g} s",
                "traceback": "",
                "non_recoverable": False,
            }
        else:
            failure = failures.from_exception(cause)
        retried = failure["kind"] in _RETRIED and not failure["non_recoverable"]
        if retried and self.attempts <= self.task.retries.count:
            self._move(ActionPhase.QUEUED)
            return False
        phase = ActionPhase.TIMED_OUT if failure["kind"] == "TIMEOUT" else ActionPhase.FAILED
        self.error = errors.from_failure(
            failure["kind"],
            failure["code"],
            failure["message"],
            phase=phase.value,
            user_traceback=failure["traceback"],
        )
        if not isinstance(cause, TimedOut):
            self.error.__cause__ = cause.with_traceback(failures.trimmed(cause.__traceback__))
        self._end(phase)
        return True

    def end_anyhow(self) -> None:
        """Its run is over. It has ended by now, unless local mode itself is broken."""
        if not self.done():
            self.error = errors.RuntimeSystemError(
                "LocalModeError", f"{self.task_name} did not end: see the log"
            )
            self._end(ActionPhase.FAILED)

    def record(self) -> dict[str, Any]:
        """What is kept of it on disk."""
        error = self.error
        times = {"created_at": self.created_at, "start_time": self.start_time, "end_time": self.end_time}
        return {
            "name": self.name,
            "task": self.task_name,
            "parent": self.parent,
            "group": self.group,
            "phase": self.phase.value,
            "attempts": self.attempts,
            "cache_status": self.cache_status,
            **{name: time.isoformat() if time else None for name, time in times.items()},
            "inputs": self.inputs_document.decode(),
            "outputs": self.outputs_document.decode() if self.outputs_document is not None else None,
            "error": {"code": error.code, "message": error.message} if error else None,
        }

    def _document(self) -> bytes:
        if self.error is not None:
            raise self.error
        if self.outputs_document is None:
            raise errors.RuntimeUserError(
                "NotEndedError", f"action {self.name} has not ended: it is {self.phase.value}"
            )
        return self.outputs_document

    def _move(self, phase: ActionPhase) -> None:
        self.phase = phase
        self.state.changed(self)

    def _end(self, phase: ActionPhase) -> None:
        self.end_time = datetime.now(timezone.utc)
        self._move(phase)

    def __repr__(self) -> str:
        return f"LocalAction(name={self.name!r}, task_name={self.task_name!r}, phase={self.phase.value!r})"

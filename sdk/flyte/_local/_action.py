"""One action of a local run: what it was asked, how it stands, how it ended."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyte import errors
from flyte._client._twins import twin_iterator_method, twin_method
from flyte._details import ActionDetails, LogLine
from flyte._link import filled, link_specs
from flyte._local._attempt import LocalAttempt, TimedOut, error_from, platform_failure
from flyte._local._logs import stored_lines
from flyte._local._reports import read_report, report_file
from flyte._outcome import ActionInputs, ActionOutputs
from flyte._runtime import failures
from flyte._shown import Shown
from flyte._tracebacks import pruned
from flyte._types._moves import off_loop
from flyte.models import ActionPhase, Progress

if TYPE_CHECKING:
    from pathlib import Path

    from flyte._local._state import RunState
    from flyte._step import Step
    from flyte._task import TaskTemplate
    from flyte._types import Interface

_RETRIED = frozenset({"USER", "OOM", "GPU_OOM", "TIMEOUT"})


@dataclass(eq=False)
class LocalAction(Shown):
    """An action of a local run.

    Attributes:
        name: Name within the run; the root's is "a0".
        task: The task that it runs; of a step the one that it is part of.
        parent_action: The action that called it, None for the root.
        group: Path of the groups that it was called in, empty for none.
        key: What tells it from its siblings, in every attempt of its parent and in every run.
        custom_context: Texts that its caller passed down.
        phase: Where it stands.
        attempt_list: Its attempts so far, oldest first.
        created_at: When it was called.
        start_time: When user code first ran, None before.
        end_time: When it ended, None while it runs.
        failure: What failed as on the wire, None unless it ended without success.
        cache_status: What the cache did: "disabled", "miss", "hit", "overwritten" or "recovered".
        cache_reason: Why it did so, in words; empty when the task keeps no results.
        cached_from: The action of an earlier run that it was taken over from, as "run/action"; None for none.
        step: What it is when it is no task.
        wait_until: When a sleep or condition ends by itself, None when it does not.
        ended: Done when it has ended.

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
    custom_context: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    phase: ActionPhase = ActionPhase.QUEUED
    attempt_list: list[LocalAttempt] = field(default_factory=list)
    created_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    start_time: datetime | None = None
    end_time: datetime | None = None
    outputs_document: bytes | None = None
    failure: failures.Failure | None = None
    cache_status: str = "disabled"
    cache_reason: str = ""
    cached_from: str | None = None
    children: dict[str, list[LocalAction]] = field(default_factory=dict)
    step: Step | None = None
    wait_until: datetime | None = None
    ended: Future[None] = field(default_factory=Future)
    _cause: BaseException | None = None

    @property
    def task_name(self) -> str:
        """Fully qualified name of its task or traced function; of a condition its name."""
        return self.step.shown_name if self.step else self.task.name

    @property
    def kind(self) -> str:
        """What it is: "task", "trace", "condition" or "sleep"."""
        return self.step.kind if self.step else "task"

    @property
    def interface(self) -> Interface:
        """Its inputs and outputs."""
        return (self.step or self.task).interface

    @property
    def short_name(self) -> str:
        """Name shown to people."""
        return (self.step or self.task).short_name

    @property
    def run_name(self) -> str:
        """Name of the run."""
        return self.state.name

    @property
    def parent(self) -> str | None:
        """Name of the action that called it, None for the root."""
        return self.parent_action.name if self.parent_action else None

    @property
    def error(self) -> errors.BaseRuntimeError | None:
        """What failed, None unless it ended without success."""
        return self._error(self.failure) if self.failure is not None else None

    @property
    def attempts(self) -> int:
        """Number of attempts so far."""
        return len(self.attempt_list)

    @property
    def progress(self) -> Progress | None:
        """How far its newest attempt said that it is, with `flyte.progress`; None when it did not."""
        return self.attempt_list[-1].progress if self.attempt_list else None

    @property
    def wait_reason(self) -> str:
        """Empty: nothing waits for a host."""
        return ""

    @property
    def known_phase(self) -> ActionPhase:
        """The phase."""
        return self.phase

    @twin_method
    async def inputs(self) -> ActionInputs:
        """Its inputs by name."""
        return ActionInputs(await off_loop(self.interface.load_inputs, self.inputs_document))

    @twin_method
    async def outputs(self) -> ActionOutputs:
        """Its outputs in order, once it has succeeded.

        Raises:
            flyte.errors.BaseRuntimeError: It did not succeed, or has not ended.
        """
        return await off_loop(ActionOutputs.of, self.interface, self.document())

    @twin_method
    async def result(self) -> Any:
        """What its function returned, once it has succeeded.

        Raises:
            flyte.errors.BaseRuntimeError: It did not succeed, or has not ended.
        """
        return await off_loop(self.interface.load_outputs, self.document())

    @twin_method
    async def signal(self, value: Any) -> None:
        """Gives a condition the value that it waits for.

        Raises:
            RuntimeDataValidationError: The value is not of the condition's type.
            flyte.errors.RuntimeUserError: It does not wait for one (code "ActionNotWaitingError").
        """
        self._signal(self.interface.dump_outputs(value))

    def signal_text(self, text: str) -> None:
        """Gives a condition a value as people type it: JSON, or plain text."""
        from flyte._types import parse_argument

        value = parse_argument(text, self.interface.outputs[0].annotation)
        self._signal(self.interface.dump_outputs(value))

    def _signal(self, document: bytes) -> None:
        waits = self.kind == "condition" and self.phase is ActionPhase.PAUSED
        if not waits or not self._end(ActionPhase.SUCCEEDED, outputs=document):
            raise errors.RuntimeUserError(
                "ActionNotWaitingError",
                f"action {self.name} ({self.task_name}) does not wait for a value: it is {self.phase.value}",
            )

    def report_path(self, attempt: int | None = None) -> Path | None:
        """File of its report, None when there is none.

        Args:
            attempt: Number of the attempt; the newest that has a report unless given.
        """
        return report_file([each.output_path for each in self.attempt_list], attempt)

    @twin_method
    async def get_report(self, attempt: int | None = None) -> str:
        """Its report as an HTML document.

        Args:
            attempt: Number of the attempt; the newest that has a report unless given.

        Raises:
            flyte.errors.RuntimeUserError: There is none (code "ReportNotFoundError").
        """
        return read_report(self, attempt)

    @twin_method
    async def details(self) -> ActionDetails:
        """Its attempts, times and errors."""
        return ActionDetails(
            name=self.name,
            run_name=self.run_name,
            task_name=self.task_name,
            phase=self.phase,
            attempts=tuple(attempt.details for attempt in self.attempt_list),
            error_info=self.error if self.phase is not ActionPhase.ABORTED else None,
            abort_info=self.error.message if self.error and self.phase is ActionPhase.ABORTED else None,
            created_at=self.created_at,
            start_time=self.start_time,
            end_time=self.end_time,
            cached_from=self.cached_from,
            cache_status=self.cache_status,
            cache_reason=self.cache_reason,
            links=self.links,
            custom_context=self.custom_context if self.custom_context != self.state.custom_context else {},
        )

    @twin_iterator_method
    async def get_logs(
        self, attempt: int | None = None, max_lines: int | None = None, follow: bool = False
    ) -> AsyncGenerator[LogLine, None]:
        """The lines that it wrote.

        Args:
            attempt: Attempt, from 0; the newest unless given.
            max_lines: Only so many of the last lines.
            follow: True to wait for its end first.

        Raises:
            LogsNotYetAvailableError: The run is not recorded, or has no such attempt.
        """
        if follow:
            await self.state.until(self.done)
        for line in self._lines(attempt, max_lines):
            yield line

    @property
    def links(self) -> dict[str, str]:
        """Addresses of pages elsewhere that belong to it, by name."""
        names = {"run": self.run_name, "action": self.name, "parent": self.parent or ""}
        specs = link_specs(self.task.links, self.custom_context)
        return {link["name"]: filled(link["url"], project="", domain="", **names) for link in specs}

    def recover(self, document: bytes, source: str) -> None:
        """The same call succeeded in the run that this one recovers."""
        self.cache_status, self.cached_from = "recovered", source
        self.cache_reason = "the same call succeeded in the run that this one recovers"
        self.succeed(document)

    def begin_attempt(self) -> None:
        """An attempt starts."""
        number = len(self.attempt_list)
        attempt = LocalAttempt(number, self.state.metadata_path / self.name / str(number))
        self.attempt_list.append(attempt)
        self.start_time = self.start_time or attempt.start_time
        self._move(ActionPhase.RUNNING)

    def begin_step(self) -> None:
        """A step that is no task begins: a traced call runs, the others pause."""
        self.start_time = datetime.now(timezone.utc)
        self._move(ActionPhase.RUNNING if self.kind == "trace" else ActionPhase.PAUSED)

    def time_out_step(self) -> None:
        """The time of a sleep or condition has come."""
        if self.kind == "sleep":
            self.succeed(b"{}")
        else:
            message = f"nobody signalled {self.task_name!r} within its time limit"
            self._fail(platform_failure("TIMEOUT", "ConditionTimeout", message), ActionPhase.TIMED_OUT)

    def succeed(self, document: bytes) -> None:
        """The last attempt gave an outputs document, or the cache did. What has ended stays as it is."""
        self._end(ActionPhase.SUCCEEDED, outputs=document)

    def abort(self, why: str = "nobody waits for it any more") -> errors.BaseRuntimeError:
        """It was stopped on request, or by whoever called it."""
        message = f"{self.task_name} was aborted: {self.state.abort_reason or why}"
        return self._fail(platform_failure("USER", "ActionAbortedError", message), ActionPhase.ABORTED)

    def refuse(self, cause: BaseException) -> None:
        """It cannot be run at all."""
        self._fail(failures.from_exception(cause), ActionPhase.FAILED)

    def queue_seconds_left(self) -> float | None:
        """How long it may go on waiting for its start, None for as long as it takes."""
        limit = self.task.timeout.queued_seconds
        if limit is None:
            return None
        return max(0.0, limit - (datetime.now(timezone.utc) - self.created_at).total_seconds())

    def wait_too_long(self) -> errors.BaseRuntimeError:
        """It exceeded the time that it may wait for its start."""
        limit = self.task.timeout.queued_seconds
        message = f"{self.task_name} waited longer than its limit of {limit:g} s"
        return self._fail(platform_failure("TIMEOUT", "QueueTimeout", message), ActionPhase.TIMED_OUT)

    def attempt_seconds(self) -> float | None:
        """Longest time that an attempt may take from now on, None for no limit."""
        limits = (self.task.timeout.runtime_seconds, self._seconds_to_deadline())
        return min((limit for limit in limits if limit is not None), default=None)

    def pause_seconds(self) -> float:
        """How long the next attempt waits, at most until the deadline."""
        backoff = self.task.retries.backoff
        if backoff is None:
            return 0.0
        pause = backoff.seconds(self.attempts) * (1 - backoff.jitter * random.random())
        left = self._seconds_to_deadline()
        return pause if left is None else max(0.0, min(pause, left))

    def is_overdue(self) -> bool:
        """Whether its deadline has passed."""
        left = self._seconds_to_deadline()
        return left is not None and left <= 0

    def reach_deadline(self) -> errors.BaseRuntimeError:
        """It has had all the time that it may take."""
        return self._fail(self._deadline_failure(), ActionPhase.TIMED_OUT)

    def _deadline_failure(self) -> failures.Failure:
        limit = self.task.timeout.deadline_seconds
        last = self.attempt_list[-1].failure if self.attempt_list else None
        message = f"{self.task_name} did not end within its deadline of {limit:g} s"
        if last is not None:
            message = f"{message}; its last attempt failed with {last['code']}: {last['message']}"
        return {**platform_failure("TIMEOUT", "DeadlineExceeded", message), "non_recoverable": True}

    def _seconds_to_deadline(self) -> float | None:
        limit = self.task.timeout.deadline_seconds
        if limit is None:
            return None
        return limit - (datetime.now(timezone.utc) - self.created_at).total_seconds()

    def fail_attempt(self, cause: BaseException) -> bool:
        """The last attempt raised. True when there is no other one."""
        if self.state.abort_reason is not None:
            self.abort()
            return True
        if isinstance(cause, TimedOut) and self.is_overdue():
            failure = self._deadline_failure()
        elif isinstance(cause, TimedOut):
            limit = self.task.timeout.runtime_seconds
            message = f"{self.task_name} ran longer than its time limit of {limit:g} s"
            failure = platform_failure("TIMEOUT", "TaskTimeout", message)
        else:
            failure = failures.from_exception(cause)
        phase = ActionPhase.TIMED_OUT if failure["kind"] == "TIMEOUT" else ActionPhase.FAILED
        self.attempt_list[-1].end(phase, failure)
        retried = failure["kind"] in _RETRIED and not failure["non_recoverable"]
        if retried and self.attempts <= self.task.retries.count:
            self._move(ActionPhase.QUEUED)
            return False
        self._cause = None if isinstance(cause, TimedOut) else cause
        self._fail(failure, phase)
        return True

    def raised(self) -> errors.BaseRuntimeError:
        """The error for whoever waits for it."""
        if self.failure is None:
            raise AssertionError(f"{self.name} has not failed")
        return self._error(self.failure)

    def _error(self, failure: failures.Failure) -> errors.BaseRuntimeError:
        """A new error, with the frames and causes of what user code raised."""
        error = error_from(failure, self.phase, self.attempts - 1)
        if self._cause is not None:
            error.__traceback__ = pruned(self._cause.__traceback__)
            error.__cause__, error.__context__ = self._cause.__cause__, self._cause.__context__
            error.__suppress_context__ = self._cause.__suppress_context__
        return error

    def end_anyhow(self) -> None:
        """Its run is over. It has ended by now, unless local mode itself is broken."""
        if not self.done():
            message = f"{self.task_name} did not end: see the log"
            self._fail(platform_failure("SYSTEM", "LocalModeError", message), ActionPhase.FAILED)

    def record(self) -> dict[str, Any]:
        """What is kept of it on disk."""
        error = self.error
        times = {"created_at": self.created_at, "start_time": self.start_time, "end_time": self.end_time}
        return {
            "name": self.name,
            "kind": self.kind,
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

    def document(self) -> bytes:
        """Its outputs document.

        Raises:
            BaseRuntimeError: It did not succeed, or has not ended.
        """
        if self.failure is not None:
            raise self._error(self.failure)
        if self.outputs_document is None:
            raise errors.RuntimeUserError(
                "NotEndedError", f"action {self.name} has not ended: it is {self.phase.value}"
            )
        return self.outputs_document

    def _lines(self, attempt: int | None, max_lines: int | None) -> list[LogLine]:
        directory = self.state.log_directory
        if directory is None:
            raise errors.LogsNotYetAvailableError(
                f"what the tasks of run {self.run_name} print is in this process's output: local runs keep logs "
                "with local_persistence=True"
            )
        return stored_lines(directory / self.name, attempt, max_lines)

    def _fail(self, failure: failures.Failure, phase: ActionPhase) -> errors.BaseRuntimeError:
        self._end(phase, failure=failure)
        return self._error(failure)

    def _move(self, phase: ActionPhase) -> None:
        with self.state.lock:
            if self.done():
                return
            self.phase = phase
        self.state.changed(self)

    def _end(
        self,
        phase: ActionPhase,
        *,
        outputs: bytes | None = None,
        failure: failures.Failure | None = None,
    ) -> bool:
        """Of several threads that end it the first one does. Who sees that it is done sees all of how it ended.

        Returns:
            False when it had ended already.
        """
        for calls in list(self.children.values()):
            for call in calls[-1:]:
                if call.kind != "task" and not call.done():
                    call.abort(f"{self.task_name} ended")
        with self.state.lock:
            if self.done():
                return False
            if self.attempt_list:
                self.attempt_list[-1].end(phase, None if phase is ActionPhase.ABORTED else failure)
            self.outputs_document, self.failure = outputs, failure
            self.end_time = datetime.now(timezone.utc)
            self.phase = phase
        self.state.changed(self)
        self.ended.set_result(None)
        return True

    def __repr__(self) -> str:
        return f"LocalAction(name={self.name!r}, task_name={self.task_name!r}, phase={self.phase.value!r})"

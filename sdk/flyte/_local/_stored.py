"""Recorded local runs as everybody may read them, also while they go on in another process."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyte import errors
from flyte._client._twins import twin, twin_iterator, twin_iterator_method, twin_method
from flyte._details import ActionDetails, AttemptDetails, LogLine, duration_of
from flyte._local._attempt import error_from
from flyte._local._logs import stored_lines
from flyte._local._reports import read_report, report_file
from flyte._local._run import LocalRunDetails
from flyte._local._store import LocalStore, default_store, is_alive
from flyte._outcome import ActionInputs, ActionOutputs
from flyte._shown import Shown
from flyte.models import ActionPhase, Progress
from flyte.remote._pages import check_limit

if TYPE_CHECKING:
    import sqlite3

ROOT = "a0"
_GONE = {
    "kind": "SYSTEM",
    "code": "ProcessEndedError",
    "message": "the process that carried it out ended before it did",
    "traceback": "",
    "non_recoverable": False,
}
_POLL_SECONDS = 0.2
_RUNS = "SELECT run.*, action.* FROM run JOIN action ON action.run = run.name AND action.name = 'a0'"


class StoredAction(Shown):
    """One action of a recorded run, as it was when it was read.

    Attributes:
        name: Name within the run; the root's is "a0".
        run_name: Name of the run.
        kind: What it is: "task", "trace", "condition" or "sleep".
        task_name: Fully qualified name of its task or traced function; of a condition its name.
        short_name: Name shown to people.
        parent: Name of the action that called it, None for the root.
        group: Path of the groups that it was called in, None for none.
        known_phase: Where it stood.
        cache_status: What the cache did: "disabled", "miss", "hit" or "overwritten".
        attempts: Number of attempts.
        progress: How far its newest attempt said that it is, None when it did not.
        created_at: When it was called.
        start_time: When user code first ran, None before.
        end_time: When it ended, None while it runs.
        wait_reason: Empty: nothing waits for a host.
        project: Empty: local runs belong to no project.
        domain: Empty, as the project.
    """

    wait_reason = ""
    project = ""
    domain = ""
    start_time: datetime | None
    end_time: datetime | None

    def __init__(self, store: LocalStore, row: sqlite3.Row, *, alive: bool) -> None:
        self._store = store
        self._inputs, self._outputs = bytes(row["inputs"]), row["outputs"]
        self.name: str = row["name"]
        self.run_name: str = row["run"]
        self.kind: str = row["kind"]
        self.task_name: str = row["task"]
        self.short_name: str = row["short_name"]
        self.parent: str | None = row["parent"]
        self.group: str | None = row["groups"] or None
        self.cache_status: str = row["cache_status"]
        self.created_at = datetime.fromisoformat(row["created_at"])
        self.start_time = _time(row["started_at"])
        self.end_time = _time(row["ended_at"])
        phase, failure = ActionPhase(row["phase"]), json.loads(row["failure"] or "null")
        lost = not alive and not phase.is_terminal
        self.known_phase = ActionPhase.FAILED if lost else phase
        failure = _GONE if lost else failure
        self._failure = failure
        self._attempts: list[dict[str, Any]] = json.loads(row["attempts"])
        self.attempts = len(self._attempts)
        progress = self._attempts[-1].get("progress") if self._attempts else None
        self.progress = Progress(**progress) if progress else None

    @property
    def phase(self) -> ActionPhase:
        """Where it stood."""
        return self.known_phase

    @property
    def error(self) -> errors.BaseRuntimeError | None:
        """The exception that stands for its failure or abort, None without one."""
        if not self._failure:
            return None
        return error_from(self._failure, self.known_phase, self.attempts - 1)

    def report_path(self, attempt: int | None = None) -> Path | None:
        """File of its report, None when there is none: of an attempt, or of the newest that has one."""
        return report_file([Path(each["output_path"]) for each in self._attempts], attempt)

    @twin_method
    async def get_report(self, attempt: int | None = None) -> str:
        """Its report as an HTML document: see `LocalAction.get_report`.

        Raises:
            RuntimeUserError: There is none (code "ReportNotFound").
        """
        return read_report(self, attempt)

    @twin
    @staticmethod
    async def get(*, run_name: str, name: str = ROOT, store: LocalStore | None = None) -> StoredAction:
        """Finds an action of a recorded run.

        Raises:
            ActionNotFoundError: There is none.
        """
        store = store or default_store()
        run = await StoredRun.get.aio(run_name, store=store)
        rows = store.query("SELECT * FROM action WHERE run = ? AND name = ?", run_name, name)
        if not rows:
            raise errors.ActionNotFoundError(f"local run {run_name!r} has no action {name!r}")
        return StoredAction(store, rows[0], alive=run.alive)

    @twin_iterator
    @staticmethod
    async def listall(
        *,
        for_run_name: str,
        in_phase: ActionPhase | str | tuple[ActionPhase | str, ...] | None = None,
        store: LocalStore | None = None,
    ) -> AsyncGenerator[StoredAction, None]:
        """Lists the actions of a recorded run in the order of their calls.

        Raises:
            ActionNotFoundError: There is no such run.
        """
        store = store or default_store()
        run = await StoredRun.get.aio(for_run_name, store=store)
        wanted = _phases(in_phase)
        for row in store.query("SELECT * FROM action WHERE run = ? ORDER BY position", for_run_name):
            action = StoredAction(store, row, alive=run.alive)
            if not wanted or action.known_phase in wanted:
                yield action

    @twin_method
    async def details(self) -> ActionDetails:
        """Its attempts, times and errors."""
        aborted = self.known_phase is ActionPhase.ABORTED
        return ActionDetails(
            name=self.name,
            run_name=self.run_name,
            task_name=self.task_name,
            phase=self.known_phase,
            attempts=tuple(map(self._attempt, self._attempts)),
            error_info=None if aborted else self.error,
            abort_info=self.error.message if aborted and self.error else None,
            created_at=self.created_at,
            start_time=self.start_time,
            end_time=self.end_time,
            cache_status=self.cache_status,
        )

    @twin_method
    async def inputs(self) -> ActionInputs:
        """Its inputs by name, as JSON has them."""
        from flyte._types import loads

        return ActionInputs(loads(self._inputs))

    @twin_method
    async def outputs(self) -> ActionOutputs:
        """Its outputs in order, as JSON has them; `(None,)` when there are none.

        Raises:
            BaseRuntimeError: It did not succeed.
            RuntimeUserError: It has not ended (code "NotEndedError").
        """
        from flyte._types import loads

        error = self.error
        if error is not None:
            raise error
        if self._outputs is None:
            raise errors.RuntimeUserError(
                "NotEndedError", f"action {self.name} has not ended: it is {self.known_phase.value}"
            )
        return ActionOutputs(loads(bytes(self._outputs)).values() or (None,))

    @twin_iterator_method
    async def get_logs(
        self, attempt: int | None = None, max_lines: int | None = None, follow: bool = False
    ) -> AsyncGenerator[LogLine, None]:
        """The lines that it wrote.

        Args:
            attempt: Attempt, from 0; the newest unless given.
            max_lines: Only so many of the last lines; without effect when following.
            follow: True to go on with new lines until it has ended.

        Raises:
            LogsNotYetAvailableError: There is no such attempt, or it wrote nothing.
        """
        import asyncio

        directory = self._store.log_directory(self.run_name) / self.name
        if not follow:
            for line in stored_lines(directory, attempt, max_lines):
                yield line
            return
        shown, action = 0, self
        while True:
            ended = action.done()
            lines = stored_lines(directory, attempt, None)
            for line in lines[shown:]:
                yield line
            shown = max(shown, len(lines))
            if ended:
                return
            await asyncio.sleep(_POLL_SECONDS)
            action = await StoredAction.get.aio(run_name=self.run_name, name=self.name, store=self._store)

    def _attempt(self, kept: dict[str, Any]) -> AttemptDetails:
        phase = ActionPhase(kept["phase"])
        start = _time(kept["started_at"])
        return AttemptDetails(
            number=kept["number"],
            phase=phase,
            node="",
            assigned_at=start,
            start_time=start,
            end_time=_time(kept["ended_at"]),
            error_info=error_from(kept["failure"], phase) if kept["failure"] else None,
            peak_memory_bytes=0,
        )

    def __repr__(self) -> str:
        return (
            f"StoredAction(name={self.name!r}, run_name={self.run_name!r}, phase={self.known_phase.value!r})"
        )


class StoredRun:
    """One recorded run, as it was when it was read.

    Attributes:
        name: Name of the run.
        task_name: Fully qualified name of its task.
        task_version: Empty: code of local runs has no version.
        labels: Labels.
        url: Directory of what its tasks wrote.
        alive: Whether the process that carries it out exists.
        action: Its root action.
        created_at: When it was created.
        project: Empty: local runs belong to no project.
        domain: Empty, as the project.
    """

    task_version = ""
    project = ""
    domain = ""

    def __init__(self, store: LocalStore, row: sqlite3.Row) -> None:
        self._store = store
        self.name: str = row["run"]
        self.task_name: str = row["task"]
        self.labels: dict[str, str] = json.loads(row["labels"])
        self.url: str = row["path"]
        self.alive = is_alive(json.loads(row["process"]))
        self.action = StoredAction(store, row, alive=self.alive)
        self.created_at = self.action.created_at

    @property
    def known_phase(self) -> ActionPhase:
        """Where its root action stood."""
        return self.action.known_phase

    @property
    def end_time(self) -> datetime | None:
        """When it ended, None while it runs."""
        return self.action.end_time

    @property
    def duration(self) -> timedelta | None:
        """Time from its creation to its end, or until now; None when its process ended before it did."""
        if self.end_time is None and self.known_phase.is_terminal:
            return None
        return duration_of(self.created_at, self.end_time)

    @property
    def error(self) -> errors.BaseRuntimeError | None:
        """The exception that stands for its failure or abort, None without one."""
        return self.action.error

    @twin_method
    async def details(self) -> LocalRunDetails:
        """Its root action's attempts, times and errors."""
        (row,) = self._store.query("SELECT count(*) FROM action WHERE run = ?", self.name)
        return LocalRunDetails(
            name=self.name,
            task_name=self.task_name,
            phase=self.known_phase,
            labels=self.labels,
            annotations={},
            action_count=int(row[0]),
            action_details=await self.action.details.aio(),
        )

    @twin
    @staticmethod
    async def get(name: str, *, store: LocalStore | None = None) -> StoredRun:
        """Finds a recorded run.

        Raises:
            ActionNotFoundError: There is none.
        """
        store = store or default_store()
        rows = store.query(f"{_RUNS} WHERE run.name = ?", name)
        if not rows:
            raise errors.ActionNotFoundError(
                f"there is no local run {name!r}. Local runs are recorded with local.persistence: true in the "
                "configuration (flyte create config --local-persistence)"
            )
        return StoredRun(store, rows[0])

    @twin_iterator
    @staticmethod
    async def listall(
        in_phase: ActionPhase | str | tuple[ActionPhase | str, ...] | None = None,
        task_name: str | None = None,
        limit: int = 100,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        labels: dict[str, str] | None = None,
        store: LocalStore | None = None,
    ) -> AsyncGenerator[StoredRun, None]:
        """Lists recorded runs, newest first.

        Args:
            in_phase: Only those in this phase, or in one of these.
            task_name: Only those of this task, by its fully qualified name.
            limit: Most runs.
            created_after: Only those created at or after this time.
            created_before: Only those created before this time.
            labels: Only those with all these labels.
            store: The store, that of the user unless given.

        Raises:
            TypeError, ValueError: The limit has no meaning.
        """
        check_limit(limit)
        store = store or default_store()
        wanted = _phases(in_phase)
        rows = store.query(
            f"{_RUNS} WHERE (?1 IS NULL OR run.task = ?1) AND (?2 IS NULL OR run.created_at >= ?2) "
            "AND (?3 IS NULL OR run.created_at < ?3) ORDER BY run.created_at DESC",
            task_name,
            _text(created_after),
            _text(created_before),
        )
        for row in rows:
            run = StoredRun(store, row)
            if (wanted and run.known_phase not in wanted) or not _has(run.labels, labels):
                continue
            yield run
            limit -= 1
            if not limit:
                return

    def __repr__(self) -> str:
        return f"StoredRun(name={self.name!r}, phase={self.known_phase.value!r}, url={self.url!r})"


def _phases(phases: ActionPhase | str | Iterable[ActionPhase | str] | None) -> set[ActionPhase]:
    if phases is None:
        return set()
    return {ActionPhase.parse(phase) for phase in ([phases] if isinstance(phases, str) else phases)}


def _has(labels: dict[str, str], wanted: dict[str, str] | None) -> bool:
    return all(labels.get(name) == value for name, value in (wanted or {}).items())


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _text(time: datetime | None) -> str | None:
    return time.astimezone(timezone.utc).isoformat() if time else None

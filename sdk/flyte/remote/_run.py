"""Runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flyte import errors
from flyte._client._twins import twin, twin_iterator, twin_iterator_method, twin_method
from flyte._details import duration_of
from flyte._initialize import Session, refuse, require_session
from flyte.models import ActionPhase
from flyte.remote._action import ROOT, Action, ActionDetails, fetch_action
from flyte.remote._code import download_code
from flyte.remote._convert import (
    end_line,
    error_of,
    phase_values,
    run_identifier,
    timestamp,
)
from flyte.remote._details import action_details
from flyte.remote._execution import DEFAULT_ABORT_REASON, Execution
from flyte.remote._filters import SortBy, TimeFilter, TimeRange, order_of, time_range
from flyte.remote._pages import check_limit, listed
from flyte.remote._signal import send_signal, value_as_json
from flyte.remote._watch import watch_run
from hangar.admin.v1 import run_pb2, run_service_pb2, task_service_pb2
from hangar.core.v1 import identifiers_pb2

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from flyte._types import Interface

__all__ = ["Run", "RunDetails", "RunUpdate"]


@dataclass(frozen=True)
class RunDetails:
    """A run with the details of its root action.

    Attributes:
        name: Name of the run.
        task_name: Fully qualified name of its task.
        task_version: Version of the task's code.
        phase: Where it stands.
        labels: Labels.
        annotations: Annotations.
        recovered_from: Name of the run whose succeeded actions it took over, None for none.
        trace_id: W3C trace id of all its spans.
        action_count: Actions in it so far.
        action_details: The root action.
    """

    name: str
    task_name: str
    task_version: str
    phase: ActionPhase
    labels: dict[str, str]
    annotations: dict[str, str]
    recovered_from: str | None
    trace_id: str
    action_count: int
    action_details: ActionDetails


@dataclass(frozen=True)
class RunUpdate:
    """A change of a run.

    Attributes:
        run: The run.
        actions: The actions that are new or changed.
    """

    run: Run
    actions: tuple[Action, ...]


class Run(Execution):
    """One run on the backend. `flyte.run` returns it at once; each method has an ``.aio`` twin.

    ``str(run)`` waits for its end and is the output value; ``repr(run)`` never waits.

    Example:
        ```python
        run = flyte.run(pipeline, x=5)
        print(run.url, run.status)
        print(run.result())
        ```
    """

    _message: run_pb2.Run

    def __init__(self, session: Session, message: run_pb2.Run, interface: Interface | None = None) -> None:
        super().__init__(session, interface)
        self._message = message

    # ------------------------------------------------------------------------------------ what is known

    @property
    def pb(self) -> run_pb2.Run:
        """The backend's message."""
        return self._message

    @property
    def name(self) -> str:
        """Name, unique within project and domain."""
        return self._message.id.name

    @property
    def id(self) -> str:
        """The name."""
        return self.name

    @property
    def project(self) -> str:
        """Project that it belongs to."""
        return self._message.id.project

    @property
    def domain(self) -> str:
        """Domain that it belongs to."""
        return self._message.id.domain

    @property
    def url(self) -> str:
        """Page that shows it."""
        return self._message.url

    @property
    def task_version(self) -> str:
        """Version of the task's code."""
        return self._message.task_version

    @property
    def labels(self) -> dict[str, str]:
        """Labels."""
        return dict(self._message.labels)

    @property
    def duration(self) -> timedelta | None:
        """Time from its creation to its end, or until now."""
        return duration_of(self.created_at, self.end_time)

    @property
    def action(self) -> Action:
        """Its root action, as far as it is known."""
        message = run_pb2.Action(
            id=self._action_identifier, task_name=self._message.task_name, phase=self._message.phase
        )
        return Action(self._session, message, self._interface)

    @property
    def error(self) -> errors.BaseRuntimeError | None:
        """The exception that stands for its failure or abort, None without one."""
        failure = self._message.failure if self._message.HasField("failure") else None
        return error_of(
            self.known_phase,
            failure,
            self._message.abort_reason,
            f"Run {self.name!r}",
            self._message.counted_failures,
        )

    def __repr__(self) -> str:
        return f"Run(name={self.name!r}, phase={self.known_phase.value!r}, url={self.url!r})"

    def __str__(self) -> str:
        self.wait(quiet=True)
        if self.error is not None:
            return end_line(self.name, self._message, self.error)
        return str(self.result())

    # ------------------------------------------------------------------------------------------ to find

    @twin
    @staticmethod
    async def get(
        name: str,
        project: str | None = None,
        domain: str | None = None,
    ) -> Run:
        """Finds a run.

        Args:
            name: Its name.
            project: Its project, the configured one unless given.
            domain: Its domain, the configured one unless given.

        Raises:
            flyte.errors.ActionNotFoundError: When there is none.
        """
        session = require_session()
        return Run(
            session,
            await fetch_run(
                session, run_identifier(project or session.project, domain or session.domain, name)
            ),
        )

    @twin_iterator
    @staticmethod
    async def listall(
        in_phase: ActionPhase | str | tuple[ActionPhase | str, ...] | None = None,
        task_name: str | None = None,
        task_version: str | None = None,
        created_by_subject: str | None = None,
        sort_by: SortBy | None = None,
        limit: int = 100,
        project: str | None = None,
        domain: str | None = None,
        created_at: TimeRange | None = None,
        updated_at: TimeRange | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        labels: dict[str, str] | None = None,
    ) -> AsyncGenerator[Run, None]:
        """Lists runs, newest first unless asked otherwise.

        Args:
            in_phase: Only those in this phase, or in one of these.
            task_name: Only those of this task, by its fully qualified name.
            task_version: Only those of this version of the code.
            created_by_subject: Refused: there are no users yet.
            sort_by: Field and direction: "created_at" or "updated_at" (the newest change), and "asc" or "desc".
            limit: Most runs.
            project: Project, the configured one unless given.
            domain: Domain, the configured one unless given.
            created_at: Only those created in this range: a `flyte.remote.TimeFilter`, or a pair of times, None for
                no limit.
            updated_at: Only those whose newest change is in this range, likewise.
            created_after: Only those created at or after this time.
            created_before: Only those created before this time.
            labels: Only those with all these labels.

        Raises:
            TypeError, ValueError: A filter or the limit has no meaning, or the creation is limited in two ways.
        """
        check_limit(limit)
        refuse(created_by_subject=(created_by_subject, "runs do not record who created them yet"))
        created, updated = time_range("created_at", created_at), time_range("updated_at", updated_at)
        if created_at is not None and (created_after or created_before):
            raise ValueError("created_at says what created_after and created_before say: leave them out")
        created = TimeFilter(created_after or created.after, created_before or created.before)
        order = order_of(sort_by)
        session = require_session()
        client = await session.client()
        wanted = run_service_pb2.RunFilter(
            phases=phase_values(in_phase),
            task_name=task_name or "",
            task_version=task_version or "",
            created_after=timestamp(created.after) if created.after else None,
            created_before=timestamp(created.before) if created.before else None,
            updated_after=timestamp(updated.after) if updated.after else None,
            updated_before=timestamp(updated.before) if updated.before else None,
            labels=labels,
        )

        async def page(size: int, token: str) -> run_service_pb2.ListRunsResponse:
            request = run_service_pb2.ListRunsRequest(
                project=project or session.project,
                domain=domain or session.domain,
                filter=wanted,
                page_size=size,
                page_token=token,
                order_by=order,
            )
            return await client.call(client.runs.ListRuns, request)

        async for message in listed(page, "runs", limit):
            yield Run(session, message)

    # ------------------------------------------------------------------------------------------- to use

    @twin_method
    async def sync(self) -> Run:
        """Asks the backend for its state, and returns it."""
        await self._refresh()
        return self

    @twin_iterator_method
    async def watch(self) -> AsyncGenerator[Run, None]:
        """Yields itself at every change of one of its actions until it has ended."""
        async with aclosing(self._updates()) as updates:
            async for _ in updates:
                yield self

    @twin_iterator_method
    async def updates(
        self, on_reconnect: Callable[[], None] | None = None
    ) -> AsyncGenerator[RunUpdate, None]:
        """Yields the actions that exist, then those that change, until it has ended.

        Args:
            on_reconnect: Called each time the connection is lost and is being made again.
        """
        async with aclosing(self._updates(on_reconnect)) as updates:
            async for update in updates:
                yield update

    @twin_method
    async def details(self) -> RunDetails:
        """Its root action's attempts, times and errors."""
        await self._refresh()
        action = await fetch_action(self._session, self._action_identifier)
        return RunDetails(
            name=self.name,
            task_name=self.task_name,
            task_version=self.task_version,
            phase=self.known_phase,
            labels=self.labels,
            annotations=dict(self._message.annotations),
            recovered_from=self._message.recovered_from or None,
            trace_id=self._message.trace_id,
            action_count=self._message.action_count,
            action_details=action_details(action.pb),
        )

    @twin_method
    async def get_code(self, destination: Path | str) -> list[Path]:
        """Writes the code that it runs, as it was sent, below a directory that is empty or does not exist.

        Returns:
            The files.

        Raises:
            ValueError: The directory has files already.
            flyte.errors.RuntimeUserError: The code is in the image, or is not stored any more.
        """
        client = await self._session.client()
        request = task_service_pb2.GetTaskRequest(
            project=self.project, domain=self.domain, name=self.task_name, version=self.task_version
        )
        task = (await client.call(client.tasks.GetTask, request)).task
        return await download_code(self._session, task, destination)

    @twin_method
    async def abort(self, reason: str = DEFAULT_ABORT_REASON) -> bool:
        """Aborts all its actions. They end as soon as it is confirmed that they stopped: see `wait`.

        Args:
            reason: Why, shown to people.

        Returns:
            False when it had ended already.
        """
        client = await self._session.client()
        request = run_service_pb2.AbortRunRequest(id=self._message.id, reason=reason)
        answer = await client.call(client.runs.AbortRun, request)
        return answer.accepted

    @twin_method
    async def signal(self, value: Any, name: str = "") -> None:
        """Gives a condition of the run the value that it waits for.

        Args:
            value: The value, of the condition's type.
            name: Name of the condition or of its action; empty when the run waits for exactly one.

        Raises:
            flyte.errors.RuntimeUserError: It does not fit (code "ValueInvalidError"), no such condition waits
                (code "ActionNotWaitingError"), or several do (code "SeveralConditionsError").
        """
        await send_signal(self._session, self._message.id, name, value_as_json(value))

    # ----------------------------------------------------------------------------------------- not public

    @property
    def _action_identifier(self) -> identifiers_pb2.ActionIdentifier:
        return identifiers_pb2.ActionIdentifier(run=self._message.id, name=ROOT)

    async def _refresh(self) -> None:
        self._message = await fetch_run(self._session, self._message.id)
        self._freshness.touch()

    async def _changes(self) -> AsyncGenerator[None, None]:
        if self.known_phase.is_terminal:
            yield
            return
        async with aclosing(self._updates(names=(ROOT,))) as updates:
            async for _ in updates:
                yield

    async def _updates(
        self, on_reconnect: Callable[[], None] | None = None, names: tuple[str, ...] = ()
    ) -> AsyncGenerator[RunUpdate, None]:
        client = await self._session.client()
        async with aclosing(watch_run(client, self._message.id, on_reconnect, names)) as answers:
            async for answer in answers:
                if answer.HasField("run"):
                    self._message = answer.run
                    self._freshness.touch()
                yield RunUpdate(self, tuple(Action(self._session, message) for message in answer.actions))


async def fetch_run(session: Session, identifier: identifiers_pb2.RunIdentifier) -> run_pb2.Run:
    """Asks the backend for one run.

    Raises:
        flyte.errors.ActionNotFoundError: When there is none.
    """
    client = await session.client()
    answer = await client.call(client.runs.GetRun, run_service_pb2.GetRunRequest(id=identifier))
    return answer.run

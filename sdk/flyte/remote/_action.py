"""Actions: the executions of tasks within a run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from flyte import errors
from flyte._client._twins import twin, twin_iterator, twin_iterator_method, twin_method
from flyte._details import ActionDetails, AttemptDetails
from flyte._initialize import Session, require_session
from flyte._outcome import ActionInputs, ActionOutputs
from flyte.models import ActionPhase, Progress
from flyte.remote._convert import cache_status_of, error_of, kind_of, phase_values, run_identifier, time_of
from flyte.remote._details import action_details
from flyte.remote._execution import DEFAULT_ABORT_REASON, Execution
from flyte.remote._pages import listed
from flyte.remote._signal import send_signal, value_as_json
from flyte.remote._watch import watch_run
from hangar.admin.v1 import run_pb2, run_service_pb2
from hangar.core.v1 import identifiers_pb2

if TYPE_CHECKING:
    from datetime import datetime

    from flyte._types import Interface

__all__ = ["Action", "ActionDetails", "ActionInputs", "ActionOutputs", "AttemptDetails"]

ROOT = "a0"
"""Name of the action that a run starts with."""


class Action(Execution):
    """One action on the backend: `Action.get`, `Action.listall`. Each method has an ``.aio`` twin.

    Example:
        ```python
        for action in flyte.remote.Action.listall(for_run_name="abc"):
            print(action.name, action.task_name, action.phase)
        ```
    """

    _message: run_pb2.Action

    def __init__(self, session: Session, message: run_pb2.Action, interface: Interface | None = None) -> None:
        super().__init__(session, interface)
        self._message = message

    # ------------------------------------------------------------------------------------ what is known

    @property
    def pb(self) -> run_pb2.Action:
        """The backend's message."""
        return self._message

    @property
    def name(self) -> str:
        """Name within the run; the root's is "a0"."""
        return self._message.id.name

    @property
    def run_name(self) -> str:
        """Name of the run."""
        return self._message.id.run.name

    @property
    def project(self) -> str:
        """Project of the run."""
        return self._message.id.run.project

    @property
    def domain(self) -> str:
        """Domain of the run."""
        return self._message.id.run.domain

    @property
    def parent(self) -> str | None:
        """Name of the action that called it, None for the root."""
        return self._message.parent or None

    @property
    def short_name(self) -> str:
        """Name shown to people."""
        return self._message.short_name or self._message.task_name.rpartition(".")[2]

    @property
    def group(self) -> str | None:
        """Group that it was called in, None for none."""
        return self._message.group or None

    @property
    def raw_phase(self) -> int:
        """The backend's number for the phase."""
        return self._message.phase

    @property
    def wait_reason(self) -> str:
        """Why it is not running, empty when it is."""
        return self._message.wait_reason

    @property
    def progress(self) -> Progress | None:
        """How far its newest attempt said that it is, with `flyte.progress`; None when it did not."""
        if not self._message.HasField("progress"):
            return None
        message = self._message.progress
        return Progress(message.done, message.total or None, message.message)

    @property
    def attempts(self) -> int:
        """Number of attempts so far."""
        return self._message.attempt_count

    @property
    def cache_status(self) -> str:
        """What the cache did: "disabled", "miss", "hit", "overwritten" or "recovered"."""
        return cache_status_of(self._message.cache_status)

    @property
    def kind(self) -> str:
        """What it is: "task", "trace", "condition" or "sleep"."""
        return kind_of(self._message.kind)

    @property
    def prompt(self) -> str:
        """What a condition asks people, empty for other kinds."""
        return self._message.wait.prompt

    @property
    def wait_until(self) -> datetime | None:
        """When a sleep or condition ends by itself, None when it does not."""
        return time_of(self._message.wait, "until")

    @property
    def error(self) -> errors.BaseRuntimeError | None:
        """The exception that stands for its failure or abort, None without one."""
        failure = self._message.failure if self._message.HasField("failure") else None
        what = f"Action {self.name!r} of run {self.run_name!r}"
        return error_of(
            self.known_phase, failure, self._message.abort_reason, what, self._message.counted_failures
        )

    def __repr__(self) -> str:
        return f"Action(name={self.name!r}, run_name={self.run_name!r}, phase={self.known_phase.value!r})"

    # ------------------------------------------------------------------------------------------ to find

    @twin
    @staticmethod
    async def get(
        *,
        run_name: str,
        name: str = ROOT,
        project: str | None = None,
        domain: str | None = None,
    ) -> Action:
        """Finds an action.

        Args:
            run_name: Name of the run.
            name: Name of the action; the root unless given.
            project: Project of the run, the configured one unless given.
            domain: Domain of the run, the configured one unless given.

        Raises:
            flyte.errors.ActionNotFoundError: When there is none.
        """
        session = require_session()
        run = run_identifier(project or session.project, domain or session.domain, run_name)
        return await fetch_action(session, identifiers_pb2.ActionIdentifier(run=run, name=name))

    @twin_iterator
    @staticmethod
    async def listall(
        *,
        for_run_name: str,
        in_phase: ActionPhase | str | tuple[ActionPhase | str, ...] | None = None,
        parent: str | None = None,
        project: str | None = None,
        domain: str | None = None,
    ) -> AsyncGenerator[Action, None]:
        """Lists the actions of a run in the order of enqueueing.

        Args:
            for_run_name: Name of the run.
            in_phase: Only those in this phase, or in one of these.
            parent: Only those that this action called.
            project: Project of the run, the configured one unless given.
            domain: Domain of the run, the configured one unless given.

        Raises:
            flyte.errors.ActionNotFoundError: When there is no such run.
        """
        session = require_session()
        client = await session.client()
        run = run_identifier(project or session.project, domain or session.domain, for_run_name)
        wanted = run_service_pb2.ActionFilter(phases=phase_values(in_phase), parent=parent or "")

        async def page(size: int, token: str) -> run_service_pb2.ListActionsResponse:
            request = run_service_pb2.ListActionsRequest(
                run=run, filter=wanted, page_size=size, page_token=token
            )
            return await client.call(client.runs.ListActions, request)

        async for message in listed(page, "actions"):
            yield Action(session, message)

    # ------------------------------------------------------------------------------------------- to use

    @twin_method
    async def sync(self) -> Action:
        """Asks the backend for its state, and returns it."""
        await self._refresh()
        return self

    @twin_iterator_method
    async def watch(self) -> AsyncGenerator[Action, None]:
        """Yields itself at every change until it has ended."""
        async with aclosing(self._changes()) as states:
            async for _ in states:
                yield self

    @twin_method
    async def details(self) -> ActionDetails:
        """Its attempts, times and errors."""
        await self._refresh()
        return action_details(self._message)

    @twin_method
    async def abort(self, reason: str = DEFAULT_ABORT_REASON) -> bool:
        """Aborts it and everything below it.

        Args:
            reason: Why, shown to people.

        Returns:
            False when it had ended already.
        """
        client = await self._session.client()
        request = run_service_pb2.AbortActionRequest(id=self._message.id, reason=reason)
        answer = await client.call(client.runs.AbortAction, request)
        return answer.accepted

    @twin_method
    async def signal(self, value: Any) -> None:
        """Gives a condition the value that it waits for.

        Args:
            value: The value, of the condition's type.

        Raises:
            flyte.errors.RuntimeUserError: It does not fit (code "ValueInvalidError"), or the action is no condition
                that waits (code "ActionNotWaitingError"), for instance because somebody was faster.
        """
        await send_signal(self._session, self._message.id.run, self.name, value_as_json(value))

    # ----------------------------------------------------------------------------------------- not public

    async def _refresh(self) -> None:
        self._message = (await fetch_action(self._session, self._message.id)).pb
        self._freshness.touch()

    @property
    def _action_identifier(self) -> identifiers_pb2.ActionIdentifier:
        return self._message.id

    async def _changes(self) -> AsyncGenerator[None, None]:
        if self.known_phase.is_terminal:
            yield
            return
        async with aclosing(watch_run(await self._session.client(), self._message.id.run)) as answers:
            async for answer in answers:
                for message in answer.actions:
                    if message.id.name == self.name:
                        self._message = message
                        self._freshness.touch()
                        yield
                if self.known_phase.is_terminal:
                    return


async def fetch_action(session: Session, identifier: identifiers_pb2.ActionIdentifier) -> Action:
    """Asks the backend for one action with its attempts.

    Raises:
        flyte.errors.ActionNotFoundError: When there is none.
    """
    client = await session.client()
    answer = await client.call(client.runs.GetAction, run_service_pb2.GetActionRequest(id=identifier))
    return Action(session, answer.action)

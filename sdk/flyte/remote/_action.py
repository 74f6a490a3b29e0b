"""Actions: the executions of tasks within a run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from flyte import errors
from flyte._client._twins import twin, twin_iterator, twin_iterator_method, twin_method
from flyte._initialize import Session, require_session
from flyte._outcome import ActionInputs, ActionOutputs, ending
from flyte.models import ActionPhase
from flyte.remote._convert import duration_of, error_of, phase_of, phase_values, run_identifier, time_of
from flyte.remote._data import ActionData
from flyte.remote._details import ActionDetails, AttemptDetails
from flyte.remote._logs import LogLine, followed_logs, stored_logs
from flyte.remote._watch import Freshness, watch_run
from hangar.admin.v1 import run_pb2, run_service_pb2
from hangar.core.v1 import identifiers_pb2

if TYPE_CHECKING:
    from datetime import timedelta

    from flyte._types import Interface

__all__ = ["Action", "ActionDetails", "ActionInputs", "ActionOutputs", "AttemptDetails"]

ROOT = "a0"
"""Name of the action that a run starts with."""

DEFAULT_ABORT_REASON = "Manually aborted from the SDK"


class Action:
    """One action on the backend: `Action.get`, `Action.listall`. Each method has an ``.aio`` twin.

    Example:
        ```python
        for action in flyte.remote.Action.listall(for_run_name="abc"):
            print(action.name, action.task_name, action.phase)
        ```
    """

    def __init__(self, session: Session, message: run_pb2.Action, interface: Interface | None = None) -> None:
        self._session = session
        self._message = message
        self._interface = interface
        self._freshness = Freshness(self._refresh)

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
    def task_name(self) -> str:
        """Fully qualified name of its task."""
        return self._message.task_name

    @property
    def short_name(self) -> str:
        """Name shown to people."""
        return self._message.short_name or self._message.task_name.rpartition(".")[2]

    @property
    def group(self) -> str | None:
        """Group that it was called in, None for none."""
        return self._message.group or None

    @property
    def phase(self) -> ActionPhase:
        """Where it stands; asked from the backend when what is known is not recent."""
        if not self.known_phase.is_terminal:
            self._freshness.ensure()
        return self.known_phase

    @property
    def known_phase(self) -> ActionPhase:
        """Where it stood when it was last asked. Never waits."""
        return phase_of(self._message.phase)

    @property
    def raw_phase(self) -> int:
        """The backend's number for the phase."""
        return self._message.phase

    @property
    def status(self) -> ActionPhase:
        """The phase."""
        return self.phase

    @property
    def wait_reason(self) -> str:
        """Why it is not running, empty when it is."""
        return self._message.wait_reason

    @property
    def attempts(self) -> int:
        """Number of attempts so far."""
        return self._message.attempt_count

    @property
    def created_at(self) -> datetime | None:
        """When it was enqueued."""
        return time_of(self._message, "created_at")

    @property
    def start_time(self) -> datetime | None:
        """When user code first ran, None before."""
        return time_of(self._message, "started_at")

    @property
    def end_time(self) -> datetime | None:
        """When it ended, None while it runs."""
        return time_of(self._message, "ended_at")

    @property
    def duration(self) -> timedelta | None:
        """Time from its start to its end, or until now; None before it started."""
        return duration_of(self.start_time, self.end_time)

    @property
    def error(self) -> errors.BaseRuntimeError | None:
        """The exception that stands for its failure or abort, None without one."""
        failure = self._message.failure if self._message.HasField("failure") else None
        what = f"Action {self.name!r} of run {self.run_name!r}"
        return error_of(self.known_phase, failure, self._message.abort_reason, what)

    def done(self) -> bool:
        """True when it has ended."""
        return self.phase.is_terminal

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
        token = ""
        while True:
            request = run_service_pb2.ListActionsRequest(
                run=run, filter=wanted, page_size=1000, page_token=token
            )
            answer = await client.call(client.runs.ListActions, request)
            for message in answer.actions:
                yield Action(session, message)
            token = answer.next_page_token
            if not token:
                return

    # ------------------------------------------------------------------------------------------- to use

    @twin_method
    async def sync(self) -> Action:
        """Asks the backend for its state, and returns it."""
        await self._refresh()
        return self

    @twin_method
    async def wait(self, quiet: bool = False, wait_for: Literal["terminal", "running"] = "terminal") -> None:
        """Waits until it has ended, or runs. Does not raise when it fails.

        Args:
            quiet: False to print how it ended.
            wait_for: "terminal" or "running".
        """
        async with aclosing(self._watch()) as states:
            async for _ in states:
                if is_reached(self.known_phase, wait_for):
                    break
        if not quiet:
            print(ending(self.name, self.known_phase, self.error), flush=True)  # noqa: T201 - documented

    @twin_iterator_method
    async def watch(self) -> AsyncGenerator[Action, None]:
        """Yields itself at every change until it has ended."""
        async with aclosing(self._watch()) as states:
            async for _ in states:
                yield self

    @twin_method
    async def details(self) -> ActionDetails:
        """Its attempts, times and errors."""
        await self._refresh()
        return ActionDetails.from_message(self._message)

    @twin_method
    async def inputs(self) -> ActionInputs:
        """Its inputs by name."""
        return (await self._data()).input_values(self._interface)

    @twin_method
    async def outputs(self) -> ActionOutputs:
        """Waits for its end; its outputs in order, ``outputs.o0`` the first.

        Raises:
            flyte.errors.BaseRuntimeError: When it did not succeed: the error that says why.
        """
        await self._succeeded()
        return (await self._data()).output_values(self._interface)

    @twin_method
    async def result(self) -> Any:
        """Waits for its end; what the task returned.

        Raises:
            flyte.errors.BaseRuntimeError: When it did not succeed: the error that says why.
        """
        await self._succeeded()
        return (await self._data()).result(self._interface)

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
    async def show_logs(
        self,
        attempt: int | None = None,
        max_lines: int = 30,
        show_ts: bool = False,
        raw: bool = True,
        filter_system: bool = True,
    ) -> None:
        """Prints the last lines that it wrote.

        Args:
            attempt: Attempt, from 0; the newest unless given.
            max_lines: Most lines.
            show_ts: True to print the time of each line.
            raw: Lines are printed as they were written in any case.
            filter_system: Only user code writes to these logs in any case.
        """
        for line in await stored_logs(await self._session.client(), self._message.id, attempt, max_lines):
            print(line.render(show_ts=show_ts), flush=True)  # noqa: T201 - documented

    @twin_iterator_method
    async def get_logs(
        self, attempt: int | None = None, max_lines: int | None = None, follow: bool = False
    ) -> AsyncGenerator[LogLine, None]:
        """The lines that it wrote.

        Args:
            attempt: Attempt, from 0; the newest unless given.
            max_lines: Only so many of the last lines that are stored; without effect when following.
            follow: True to go on with new lines until it has ended.
        """
        client = await self._session.client()
        if follow:
            async with aclosing(followed_logs(client, self._message.id, attempt)) as lines:
                async for line in lines:
                    yield line
            return
        for line in await stored_logs(client, self._message.id, attempt, max_lines):
            yield line

    # ----------------------------------------------------------------------------------------- not public

    async def _refresh(self) -> None:
        self._message = (await fetch_action(self._session, self._message.id)).pb
        self._freshness.touch()

    async def _data(self) -> ActionData:
        return await ActionData.fetch(await self._session.client(), self._message.id)

    async def _watch(self) -> AsyncGenerator[None, None]:
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

    async def _succeeded(self) -> None:
        async with aclosing(self._watch()) as states:
            async for _ in states:
                pass
        error = self.error
        if error is not None:
            raise error


async def fetch_action(session: Session, identifier: identifiers_pb2.ActionIdentifier) -> Action:
    """Asks the backend for one action with its attempts.

    Raises:
        flyte.errors.ActionNotFoundError: When there is none.
    """
    client = await session.client()
    answer = await client.call(client.runs.GetAction, run_service_pb2.GetActionRequest(id=identifier))
    return Action(session, answer.action)


def is_reached(phase: ActionPhase, wait_for: str) -> bool:
    """True when a phase is what one waits for.

    Raises:
        ValueError: When it is neither "terminal" nor "running".
    """
    if wait_for not in {"terminal", "running"}:
        raise ValueError(f'wait_for={wait_for!r} must be "terminal" or "running"')
    return phase.is_terminal or (wait_for == "running" and phase is ActionPhase.RUNNING)

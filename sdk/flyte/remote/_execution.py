"""What a run and an action have in common: phases, times, inputs and outputs, logs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from flyte import errors
from flyte._client._twins import twin_iterator_method, twin_method
from flyte._details import LogLine
from flyte._outcome import ActionInputs, ActionOutputs
from flyte._shown import Shown
from flyte._types._moves import off_loop
from flyte.models import ActionPhase
from flyte.remote._convert import end_line, phase_of, time_of
from flyte.remote._data import ActionData
from flyte.remote._logs import followed_logs, stored_logs
from flyte.remote._report import fetch_report
from flyte.remote._watch import Freshness

if TYPE_CHECKING:
    from flyte._initialize import Session
    from flyte._types import Interface
    from hangar.admin.v1 import run_pb2
    from hangar.core.v1 import identifiers_pb2

DEFAULT_ABORT_REASON = "Manually aborted from the SDK"


class Execution(Shown):
    """A run, or an action. Each method has an ``.aio`` twin."""

    _message: run_pb2.Run | run_pb2.Action

    def __init__(self, session: Session, interface: Interface | None) -> None:
        self._session = session
        self._interface = interface
        self._freshness = Freshness(self._refresh)

    # -- what is known ----------------------------------------------------------------------------------

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
    def task_name(self) -> str:
        """Fully qualified name of its task."""
        return self._message.task_name

    @property
    def created_at(self) -> datetime | None:
        """When it was created."""
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
    def error(self) -> errors.BaseRuntimeError | None:
        """The exception that stands for its failure or abort, None without one."""
        raise NotImplementedError

    # -- to use -----------------------------------------------------------------------------------------

    @twin_method
    async def wait(self, quiet: bool = False, wait_for: Literal["terminal", "running"] = "terminal") -> None:
        """Waits until it has ended, or runs. Does not raise when it fails: see `error` and `result`.

        Args:
            quiet: False to print how it ended.
            wait_for: "terminal" or "running".

        Raises:
            ValueError: When `wait_for` is neither.
        """
        if wait_for not in {"terminal", "running"}:
            raise ValueError(f'wait_for={wait_for!r} must be "terminal" or "running"')
        wanted = {ActionPhase.RUNNING} if wait_for == "running" else set()
        async with aclosing(self._changes()) as changes:
            async for _ in changes:
                if self.known_phase.is_terminal or self.known_phase in wanted:
                    break
        if not quiet:
            line = end_line(self._action_identifier.name, self._message, self.error)
            print(line, flush=True)  # noqa: T201 - documented

    @twin_method
    async def inputs(self) -> ActionInputs:
        """Its inputs by name."""
        return await off_loop((await self._data()).input_values, self._interface)

    @twin_method
    async def outputs(self) -> ActionOutputs:
        """Waits for its end; its outputs in order, ``outputs.o0`` the first; ``(None,)`` when there are none.

        Raises:
            flyte.errors.BaseRuntimeError: When it did not succeed: the error that says why, such as
                `flyte.errors.RuntimeUserError` with the exception's class name as its code.
        """
        await self._succeeded()
        return await off_loop((await self._data()).output_values, self._interface)

    @twin_method
    async def result(self) -> Any:
        """Waits for its end; what the task returned.

        Raises:
            flyte.errors.BaseRuntimeError: As `outputs`.
        """
        await self._succeeded()
        return await off_loop((await self._data()).result, self._interface)

    @twin_method
    async def get_report(self, attempt: int | None = None) -> str:
        """Its report as an HTML document, as it was stored last; of a run, that of its root action.

        Args:
            attempt: Attempt, from 0; the newest that has a report unless given.

        Raises:
            flyte.errors.RuntimeUserError: There is none, or not yet (code "ReportNotFoundError").
        """
        client = await self._session.client()
        return (await fetch_report(client, self._action_identifier, attempt)).html

    @twin_iterator_method
    async def get_logs(
        self, attempt: int | None = None, max_lines: int | None = None, follow: bool = False
    ) -> AsyncGenerator[LogLine, None]:
        """The lines that it wrote; of a run, that its root action wrote.

        Args:
            attempt: Attempt, from 0; the newest unless given.
            max_lines: Only so many of the last lines that are stored; without effect when following.
            follow: True to go on with new lines until it has ended.
        """
        client = await self._session.client()
        if follow:
            async with aclosing(followed_logs(client, self._action_identifier, attempt)) as lines:
                async for line in lines:
                    yield line
            return
        for line in await stored_logs(client, self._action_identifier, attempt, max_lines):
            yield line

    # -- what runs and actions do in their own way ------------------------------------------------------

    @property
    def _action_identifier(self) -> identifiers_pb2.ActionIdentifier:
        """The action itself, or the run's root action."""
        raise NotImplementedError

    async def _refresh(self) -> None:
        """Asks the backend for the state, and stores it."""
        raise NotImplementedError

    def _changes(self) -> AsyncGenerator[object, None]:
        """Yields after every change of the state, until the end."""
        raise NotImplementedError

    # -- shared -----------------------------------------------------------------------------------------

    async def _data(self) -> ActionData:
        return await ActionData.fetch(await self._session.client(), self._action_identifier)

    async def _succeeded(self) -> None:
        if not self.known_phase.is_terminal:
            async with aclosing(self._changes()) as changes:
                async for _ in changes:
                    if self.known_phase.is_terminal:
                        break
        error = self.error
        if error is not None:
            raise error

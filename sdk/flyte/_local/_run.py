"""Runs in this process."""

from __future__ import annotations

import asyncio
import atexit
import json
import threading
from collections import deque
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from flyte import errors
from flyte._client._twins import twin_iterator_method, twin_method
from flyte._details import ActionDetails, LogLine
from flyte._local._action import LocalAction
from flyte._local._execution import run_async
from flyte._local._recorder import Recorder
from flyte._local._state import RunState
from flyte._logging import logger
from flyte._outcome import ActionInputs, ActionOutputs, ending
from flyte._shown import Shown
from flyte.models import ActionPhase

if TYPE_CHECKING:  # SQLite takes its time to import
    pass

ROOT = "a0"
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class LocalUpdate:
    """A change of a local run.

    Attributes:
        run: The run.
        actions: The actions that are new or changed.
    """

    run: LocalRun
    actions: tuple[LocalAction, ...]


@dataclass(frozen=True)
class LocalRunDetails:
    """A run with the details of its root action.

    Attributes:
        name: Name of the run.
        task_name: Fully qualified name of its task.
        phase: Where it stands.
        labels: Labels.
        annotations: Annotations.
        action_count: Actions in it so far.
        action_details: The root action.
    """

    name: str
    task_name: str
    phase: ActionPhase
    labels: dict[str, str]
    annotations: dict[str, str]
    action_count: int
    action_details: ActionDetails


class LocalRun(Shown):
    """One run in this process, with the surface of `flyte.remote.Run`.

    `str(run)` waits for its end and is the output value; `repr(run)` never waits.

    Example:
        ```python
        run = flyte.with_runcontext(mode="local").run(pipeline, x=5)
        print(run.status, run.result())
        ```
    """

    def __init__(self, state: RunState, root: LocalAction, recorder: Recorder | None = None) -> None:
        self._state = state
        self._root = root
        self._recorder = recorder
        self._ended: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[bytes] | None = None
        self._thread = threading.Thread(target=self._serve, name=f"flyte-local-{state.name}", daemon=True)

    # -- what is known ----------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the run."""
        return self._state.name

    @property
    def id(self) -> str:
        """The name."""
        return self.name

    @property
    def url(self) -> str:
        """Directory that its record goes to when it ends (`run.json`)."""
        return str(self._state.metadata_path)

    @property
    def project(self) -> str:
        """Empty: local runs belong to no project."""
        return ""

    @property
    def domain(self) -> str:
        """Empty: local runs belong to no domain."""
        return ""

    @property
    def labels(self) -> dict[str, str]:
        """Labels."""
        return dict(self._state.labels)

    @property
    def task_name(self) -> str:
        """Fully qualified name of its task."""
        return self._root.task_name

    @property
    def phase(self) -> ActionPhase:
        """Where its root action stands."""
        return self._root.phase

    @property
    def known_phase(self) -> ActionPhase:
        """The phase."""
        return self.phase

    @property
    def created_at(self) -> datetime:
        """When it was created."""
        return self._root.created_at

    @property
    def start_time(self) -> datetime | None:
        """When user code first ran, None before."""
        return self._root.start_time

    @property
    def end_time(self) -> datetime | None:
        """When it ended, None while it runs."""
        return self._root.end_time

    @property
    def action(self) -> LocalAction:
        """Its root action."""
        return self._root

    @property
    def actions(self) -> tuple[LocalAction, ...]:
        """Its actions so far, in the order of their calls."""
        return tuple(self._state.actions)

    @property
    def error(self) -> errors.BaseRuntimeError | None:
        """The exception that stands for its failure or abort, None without one."""
        return self._root.error

    def __repr__(self) -> str:
        return f"LocalRun(name={self.name!r}, phase={self.phase.value!r}, url={self.url!r})"

    def __str__(self) -> str:
        self.wait(quiet=True)
        if self.error is not None:
            return ending(self.name, self.phase, self.error)
        return str(self.result())

    # -- to use -----------------------------------------------------------------------------------------

    @twin_method
    async def sync(self) -> LocalRun:
        """Returns itself: its state is always known."""
        return self

    @twin_method
    async def wait(self, quiet: bool = False, wait_for: Literal["terminal", "running"] = "terminal") -> None:
        """Waits until it has ended, or runs. Does not raise when it fails: see `error` and `result`.

        Args:
            quiet: False to print how it ended.
            wait_for: "terminal" or "running".

        Raises:
            ValueError: `wait_for` is neither.
        """
        if wait_for not in {"terminal", "running"}:
            raise ValueError(f'wait_for={wait_for!r} must be "terminal" or "running"')
        if wait_for == "terminal":
            await self._end()
        else:
            async with aclosing(self._updates()) as updates:
                async for _ in updates:
                    if self.phase is not ActionPhase.QUEUED:
                        break
        if not quiet:
            print(ending(ROOT, self.phase, self.error), flush=True)  # noqa: T201 - documented

    @twin_iterator_method
    async def watch(self) -> AsyncGenerator[LocalRun, None]:
        """Yields itself at every change of one of its actions until it has ended."""
        async with aclosing(self._updates()) as updates:
            async for _ in updates:
                yield self

    @twin_iterator_method
    async def updates(self) -> AsyncGenerator[LocalUpdate, None]:
        """Yields the actions that exist, then those that change, until it has ended."""
        async with aclosing(self._updates()) as updates:
            async for update in updates:
                yield update

    @twin_method
    async def details(self) -> LocalRunDetails:
        """Its root action's attempts, times and errors."""
        return LocalRunDetails(
            name=self.name,
            task_name=self.task_name,
            phase=self.phase,
            labels=self.labels,
            annotations=dict(self._state.annotations),
            action_count=len(self._state.actions),
            action_details=await self._root.details.aio(),
        )

    @twin_method
    async def inputs(self) -> ActionInputs:
        """Inputs of its root action by name."""
        return await self._root.inputs.aio()

    @twin_method
    async def outputs(self) -> ActionOutputs:
        """Waits for its end; its outputs in order, `outputs.o0` the first; `(None,)` when there are none.

        Raises:
            flyte.errors.BaseRuntimeError: It did not succeed: the error that says why.
        """
        await self._end()
        return await self._root.outputs.aio()

    @twin_method
    async def result(self) -> Any:
        """Waits for its end; what the task returned.

        Raises:
            flyte.errors.BaseRuntimeError: As `outputs`.
        """
        await self._end()
        return await self._root.result.aio()

    @twin_method
    async def get_report(self, attempt: int | None = None) -> str:
        """The report of its root action, as `LocalAction.get_report`."""
        return await self._root.get_report.aio(attempt)

    @twin_method
    async def abort(self, reason: str = "Manually aborted from the SDK") -> bool:
        """Stops it: async tasks are cancelled, sync tasks interrupted at their next Python instruction.

        Args:
            reason: Why, shown to people.

        Returns:
            False when it had ended already.
        """
        if self.done():
            return False
        self._stop(reason)
        return True

    @twin_method
    async def signal(self, value: Any, name: str = "") -> None:
        """Gives a condition of the run the value that it waits for.

        Args:
            value: The value, of the condition's type.
            name: Name of the condition or of its action; empty when the run waits for exactly one.

        Raises:
            RuntimeDataValidationError: The value is not of the condition's type.
            flyte.errors.RuntimeUserError: No such condition waits (code "ActionNotWaitingError"), or several do
                (code "SeveralConditionsError").
        """
        waiting = [
            action
            for action in self.actions
            if action.kind == "condition"
            and not action.done()
            and name in ("", action.name, action.task_name)
        ]
        if not waiting:
            raise errors.RuntimeUserError(
                "ActionNotWaitingError", f"no condition {name!r} of run {self.name} waits for a value"
            )
        if len(waiting) > 1:
            names = ", ".join(f"{action.task_name} ({action.name})" for action in waiting)
            raise errors.RuntimeUserError(
                "SeveralConditionsError",
                f"{len(waiting)} conditions of run {self.name} wait: {names}; name one",
            )
        await waiting[0].signal.aio(value)

    @twin_iterator_method
    async def get_logs(self, /, **options: Any) -> AsyncGenerator[LogLine, None]:
        """The lines that its root action wrote: see `LocalAction.get_logs`.

        Raises:
            LogsNotYetAvailableError: It is not recorded (`local_persistence`): what its tasks print is in this
                process's output only.
        """
        async for line in self._root.get_logs.aio(**options):
            yield line

    # -- not public -------------------------------------------------------------------------------------

    def _start(self) -> None:
        atexit.register(self._leave)
        self._thread.start()

    def _leave(self) -> None:
        """The program ends before the run: its tasks get a moment to clean up."""
        self._stop("the program ended")
        wait_for_futures([self._ended], timeout=_GRACE_SECONDS)

    def _stop(self, reason: str) -> None:
        self._state.abort(reason)
        loop, task = self._loop, self._task
        if loop is not None and task is not None:
            with suppress(RuntimeError):  # the loop is closed: the run has just ended
                loop.call_soon_threadsafe(task.cancel)

    async def _end(self) -> None:
        await asyncio.shield(asyncio.wrap_future(self._ended))

    async def _updates(self) -> AsyncGenerator[LocalUpdate, None]:
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        pending: deque[LocalAction] = deque()

        def note(action: LocalAction) -> None:
            pending.append(action)
            with suppress(RuntimeError):  # the watcher's loop is closed
                loop.call_soon_threadsafe(changed.set)

        self._state.listeners.append(note)
        try:
            yield LocalUpdate(self, self.actions)
            self._ended.add_done_callback(lambda _: note(self._root))
            while not self._ended.done() or pending:
                await changed.wait()
                changed.clear()
                actions: dict[LocalAction, None] = {}
                while pending:
                    actions[pending.popleft()] = None
                yield LocalUpdate(self, tuple(actions))
        finally:
            self._state.listeners.remove(note)

    def _serve(self) -> None:
        """The thread of the run: an event loop until its root action has ended."""
        try:
            with suppress(errors.BaseRuntimeError, asyncio.CancelledError):
                asyncio.run(self._main())
            self._keep_record()
        except OSError as error:
            logger.warning("the record of run %s cannot be written: %s", self.name, error)
        finally:
            self._root.end_anyhow()
            if self._recorder is not None:
                self._recorder.close()
            atexit.unregister(self._leave)
            self._ended.set_result(None)

    async def _main(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.ensure_future(run_async(self._root))
        if self._state.abort_reason is not None:
            self._task.cancel()
        await self._task

    def _keep_record(self) -> None:
        record = {"name": self.name, "phase": self.phase.value, "actions": [a.record() for a in self.actions]}
        path = self._state.metadata_path / "run.json"
        path.write_text(json.dumps(record, indent=1), encoding="utf-8")
        with suppress(OSError):  # tasks wrote something there
            self._state.raw_data_path.rmdir()

"""Runs in this process."""

from __future__ import annotations

import asyncio
import atexit
import json
import re
import secrets
import threading
from collections import deque
from collections.abc import AsyncGenerator, Mapping
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
from flyte._runtime.controller import check_size
from flyte._shown import Shown
from flyte._types._moves import off_loop
from flyte.models import ActionPhase

if TYPE_CHECKING:  # SQLite takes its time to import
    from flyte._local._store import LocalStore
    from flyte._task import TaskTemplate

ROOT = "a0"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
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


async def start_local_run(
    task: TaskTemplate[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    name: str | None = None,
    version: str | None = None,
    env_vars: Mapping[str, str] | None = None,
    overwrite_cache: bool = False,
    disable_cache: bool = False,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    custom_context: Mapping[str, str] | None = None,
    raw_data_path: str | None = None,
    recovered: Mapping[str, tuple[bytes, str]] | None = None,
    store: LocalStore | None = None,
    echo: bool = True,
    wait: bool = True,
) -> LocalRun:
    """Run a task in this process.

    Args:
        task: The task.
        args: Inputs by position.
        kwargs: Inputs by name.
        name: Name of the run, generated unless given.
        version: What `flyte.ctx().version` says.
        env_vars: Environment variables of every action, over those of its environment.
        overwrite_cache: Compute every cached result anew and replace what is kept.
        disable_cache: Neither use nor keep results.
        labels: Labels of the run.
        annotations: Notes on the run.
        custom_context: Texts for all its actions.
        raw_data_path: Directory for bulk data, one below the system's temporary directory unless given.
        recovered: Outputs that are taken over and whose they are, by key of the action.
        store: Where it is recorded, None for nowhere.
        echo: What tasks of a recorded run print goes to the usual output, too.
        wait: Return when the run has ended, so that no script ends before it. False: at once.

    Raises:
        TypeError: An input is missing or unknown.
        RuntimeDataValidationError: An input has the wrong type.
        InlineIOMaxBytesBreached: The inputs are too large.
        ValueError: The name cannot be a directory's, two environments have the same name, or `raw_data_path` is no
            directory of this machine.
        RuntimeUserError: The store has a run of that name (code "RunAlreadyExistsError").
        RuntimeSystemError: The store cannot be used (code "LocalStoreError").
    """
    from flyte._environment import walk
    from flyte.io._local_place import LocalPlace
    from flyte.io._places import at_home

    walk([task.environment])
    interface = task.interface
    with at_home(LocalPlace()):
        document = await off_loop(interface.dump_inputs, interface.bind(args, kwargs))
    check_size(document, task.max_inline_io_bytes, f"the inputs of {task.name}")
    state = RunState.create(_run_name(name), env_vars or {}, raw_data_path)
    state.overwrite_cache, state.disable_cache = overwrite_cache, disable_cache
    state.recovered, state.custom_context = recovered or {}, dict(custom_context or {})
    state.version = version or ""
    state.labels, state.annotations, state.echo = dict(labels or {}), dict(annotations or {}), echo
    root = LocalAction(state, ROOT, task, document, custom_context=state.custom_context)
    recorder = _recorder(store, state, root) if store is not None else None
    run = LocalRun(state, state.add(root), recorder)
    run._start()
    if wait:
        try:
            await run._end()
        except asyncio.CancelledError:
            run._stop("interrupted")
            raise
    return run


def _recorder(store: LocalStore, state: RunState, root: LocalAction) -> Recorder:
    """What keeps a new run in a store."""
    store.create(state.name, root.task_name, state.labels, state.metadata_path, root.created_at)
    state.log_directory = store.log_directory(state.name)
    recorder = Recorder(store, state)
    recorder.start()
    return recorder


def run_local(
    task: TaskTemplate[..., Any],
    *args: Any,
    **kwargs: Any,
) -> LocalRun:
    """Run a task in this process and return when it has ended, for tests and notebooks.

    Example:
        ```python
        assert run_local(pipeline, x=5).result() == 20
        ```
    """
    from flyte._client._loop import LOOP

    return LOOP.run(start_local_run(task, args, kwargs))


def _run_name(name: str | None) -> str:
    if name is None:
        return "l" + secrets.token_hex(9)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"name={name!r} cannot name a run: use 1 to 63 lower-case letters, digits and hyphens, starting and ending "
            'with a letter or digit, such as "nightly-1"'
        )
    return name

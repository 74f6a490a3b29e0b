"""Carries out local actions: attempts, time limits, the children of an attempt."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import wait as wait_for_futures
from contextlib import contextmanager
from contextvars import copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

from flyte import errors
from flyte._context import ActionID, TaskContext, current_group, get_custom_context, running
from flyte._local._action import LocalAction
from flyte._local._attempt import TimedOut
from flyte._local._cache import Turn, turn_of
from flyte._local._logs import captured
from flyte._local._reports import attempt_report, keep_report
from flyte._local._steps import LocalTrace, begin_pause, wait_async, wait_sync
from flyte._local._threads import TaskThread
from flyte._local._variables import variables
from flyte._runtime.controller import check_size, child_key, refuse_in_trace
from flyte._step import Step, current_trace
from flyte._types import digest
from flyte._types._moves import off_loop
from flyte.models import ActionPhase

if TYPE_CHECKING:
    from flyte._checkpoint import Checkpoint
    from flyte._task import TaskTemplate
    from flyte.models import Progress
    from flyte.report import Report

T = TypeVar("T")

_GRACE_SECONDS = 5.0
_PROGRESS_SECONDS = 0.5
"""How long after a report of progress those who watch are told of it."""


class LocalController:
    """Runs the children of one attempt of a local action."""

    def __init__(self, action: LocalAction) -> None:
        self._action = action
        self._occurrences: dict[tuple[str, str, str, str], int] = {}
        self._callers: set[asyncio.Task[Any]] = set()
        self._ended = False
        self._lock = threading.Lock()
        self.report: Report | None = None
        self._notice: threading.Timer | None = None

    def report_progress(self, progress: Progress) -> None:
        """Show how far the attempt is: the latest of all that comes in a moment."""
        self._action.attempt_list[-1].progress = progress
        if self._notice is None and self._action.state.listeners:
            self._notice = threading.Timer(_PROGRESS_SECONDS, self._show_progress)
            self._notice.daemon = True
            self._notice.start()

    def _show_progress(self) -> None:
        self._notice = None
        self._action.state.changed(self._action)

    async def submit(
        self, task: TaskTemplate[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run a child and give its result. Cancelling the awaiting asyncio task aborts the child."""
        child = await off_loop(self._task_child, task, args, kwargs)
        caller = asyncio.current_task()
        if caller is not None:
            self._callers.add(caller)
        try:
            document = child.outputs_document or await run_async(child)
        finally:
            if caller is not None:
                self._callers.discard(caller)
        return await off_loop(task.interface.load_outputs, document)

    def submit_sync(self, task: TaskTemplate[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a child in the calling thread."""
        child = self._task_child(task, args, kwargs)
        return task.interface.load_outputs(child.outputs_document or run_sync(child))

    @property
    def checkpoint(self) -> Checkpoint:
        """What the attempt saves, and finds of earlier ones."""
        from flyte._checkpoint import Checkpoint, DirectoryCheckpoints

        return Checkpoint(DirectoryCheckpoints(self._action.state.metadata_path / self._action.name))

    def trace(self, step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> LocalTrace:
        """Begin to record a traced call."""
        document = step.interface.dump_inputs(step.interface.bind(args, kwargs))
        return LocalTrace(*self._child(step, document))

    async def pause(self, step: Step, inputs: Mapping[str, Any], seconds: float | None) -> bytes:
        """Wait for a condition or a sleep, and give its outputs document. Cancelling the asyncio task aborts it."""
        action = self._begin_pause(step, inputs, seconds)
        caller = asyncio.current_task()
        if caller is not None:
            self._callers.add(caller)
        try:
            return await wait_async(action)
        except asyncio.CancelledError:
            if not self._ended:  # else a later attempt waits on
                action.abort()
            raise
        finally:
            if caller is not None:
                self._callers.discard(caller)

    def pause_sync(self, step: Step, inputs: Mapping[str, Any], seconds: float | None) -> bytes:
        """The same, blocking the calling thread."""
        return wait_sync(self._begin_pause(step, inputs, seconds))

    def _begin_pause(self, step: Step, inputs: Mapping[str, Any], seconds: float | None) -> LocalAction:
        _, action = self._child(step, step.interface.dump_inputs(inputs))
        begin_pause(action, seconds)
        return action

    async def find_task(self, name: str, project: str, domain: str, version: str) -> dict[str, Any]:
        """Refuse: there is nothing deployed in a process."""
        raise errors.RemoteTaskUsageError(
            f"the deployed task {name} cannot be called in local mode: start the run on a backend, or call the task "
            "itself"
        )

    def run_blocking(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in a thread with an event loop of its own, and block until it ends."""
        return TaskThread(copy_context(), lambda: asyncio.run(coroutine)).future.result()

    def end(self, *, failed: bool) -> None:
        """The attempt has ended. If it failed, what it started and did not await is cancelled."""
        with self._lock:
            self._ended = True
        if self._notice is not None:
            self._notice.cancel()
        if failed:
            for caller in list(self._callers):
                caller.get_loop().call_soon_threadsafe(caller.cancel)

    def _task_child(
        self, task: TaskTemplate[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> LocalAction:
        refuse_in_trace(task)
        return self._child(task, task.interface.dump_inputs(task.interface.bind(args, kwargs)))[1]

    def _child(self, task: TaskTemplate[Any, Any] | Step, document: bytes) -> tuple[str, LocalAction]:
        """Key and action of a call: a new one, or that of an earlier attempt that succeeded or still pauses."""
        parent = self._action
        if parent.state.abort_reason is not None:
            raise errors.ActionAbortedError(f"{task.name} is not started: {parent.state.abort_reason}")
        check_size(document, task.max_inline_io_bytes, f"the inputs of {task.name}")
        inputs_digest, group = digest(document), current_group()
        scope = current_trace() or parent.name
        with self._lock:
            if self._ended:
                raise errors.NotInTaskContextError(
                    f"{task.name} was called after the action {parent.name} had ended: await what it starts"
                )
            identity = (scope, task.name, inputs_digest, group)
            occurrence = self._occurrences.get(identity, 0)
            self._occurrences[identity] = occurrence + 1
            key = child_key(scope, task.name, inputs_digest, group, occurrence)
            before = parent.children.setdefault(key, [])
            if before and before[-1].phase in (ActionPhase.SUCCEEDED, ActionPhase.PAUSED):
                return key, before[-1]
            name = f"{key}-{len(before) + 1}" if before else key
            child = LocalAction(
                parent.state,
                name,
                parent.task if isinstance(task, Step) else task,
                document,
                parent,
                group,
                custom_context=get_custom_context(),
                key=key,
                step=task if isinstance(task, Step) else None,
            )
            taken = parent.state.recovered.get(key) if not before else None
            before.append(child)
        parent.state.add(child)
        if taken is not None:
            child.recover(*taken)
        return key, child


def run_sync(action: LocalAction) -> bytes:
    """Run a sync task's action in the calling thread, or take its result from the cache; its outputs document.

    Raises:
        BaseRuntimeError: It failed, and no retry is left.
    """
    turn = _turn(action)
    if turn is None:
        return _attempts_sync(action)
    try:
        while (other := turn.reserve()) is not None:
            limit = action.queue_seconds_left()
            if other not in wait_for_futures([other], timeout=limit).done:
                raise action.wait_too_long()
        if (document := _looked_up(turn, action)) is None:
            document = _attempts_sync(action)
            turn.store(document)
        return document
    finally:
        turn.release()


def _looked_up(turn: Turn, action: LocalAction) -> bytes | None:
    """The result that is kept, with which the action has ended; None when it has to run."""
    try:
        document = turn.look_up()
    except errors.RuntimeSystemError as error:
        action.refuse(error)
        raise
    if document is not None:
        action.succeed(document)
    return document


def _turn(action: LocalAction) -> Turn | None:
    """What the action has to do with the cache. When that cannot be told, the action has failed."""
    try:
        return turn_of(action)
    except Exception as error:
        action.refuse(error)
        raise action.raised() from error


def _attempts_sync(action: LocalAction) -> bytes:
    while True:
        action.begin_attempt()
        try:
            document = _sync_attempt(action)
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is its result
            is_last = action.fail_attempt(error)
        else:
            action.succeed(document)
            return document
        if is_last:
            raise action.raised()
        action.state.aborting.wait(action.pause_seconds())
        _check_end(action)


def _check_end(action: LocalAction) -> None:
    """Raises when an action may not be tried again: it was aborted while it waited, or its deadline has passed."""
    if action.state.abort_reason is not None:
        raise action.abort()
    if action.is_overdue():
        raise action.reach_deadline()


async def run_async(action: LocalAction) -> bytes:
    """Run an action on the running event loop, a sync task in a thread, or take its result from the cache.

    Returns:
        Its outputs document.

    Raises:
        BaseRuntimeError: It failed, and no retry is left.
    """
    turn = _turn(action)
    if turn is None:
        return await _attempts_async(action)
    try:
        while (other := turn.reserve()) is not None:
            try:
                await asyncio.wait([asyncio.wrap_future(other)], timeout=action.queue_seconds_left())
            except asyncio.CancelledError:
                action.abort()
                raise
            if not other.done():
                raise action.wait_too_long()
        if (document := _looked_up(turn, action)) is None:
            document = await _attempts_async(action)
            turn.store(document)
        return document
    finally:
        turn.release()


async def _attempts_async(action: LocalAction) -> bytes:
    while True:
        action.begin_attempt()
        try:
            document = await _async_attempt(action)
        except _OuterCancel as error:
            action.abort()
            raise asyncio.CancelledError(*error.args) from None
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is its result
            is_last = action.fail_attempt(error)
        else:
            action.succeed(document)
            return document
        if is_last:
            raise action.raised()
        try:
            await asyncio.sleep(action.pause_seconds())
        except asyncio.CancelledError:
            action.abort()
            raise
        _check_end(action)


class _OuterCancel(Exception):
    """Whoever awaits the action was cancelled."""


def _sync_attempt(action: LocalAction) -> bytes:
    limit = action.attempt_seconds()
    if limit is None:
        return copy_context().run(_call, action)
    began = time.monotonic()
    with _thread(action) as thread:
        wait_for_futures([thread.future], timeout=limit)
        if not thread.future.done():
            thread.stop()
            raise TimedOut
        return _in_time(thread.future.result(), began, limit)


async def _async_attempt(action: LocalAction) -> bytes:
    limit = action.attempt_seconds()
    if not action.task.is_async:
        with _thread(action) as thread:
            return await _awaited(asyncio.wrap_future(thread.future), thread.stop, limit)
    loop = asyncio.get_running_loop()
    work: asyncio.Task[bytes] = copy_context().run(loop.create_task, _call_async(action))
    try:
        return await _awaited(work, work.cancel, limit)
    finally:
        if not work.done():
            try:
                await asyncio.wait({work}, timeout=_GRACE_SECONDS)
            except asyncio.CancelledError as error:  # again: anyio does so until its scope is left
                raise _OuterCancel(*error.args) from None


async def _awaited(work: asyncio.Future[bytes], stop: Callable[[], Any], limit: float | None) -> bytes:
    """The result of an attempt, unless its time limit or the end of its caller comes first."""
    work.add_done_callback(_retrieve)
    began = time.monotonic()
    try:
        done, _ = await asyncio.wait({work}, timeout=limit)
    except asyncio.CancelledError as error:
        stop()
        raise _OuterCancel(*error.args) from None
    if not done:
        stop()
        raise TimedOut
    return _in_time(work.result(), began, limit)


def _in_time(document: bytes, began: float, limit: float | None) -> bytes:
    """A result, unless it came too late: nothing ends an attempt that blocks the event loop."""
    if limit is not None and time.monotonic() - began > limit:
        raise TimedOut
    return document


def _retrieve(work: asyncio.Future[bytes]) -> None:
    """Keeps asyncio from complaining about how an attempt ended that nobody waits for any more."""
    if not work.cancelled():
        work.exception()


@contextmanager
def _thread(action: LocalAction) -> Iterator[TaskThread[bytes]]:
    """A thread that runs an attempt, known to the run while somebody waits for it."""
    thread = TaskThread(copy_context(), lambda: _call(action))
    with action.state.lock:
        action.state.threads.add(thread)
    try:
        yield thread
    finally:
        with action.state.lock:
            action.state.threads.discard(thread)


def _call(action: LocalAction) -> bytes:
    with _attempt(action):
        task = action.task
        return _outputs(action, task.func(**task.interface.load_inputs(action.inputs_document)))


async def _call_async(action: LocalAction) -> bytes:
    with _attempt(action):
        task = action.task
        values = await off_loop(task.interface.load_inputs, action.inputs_document)
        value = await task.func(**values)
        return await off_loop(_outputs, action, value)


def _outputs(action: LocalAction, value: Any) -> bytes:
    task = action.task
    if isinstance(value, CoroutineType):
        value.close()
        raise TypeError(f"{task.name} returned a coroutine: await it before returning its result")
    document = task.interface.dump_outputs(value)
    check_size(document, task.max_inline_io_bytes, f"the outputs of {task.name}")
    return document


@contextmanager
def _attempt(action: LocalAction) -> Iterator[None]:
    """What holds while user code of an attempt runs."""
    state, attempt = action.state, action.attempt_list[-1]
    context = TaskContext(
        action=ActionID(name=action.name, run_name=state.name),
        mode="local",
        version=state.version,
        raw_data_path=str(state.raw_data_path),
        run_base_dir=str(state.metadata_path),
        output_path=str(attempt.output_path),
        custom_context=action.custom_context,
        attempt_number=attempt.number,
    )
    controller = LocalController(action)
    controller.report = attempt_report(action)
    layer = {**action.task.env_vars, **state.env_vars, "FLYTE_ATTEMPT_NUMBER": str(attempt.number)}
    failed = True
    try:
        with variables(layer), running(context, controller), captured(action):
            yield
        failed = False
    finally:
        controller.end(failed=failed)
        keep_report(controller.report, failed=failed)

"""Carries out one attempt: inputs, user code, outputs, and what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from flyte._context import ActionID, TaskContext, running
from flyte._runtime import failures
from flyte._runtime.controller import LeaseController, check_size
from flyte._runtime.frames import Header
from flyte._runtime.lease import Lease
from flyte._runtime.reports import keep_report
from flyte._types._moves import off_loop

if TYPE_CHECKING:
    from flyte._task import TaskTemplate


class Ended:
    """How user code ended: with an outputs document or with a failure."""

    __slots__ = ("document", "failure", "killed")

    def __init__(
        self, document: bytes = b"", failure: failures.Failure | None = None, killed: bool = False
    ) -> None:
        self.document = document
        self.failure = failure
        self.killed = killed


def run_sync(lease: Lease, task: TaskTemplate[Any, Any], controller: LeaseController, limit: int) -> Ended:
    """Runs a sync task in the calling thread."""
    try:
        with running(task_context(lease.header), controller):
            values = task.interface.load_inputs(lease.document)
            ended = Ended(_outputs(task, task.func(**values), limit))
    except BaseException as error:  # noqa: BLE001 - whatever user code raises is its result
        ended = failed(lease, error)
    return _with_report(lease, controller, ended)


async def run_async(
    lease: Lease, task: TaskTemplate[Any, Any], controller: LeaseController, limit: int
) -> Ended:
    """Runs an async task on the worker's event loop."""
    try:
        with running(task_context(lease.header), controller):
            values = await off_loop(task.interface.load_inputs, lease.document)
            value = await task.func(**values)
            ended = Ended(await off_loop(_outputs, task, value, limit))
    except BaseException as error:  # noqa: BLE001 - whatever user code raises is its result
        ended = failed(lease, error)
    if controller.report is None:
        return ended
    try:
        return await asyncio.to_thread(_with_report, lease, controller, ended)
    except asyncio.CancelledError as error:
        return failed(lease, error)


def _with_report(lease: Lease, controller: LeaseController, ended: Ended) -> Ended:
    """Stores the attempt's report; the end of an attempt that would have succeeded without."""
    try:
        keep_report(controller, failed=ended.failure is not None)
    except BaseException as error:  # noqa: BLE001 - it is stored by user code's own thread, which can be stopped
        return failed(lease, error)
    return ended


def failed(lease: Lease, error: BaseException) -> Ended:
    """The end that an exception means for a lease."""
    if lease.killed is not None:
        return Ended(failure=kill_failure(lease.killed), killed=True)
    return Ended(failure=failures.from_exception(error))


def kill_failure(kill: Header) -> failures.Failure:
    """The failure of a lease that was stopped on request."""
    kind = str(kill.get("kind") or "")
    code = {"TIMEOUT": "TaskTimeoutError", "PREEMPTED": "TaskInterruptedError"}.get(
        kind.upper(), "ActionAbortedError"
    )
    return {
        "kind": kind,
        "code": code,
        "message": str(kill.get("reason") or "stopped on request"),
        "traceback": "",
        "non_recoverable": False,
    }


def task_context(run: Header) -> TaskContext:
    """What `flyte.ctx()` gives inside the attempt that a `run` frame describes."""
    names: Mapping[str, Any] = run.get("run") or {}
    output_path = str(run.get("output_path") or "")
    return TaskContext(
        action=ActionID(
            name=str(run["action"]),
            run_name=str(names.get("name") or ""),
            project=str(names.get("project") or ""),
            domain=str(names.get("domain") or ""),
        ),
        mode="remote",
        version=str(run.get("version") or ""),
        raw_data_path=str(run.get("raw_data_path") or ""),
        run_base_dir=output_path.rsplit("/", 3)[0],  # …/<action>/<attempt>/outputs.json
        output_path=output_path,
        custom_context=dict(run.get("custom_context") or {}),
        attempt_number=_attempt_number(run),
    )


def lease_variables(run: Header) -> dict[str, str]:
    """Environment variables of the attempt that a `run` frame describes."""
    variables = {str(name): str(value) for name, value in (run.get("env_vars") or {}).items()}
    variables["FLYTE_ATTEMPT_NUMBER"] = str(_attempt_number(run))
    if run.get("traceparent"):
        variables["TRACEPARENT"] = str(run["traceparent"])
    return variables


def _attempt_number(run: Header) -> int:
    return int(run.get("user_attempt", run.get("attempt", 0)) or 0)


def _outputs(task: TaskTemplate[Any, Any], value: Any, limit: int) -> bytes:
    if isinstance(value, CoroutineType):
        value.close()
        raise TypeError(f"{task.name} returned a coroutine: await it before returning its result")
    document = task.interface.dump_outputs(value)
    check_size(document, limit, f"the outputs of {task.name}")
    return document

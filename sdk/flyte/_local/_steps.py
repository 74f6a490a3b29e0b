"""Steps of a local task that are no tasks: traced calls, conditions, sleeps."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import wait as wait_for_futures
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from flyte._logging import logger

if TYPE_CHECKING:
    from flyte._local._action import LocalAction

_LOOK_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 3600.0


class LocalTrace:
    """One traced call.

    Args:
        key: Its key, the same in every attempt of its task.
        action: What it is recorded as: a new action, or one that succeeded before.
    """

    def __init__(self, key: str, action: LocalAction) -> None:
        self.key = key
        self._action = action

    def recorded_sync(self) -> bytes | None:
        """The outputs that an earlier attempt recorded; None when the call has to be made."""
        if not self._action.done():
            self._action.begin_step()
        return self._action.outputs_document

    async def recorded(self) -> bytes | None:
        """The same."""
        return self.recorded_sync()

    def keep_sync(self, outputs: bytes) -> None:
        """Records the outputs."""
        self._action.succeed(outputs)

    async def keep(self, outputs: bytes) -> None:
        """The same."""
        self.keep_sync(outputs)

    async def fail(self, error: BaseException) -> None:
        """Records that the call raised."""
        self.fail_sync(error)

    def fail_sync(self, error: BaseException) -> None:
        """The same."""
        self._action.refuse(error)

    def abandon(self, reason: str) -> None:
        """Records that the call did not come to its end."""
        self._action.abort(reason)


def begin_pause(action: LocalAction, seconds: float | None) -> None:
    """Begin to wait, unless an earlier attempt of the task did."""
    if action.start_time is not None:
        return
    if seconds is not None:
        action.wait_until = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    action.begin_step()
    if action.kind == "condition":
        _ask(action)


def wait_sync(action: LocalAction) -> bytes:
    """Wait for the end of a paused action, and give its outputs document.

    Raises:
        BaseRuntimeError: It timed out or was aborted.
    """
    while not action.done():
        # In pieces, so that the thread can be stopped.
        wait_for_futures([action.ended], timeout=min(_LOOK_SECONDS, _seconds_left(action)))
        _elapse(action)
    return action.document()


async def wait_async(action: LocalAction) -> bytes:
    """The same, on an event loop."""
    while not action.done():
        await asyncio.wait([asyncio.wrap_future(action.ended)], timeout=_seconds_left(action))
        _elapse(action)
    return action.document()


def _seconds_left(action: LocalAction) -> float:
    if action.wait_until is None:
        return _LONGEST_WAIT_SECONDS
    left = (action.wait_until - datetime.now(timezone.utc)).total_seconds()
    return min(max(left, 0.0), _LONGEST_WAIT_SECONDS)


def _elapse(action: LocalAction) -> None:
    """End a paused action whose time has come."""
    if action.wait_until is not None and action.wait_until <= datetime.now(timezone.utc):
        action.time_out_step()


def _ask(action: LocalAction) -> None:
    """Ask for the value of a condition: on the terminal when there is one."""
    prompt = (action.step.description if action.step else "") or f"a value for {action.task_name}"
    text = f"run {action.run_name} waits for condition {action.task_name!r}: {prompt}"
    if sys.stdin is None or not sys.stdin.isatty():
        logger.warning("%s; answer it with run.signal(value)", text)
        return
    threading.Thread(target=_read_answer, args=(action, text), daemon=True, name="flyte-condition").start()


def _read_answer(action: LocalAction, text: str) -> None:
    kind = action.interface.outputs[0].type_name
    while not action.done():
        sys.stderr.write(f"{text} ({kind}, as JSON or text)\n> ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        try:
            action.signal_text(line.strip())
        except Exception as error:  # noqa: BLE001 - whoever types is told, and asked again
            sys.stderr.write(f"{error}\n")

"""How a worker ended, from what the engine, its supervisor and this executor know. Pure."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from services.executor.engines.base import WorkerExit

REMOVED = "its container was removed by something else than Hangar"
RESTARTED = "the Docker engine was restarted while it ran"
STOPPED = "its container was stopped from outside: the Docker engine was shut down, or somebody stopped it"
MEMORY_LIMIT = "MemoryLimit"
"""Name that the container's limit in bytes is added to its state under."""
PYTHON_MEMORY = 48 * 2**20
"""Less than supervisor and worker need to start."""
_SIGNALLED = 128
_UNSEEN = 255
"""What the engine writes for a container that was gone when the engine came back, as after a loss of power."""


def exit_of(
    worker_id: int,
    state: Mapping[str, Any] | None,
    record: Mapping[str, Any] | None,
    *,
    kill_reason: str = "",
    evicted: bool = False,
    restarted: bool = False,
    supervised: bool = True,
    last_words: str = "",
) -> WorkerExit:
    """Says how a worker ended.

    The engine is the authority on memory and on process 1; what became of the worker below it only its supervisor
    knows, unless that was killed itself.

    Args:
        worker_id: The worker.
        state: `State` in the engine's description of the container, with its memory limit; None when there is no
            container any more.
        record: What the supervisor wrote, None when it could not.
        kill_reason: Why this executor ended it, empty when it did not.
        evicted: True when that was because of a limit.
        restarted: True when the engine was away since the worker started.
        supervised: False for a program of an image: process 1 is all there is to know of.
        last_words: End of the container's own log.
    """
    code, number = _code_and_signal(state, record, supervised=supervised)
    memory_killed = bool(state and state.get("OOMKilled")) and number == signal.SIGKILL
    oom = killed = False
    if kill_reason:
        killed, reason = True, kill_reason
    elif record is None:
        restarted = restarted or (supervised and code == _UNSEEN)
        oom = memory_killed or (supervised and number == signal.SIGKILL and _is_starved(state))
        if restarted and not oom:
            code = number = None  # what the engine says then is its own guess
        reason = _without_record(state, code, number, oom=oom, restarted=restarted)
        if state is not None and not supervised and not restarted and (oom or number is None):
            reason = str(state.get("Error") or "")
    elif record.get("terminated"):
        code, number, reason = None, int(signal.SIGTERM), RESTARTED if restarted else STOPPED
    else:
        killed, reason = bool(record.get("killed")), str(record.get("reason") or "")
        oom = not killed and (bool(record.get("oom")) or memory_killed)
    if last_words and not (killed or oom) and code != 0:
        reason = f"{reason}; " if reason else ""
        reason += f"its last words: {last_words}"
    return WorkerExit(
        worker_id,
        code=code,
        signal=number,
        oom=oom,
        killed=killed,
        evicted=evicted and killed,
        reason=reason,
        peak_memory_bytes=_number(record, "peak_memory") or 0,
        cpu_millis=_number(record, "cpu_millis") or 0,
    )


def needs_last_words(state: Mapping[str, Any] | None, record: Mapping[str, Any] | None) -> bool:
    """Says whether the container's own log can explain an end."""
    code, _ = _code_and_signal(state, record)
    return state is not None and code is not None and code != 0


def _code_and_signal(
    state: Mapping[str, Any] | None, record: Mapping[str, Any] | None, *, supervised: bool = True
) -> tuple[int | None, int | None]:
    if record is not None:
        return _number(record, "code"), _number(record, "signal")
    code = _number(state, "ExitCode")
    if not supervised and code != _SIGNALLED + signal.SIGKILL:
        return code, None  # shells exit so for programs of theirs
    if code is not None and _SIGNALLED < code < _SIGNALLED + signal.NSIG:
        return None, code - _SIGNALLED
    return code, None


def _is_starved(state: Mapping[str, Any] | None) -> bool:
    """Whether the memory limit is one that nothing starts with: the engine may miss it when process 1 is killed."""
    return 0 < (_number(state, MEMORY_LIMIT) or 0) < PYTHON_MEMORY


def _without_record(
    state: Mapping[str, Any] | None, code: int | None, number: int | None, *, oom: bool, restarted: bool
) -> str:
    if state is None:
        return REMOVED
    if oom:
        return "the kernel ended its supervisor too"
    if restarted:
        return RESTARTED
    if number is not None:
        return "its container was killed from outside"
    error = str(state.get("Error") or "")
    return error or (f"process 1 of its container exited with code {code}" if code else "")


def _number(document: Mapping[str, Any] | None, name: str) -> int | None:
    value = document.get(name) if document is not None else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None

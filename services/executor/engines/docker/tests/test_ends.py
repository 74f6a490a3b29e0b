"""How ends are told apart, from what engine, supervisor and executor know."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from services.executor.engines.base import WorkerExit
from services.executor.engines.docker.ends import REMOVED, RESTARTED, STOPPED, exit_of

KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)


def state(code: int = 0, *, oom: bool = False, error: str = "") -> dict[str, Any]:
    """What the engine says of a container."""
    return {"Status": "exited", "ExitCode": code, "OOMKilled": oom, "Error": error}


def record(code: int | None = 0, number: int | None = None, **more: Any) -> dict[str, Any]:
    """What a supervisor writes."""
    return {"code": code, "signal": number, "oom": False, "killed": False, "reason": "", **more}


@pytest.mark.parametrize(
    ("engine", "supervisor", "known", "expected"),
    [
        (state(0), record(0), {}, {"code": 0}),
        (state(3), record(3), {}, {"code": 3}),
        (state(139), record(None, 11), {}, {"code": None, "signal": 11}),
        (state(137), record(None, KILL), {}, {"code": None, "signal": KILL, "oom": False}),
        # The worker was ended for memory, by the engine's word or by the supervisor's.
        (state(137, oom=True), record(None, KILL), {}, {"signal": KILL, "oom": True}),
        (state(137), record(None, KILL, oom=True), {}, {"signal": KILL, "oom": True}),
        # A process of it was; the worker went on, and left by itself later.
        (state(5, oom=True), record(5), {}, {"code": 5, "oom": False}),
        # All of it was.
        (state(137, oom=True), None, {}, {"code": None, "signal": KILL, "oom": True}),
        # The same, missed by the engine: with this limit nothing starts.
        ({**state(137), "MemoryLimit": 10 << 20}, None, {}, {"signal": KILL, "oom": True}),
        ({**state(137), "MemoryLimit": 1 << 30}, None, {}, {"signal": KILL, "oom": False}),
        # Killed from outside, engine restarted, container removed, engine shut down.
        (
            state(137),
            None,
            {},
            {"signal": KILL, "oom": False, "reason": "its container was killed from outside"},
        ),
        (state(137), None, {"restarted": True}, {"code": None, "signal": None, "reason": RESTARTED}),
        (state(0), None, {"restarted": True}, {"code": None, "signal": None, "reason": RESTARTED}),
        # The host lost its power: nobody saw the end, and the engine writes 255.
        (state(255), None, {}, {"code": None, "signal": None, "reason": RESTARTED}),
        (state(255), record(255), {}, {"code": 255, "signal": None}),
        (None, None, {}, {"code": None, "signal": None, "reason": REMOVED}),
        # Programs of images: codes above 128 are their own, but for that of SIGKILL.
        (state(255), None, {"supervised": False}, {"code": 255, "signal": None}),
        (state(143), None, {"supervised": False}, {"code": 143, "signal": None}),
        (state(137, oom=True), None, {"supervised": False}, {"signal": KILL, "oom": True}),
        (
            {**state(137), "MemoryLimit": 10 << 20},
            None,
            {"supervised": False},
            {"signal": KILL, "oom": False},
        ),
        (state(0), None, {"supervised": False, "restarted": True}, {"code": None, "reason": RESTARTED}),
        (
            state(3),
            None,
            {"supervised": False, "last_words": "no"},
            {"code": 3, "reason": "its last words: no"},
        ),
        (
            state(137),
            record(None, KILL, killed=True, terminated=True),
            {},
            {"signal": TERM, "killed": False, "reason": STOPPED},
        ),
        (
            state(137),
            record(None, KILL, killed=True, terminated=True),
            {"restarted": True},
            {"signal": TERM, "killed": False, "reason": RESTARTED},
        ),
        # The orphan time to live, our own kill, an eviction.
        (
            state(137),
            record(None, KILL, killed=True, reason="no executor for 60 s"),
            {},
            {"killed": True, "reason": "no executor for 60 s"},
        ),
        (
            state(137, oom=True),
            None,
            {"kill_reason": "not needed"},
            {"killed": True, "oom": False, "evicted": False, "reason": "not needed"},
        ),
        (
            state(137),
            None,
            {"kill_reason": "used too much", "evicted": True},
            {"killed": True, "evicted": True},
        ),
        # Process 1 never became a supervisor.
        (
            state(1),
            None,
            {"last_words": "No module named flyte"},
            {
                "code": 1,
                "reason": "process 1 of its container exited with code 1; its last words: No module named flyte",
            },
        ),
        (state(127, error="exec failed"), None, {}, {"code": 127, "reason": "exec failed"}),
        # A record that user code wrote.
        (
            state(9),
            {"code": "9", "signal": True, "peak_memory": []},
            {},
            {"code": None, "peak_memory_bytes": 0},
        ),
    ],
)
def test_ends_are_told_apart(
    engine: dict[str, Any] | None,
    supervisor: dict[str, Any] | None,
    known: dict[str, Any],
    expected: dict[str, Any],
):
    """Exit code, signal, memory, eviction, restart of the engine and removal each have a sign of their own."""
    ended = exit_of(7, engine, supervisor, **known)
    assert isinstance(ended, WorkerExit)
    assert {name: getattr(ended, name) for name in expected} == expected


def test_what_was_used_comes_from_the_supervisor():
    """Peak memory and processor time are what the supervisor measured."""
    ended = exit_of(7, state(), record(peak_memory=5, cpu_millis=6))
    assert (ended.peak_memory_bytes, ended.cpu_millis) == (5, 6)

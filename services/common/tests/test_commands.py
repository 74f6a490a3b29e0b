"""Commands leave nothing behind, and say whatever they like."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from services.common import commands
from services.common.commands import run_command

_CHILD = "sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' > /dev/null 2>&1 & echo $!"
"""Starts a process that is deaf to SIGTERM and has let go of the output, and prints its number."""


async def run(script: str, lines: list[str], **more: Path) -> int:
    """Runs a script of the shell."""
    return await run_command(["/bin/sh", "-c", script], lines.append, os.environ, **more)


def lives(pid: int) -> bool:
    """Says whether a process lives; one that waits to be reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def gone(pid: int) -> None:
    """Waits until a process has ended."""
    async with asyncio.timeout(30):
        while lives(pid):  # noqa: ASYNC110 - a process of another parent
            await asyncio.sleep(0.01)


async def test_lines_of_any_length_are_passed_on(tmp_path: Path) -> None:
    """One that is longer than a buffer comes in pieces, and none is lost; it runs where it should."""
    lines: list[str] = []
    script = "pwd; head -c 200000 /dev/zero | tr '\\0' x; echo end; echo oops >&2; exit 3"
    assert await run(script, lines, works_in=tmp_path) == 3
    assert (lines[0], lines[-1]) == (str(tmp_path), "oops")
    assert "".join(lines[1:-1]) == "x" * 200000 + "end"


@pytest.mark.parametrize("code", [0, 1])
async def test_what_a_command_started_ends_with_it(code: int) -> None:
    """However it ended."""
    lines: list[str] = []
    assert await run(f"{_CHILD}; exit {code}", lines) == code
    await gone(int(lines[0]))


async def test_a_cancelled_command_is_ended_as_a_whole() -> None:
    """With what it started, also when that does not listen."""
    lines: list[str] = []
    running = asyncio.create_task(run(f"{_CHILD}; exec sleep 1000", lines))
    async with asyncio.timeout(30):
        while not lines:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone(int(lines[0]))


async def test_a_command_that_is_cancelled_again_while_it_ends_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that is deaf to SIGTERM gets its SIGKILL also when whoever waits for that is cancelled, twice."""
    monkeypatch.setattr(commands, "_KILL_SECONDS", 0.2)
    lines: list[str] = []
    running = asyncio.create_task(run("trap '' TERM; echo $$; while :; do sleep 0.05; done", lines))
    async with asyncio.timeout(30):
        while not lines:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0.01)
    for _ in range(3):
        running.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not psutil.pid_exists(int(lines[0]))


async def test_a_reader_that_fails_ends_the_command() -> None:
    """What its lines are given to raises: the error goes on, and nothing runs on."""

    def read(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError, match=r"\d+") as caught:
        await run_command(["/bin/sh", "-c", f"{_CHILD}; exec sleep 1000"], read, os.environ)
    await gone(int(str(caught.value)))

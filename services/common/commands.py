"""Runs commands in process groups of their own, which are ended as a whole."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_KILL_SECONDS = 5.0
_LONGEST_LINE = 64 * 1024


async def run_command(
    command: Sequence[str],
    on_line: Callable[[str], None],
    environ: Mapping[str, str],
    *,
    works_in: Path | None = None,
) -> int:
    """Runs a command to its end; nothing that it started in its process group lives on, however it ends.

    Args:
        command: Program and arguments.
        on_line: Called with each line of its output and errors; what is too long for one comes in pieces.
        environ: Its environment variables.
        works_in: Its working directory, None for that of this process.

    Returns:
        Its exit code.
    """
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environ,
            cwd=works_in,
            start_new_session=True,
        )
    )
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _undisturbed(_end_started(starting))
        raise
    try:
        assert process.stdout is not None
        async for line in _lines(process.stdout):
            on_line(line)
        return await process.wait()
    finally:
        await _undisturbed(_end(process))


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Iterates over the lines of a stream; what is too long for one comes in pieces."""
    rest = b""
    while chunk := await stream.read(65536):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace").rstrip()
        if len(rest) > _LONGEST_LINE:
            yield rest.decode(errors="replace")
            rest = b""
    if rest:
        yield rest.decode(errors="replace").rstrip()


async def _undisturbed(ending: Coroutine[Any, Any, None]) -> None:
    """Awaits something to its end, however often whoever waits is cancelled: half ended, a process would live on."""
    task = asyncio.create_task(ending)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _end_started(starting: asyncio.Task[asyncio.subprocess.Process]) -> None:
    await _end(await starting)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ends what still lives of a process group, and waits for its end."""
    if process.returncode is None:
        await _signal(process, signal.SIGTERM)
    await _signal(process, signal.SIGKILL)


async def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    with suppress(TimeoutError):
        async with asyncio.timeout(_KILL_SECONDS):
            await process.wait()  # until all of them have let go of the output

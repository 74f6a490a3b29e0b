"""Files that are opened to be handed to workers."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import stat
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec

P = ParamSpec("P")


async def opened(function: Callable[P, int], *args: P.args, **kwargs: P.kwargs) -> int:
    """Calls what returns a descriptor, or -1, in a thread. When the caller is cancelled meanwhile it is closed."""
    opening = asyncio.get_running_loop().run_in_executor(None, partial(function, *args, **kwargs))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(close_result)
        raise


async def all_opened(openings: Sequence[Coroutine[Any, Any, int]]) -> list[int]:
    """Returns what coroutines that return a descriptor gave, in order. When one fails the others are closed."""
    tasks = [asyncio.ensure_future(opening) for opening in openings]
    try:
        await asyncio.wait(tasks)
        return [task.result() for task in tasks]
    except BaseException:
        for task in tasks:
            task.add_done_callback(close_result)
            task.cancel()
        raise


def close_result(opening: asyncio.Future[int]) -> None:
    """Closes the descriptor that nobody waits for any more."""
    if not opening.cancelled() and opening.exception() is None and opening.result() >= 0:
        os.close(opening.result())


def open_below(root: Path, key: str) -> int:
    """Opens a plain file below a directory for reading. No link is followed on the way.

    Args:
        root: The directory.
        key: Path below it, parts parted by "/".

    Raises:
        FileNotFoundError: There is none.
        OSError: It cannot be opened, or is not a plain file.
    """
    *parents, name = key.split("/")
    if any(part in {"", ".", ".."} for part in (*parents, name)):
        raise FileNotFoundError(f"{key!r} is not a path below a directory")
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parents:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            below = os.open(part, flags, dir_fd=directory)
            os.close(directory)
            directory = below
        # Never waits: a pipe or a device is no object.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=directory)
    finally:
        os.close(directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(f"{key!r} is not a plain file")
    os.set_blocking(descriptor, True)
    return descriptor


def is_open_elsewhere(descriptor: int, *, writing: bool) -> bool:
    """Says whether a file is open besides this descriptor: at all, or for writing. True when that is not known.

    The kernel grants a lease on a file only when it is not. (The signal of a lease that is broken would end this
    process; one that is ignored takes its place.)

    Args:
        descriptor: The file, open for reading.
        writing: Whether only descriptors that can write count.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK if writing else fcntl.F_WRLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except (OSError, AttributeError):  # not every system and file system has leases
        return True
    return False


def sync_directories(paths: Iterable[Path], root: Path) -> None:
    """Puts the entries that lead from `root` to files on the disk."""
    synced: set[Path] = set()
    for path in paths:
        for parent in path.parents:
            if parent in synced:
                break
            synced.add(parent)
            descriptor = os.open(parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if parent == root:
                break

"""Processes of this host, as far as they belong to workers."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil

from services.executor.engines.process_environ import WORKER_DIRECTORY
from services.executor.engines.worker_process import EXIT, start_time


def send(pidfd: int, number: int) -> None:
    """Sends a signal to a process, unless it has ended."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return


async def readable(descriptor: int, seconds: float) -> bool:
    """Waits until a process descriptor says that its process has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), seconds)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
    return True


def is_zygote(pid: int) -> bool:
    """Says whether a process is a zygote."""
    try:
        return b"flyte._runtime.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def tree(supervisor: int) -> list[psutil.Process]:
    """Everything below a supervisor."""
    try:
        return psutil.Process(supervisor).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_stopped(process: psutil.Process) -> bool:
    """Says whether a process does not go on: stopped, or ended."""
    try:
        return process.status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return True


def end_strays(directory: Path) -> None:
    """Kills what is left of a worker whose supervisor was killed, where no control group tells.

    That is: processes that have its directory in their environment, as working directory, or open.
    """
    if (directory / EXIT).exists():
        return
    found = True
    while found:
        found = False
        for entry in os.scandir("/proc"):
            if entry.name.isdecimal() and _uses(int(entry.name), str(directory)):
                found = True
                try:
                    os.kill(int(entry.name), signal.SIGKILL)
                except ProcessLookupError:
                    continue


def _uses(pid: int, directory: str) -> bool:
    place = Path(f"/proc/{pid}")
    if pid == os.getpid() or start_time(pid) is None:
        return False
    try:
        if f"{WORKER_DIRECTORY}={directory}".encode() in (place / "environ").read_bytes().split(b"\0"):
            return True
        links = [place / "cwd", *(place / "fd").iterdir()]
    except OSError:
        return False
    for link in links:
        try:
            if str(link.readlink()).startswith(f"{directory}/"):
                return True
        except OSError:
            continue
    return False

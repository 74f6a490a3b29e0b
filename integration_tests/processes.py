"""Processes that belong to a data directory, found through /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One process that lives."""

    pid: int
    parent: int
    name: str
    command: str


def read_process(pid: int) -> Process | None:
    """Looks at a process; None when it has ended, reaped or not."""
    place = Path(f"/proc/{pid}")
    try:
        before, _, after = (place / "stat").read_text().rpartition(")")
        command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = after.split()
    return None if fields[0] in "ZX" else Process(pid, int(fields[1]), before.partition("(")[2], command)


def lives(pid: int) -> bool:
    """True while a process runs."""
    return read_process(pid) is not None


def of_directory(directory: Path) -> list[Process]:
    """Every process with a directory in its command line, its environment or as its working directory.

    Processes keep what they were started with in /proc, so whatever a worker forks is found as well.
    """
    pids = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]
    found = (read_process(pid) for pid in pids if pid != os.getpid() and _names(pid, str(directory)))
    return [process for process in found if process is not None]


def _names(pid: int, directory: str) -> bool:
    place = Path(f"/proc/{pid}")
    try:
        texts = (place / "cmdline").read_bytes() + b"\0" + (place / "environ").read_bytes()
        texts += f"\0{(place / 'cwd').readlink()}\0".encode()
    except OSError:
        return False
    return any(f"{directory}{end}".encode() in texts for end in ("/", "\0"))


def descendants(roots: set[int], processes: list[Process]) -> set[int]:
    """The processes among some that are below one of the roots, and the roots."""
    found, size = set(roots), -1
    while len(found) != size:
        size = len(found)
        found |= {process.pid for process in processes if process.parent in found}
    return found

"""Looks at a process tree through /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: with the number it names a process for good.

    None when there is no such process, or it has ended and only waits to be reaped.
    """
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def descendants(root: int) -> list[int]:
    """Every process below one, parents before children. Ended ones that wait to be reaped are left out."""
    found: list[int] = []
    level = list(_children(root))
    while level:
        found.extend(level)
        level = [child for parent in level for child in _children(parent)]
    return [pid for pid in found if start_time(pid) is not None]


def memory(pids: list[int]) -> int:
    """Memory that processes hold by themselves, in bytes: anonymous and shared memory, without mapped files.

    Pages that processes share after a fork count once for each; see `exact_memory`.
    """
    total = 0
    for pid in pids:
        try:
            _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
        except (OSError, ValueError):
            continue
        total += (int(resident) - int(shared)) * _PAGE_BYTES + _shared_memory(pid)
    return total


def exact_memory(pids: list[int]) -> int:
    """The same with shared pages divided among those that share them: slower by far. 0 when not readable."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        sizes = {line.split(":")[0]: line.split(":")[1].split()[0] for line in lines if ":" in line}
        total += (int(sizes.get("Pss_Anon", "0")) + int(sizes.get("Pss_Shmem", "0"))) * 1024
    return total


def thread_count(pids: list[int]) -> int:
    """Threads of all the processes, main threads included: what a pids limit counts."""
    total = 0
    for pid in pids:
        fields = _stat(pid)
        total += int(fields[17]) if fields is not None else 0
    return total


def _shared_memory(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("RssShmem:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _children(pid: int) -> Iterator[int]:
    """Children of all threads of a process."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:
        try:
            text = Path(f"/proc/{pid}/task/{thread}/children").read_text()
        except FileNotFoundError:
            yield from _children_by_scan(pid)
            return
        except OSError:
            continue
        yield from map(int, text.split())


def _children_by_scan(parent: int) -> Iterator[int]:
    """For kernels without /proc/…/children."""
    if not Path(f"/proc/{parent}").exists():
        return
    for name in os.listdir("/proc"):
        fields = _stat(int(name)) if name.isdecimal() else None
        if fields is not None and int(fields[1]) == parent:
            yield int(name)

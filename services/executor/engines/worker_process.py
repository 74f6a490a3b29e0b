"""What is known of one worker of the process engine, in memory and in its directory."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.executor.engines.base import WorkerExit

RECORD = "worker.json"
"""Written by the engine before the start: number and token (mode 0600)."""
SUPERVISOR = "supervisor.json"
"""Written by the zygote: process id and start time of the supervisor."""
PROCESS = "process.json"
"""Written by the supervisor: process id and start time of the worker."""
EXIT = "exit.json"
"""Written by the supervisor when the worker has ended."""


@dataclass(eq=False)
class WorkerProcess:
    """A worker whose supervisor lives, or did until just now.

    Attributes:
        worker_id: The worker.
        directory: Its directory.
        supervisor: Process id of its supervisor.
        pidfd: Descriptor of that process: readable once it has ended, and never another process.
        ended: Done with the exit once nothing of the worker is left.
        kill_reason: Why it is being killed, empty when it is not.
        frozen: Whether `freeze` stopped it.
    """

    worker_id: int
    directory: Path
    supervisor: int
    pidfd: int
    ended: asyncio.Future[WorkerExit] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    kill_reason: str = ""
    frozen: bool = False

    def exit(self) -> WorkerExit:
        """How the worker ended, by what its supervisor wrote."""
        return exit_of(self.worker_id, self.directory, self.kill_reason)


def exit_of(worker_id: int, directory: Path, kill_reason: str = "") -> WorkerExit:
    """Reads how a worker ended. Without a record its supervisor was killed, and with it the worker."""
    record = read_record(directory / EXIT)
    if record is None:
        reason = kill_reason or "the supervisor of the worker was killed"
        return WorkerExit(worker_id, None, killed=bool(kill_reason), reason=reason)
    return WorkerExit(
        worker_id,
        code=record.get("code"),
        signal=record.get("signal"),
        oom=bool(record.get("oom")),
        killed=bool(record.get("killed")) or bool(kill_reason),
        reason=kill_reason or str(record.get("reason") or ""),
        peak_memory_bytes=int(record.get("peak_memory") or 0),
        cpu_millis=int(record.get("cpu_millis") or 0),
    )


def open_process(record: Path) -> tuple[int, int] | None:
    """Opens the process that a record names.

    Returns:
        Its process id and a descriptor of it, or None when it has ended or another process has its number
        now.
    """
    known = read_record(record)
    if known is None:
        return None
    pid = int(known["pid"])
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if known.get("start_time") is None or start_time(pid) != known["start_time"]:
        os.close(descriptor)
        return None
    return pid, descriptor


def read_record(path: Path) -> dict[str, Any] | None:
    """Reads a JSON object, None when it is not there or not whole."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Writes a JSON object that only this user may read, whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(record))
    draft.replace(path)


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot. None when it has ended, reaped or not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])

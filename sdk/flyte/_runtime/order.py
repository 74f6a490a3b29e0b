"""What the executor asks of a zygote: one worker."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

IMAGE_DIRECTORY = "HANGAR_IMAGE_DIRECTORY"
"""Environment variable: directory that files of the author were copied to when the image was made."""


@dataclass(frozen=True)
class WorkerOrder:
    """A worker to fork. Travels as one JSON line.

    Attributes:
        worker: Number of the worker.
        token: What it proves itself with.
        directory: Its directory, with `executor.sock` in it.
        environ: Its whole environment.
        concurrency: Leases at the same time.
        cgroups: Files that a process writes 0 to, to join the worker's control groups.
        kill_file: File that kills everything in the group when 1 is written to it, or empty.
        oom_file: File with a counter of processes that the kernel killed for memory, or empty.
        peak_file: File with the highest memory use of the group, or empty.
        members_file: File with the processes of the group, or empty.
        memory_limit: Bytes that the watchdog enforces, 0 when the kernel does it or there is no limit.
        pids_limit: Processes and threads that the watchdog enforces, 0 as above.
        cpus: Processors to run on, empty for all.
        orphan_ttl: Seconds without an executor after which the worker is ended.
    """

    worker: int
    token: str
    directory: str
    environ: dict[str, str] = field(default_factory=dict)
    concurrency: int = 1
    cgroups: tuple[str, ...] = ()
    kill_file: str = ""
    oom_file: str = ""
    peak_file: str = ""
    members_file: str = ""
    memory_limit: int = 0
    pids_limit: int = 0
    cpus: tuple[int, ...] = ()
    orphan_ttl: float = 60.0

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> WorkerOrder:
        """Reads an order; fields that are not known are ignored."""
        known = {name: value for name, value in document.items() if name in cls.__dataclass_fields__}
        for name in ("cgroups", "cpus"):
            known[name] = tuple(known.get(name) or ())
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """The order as a JSON object."""
        return asdict(self)

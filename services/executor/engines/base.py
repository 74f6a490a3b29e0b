"""What every engine offers: the narrow waist between an executor and what its workers run in.

An engine prepares images, starts workers, tells how each one ended, and ends them on request. It knows
nothing of leases, runs or the scheduler, and it does not talk to workers: that is done over `executor.sock`
in the worker's directory, on which the executor listens before it calls `launch`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

Progress = Callable[[str], None]
"""Receives one line of text at a time, such as what the package installer prints."""


class ImageFailedError(Exception):
    """An image definition cannot be made into something to run in. A failure of kind IMAGE, unless the platform failed.

    Attributes:
        code: Short machine-readable code, such as "ImageBuildError" or "UnsupportedLayer".
        message: What was wrong and what to do, for people.
        layer: Index of the definition's layer that failed, None when none did.
        is_system: True when the platform is to blame, not the definition: a failure of kind SYSTEM.
        layer: Index of the definition's layer that failed, None when none did.
        exit_code: Exit code of the tool that failed, None when there is none.
    """

    def __init__(
        self, code: str, message: str, *, is_system: bool = False, exit_code: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.is_system = is_system
        self.layer: int | None = None
        self.exit_code = exit_code


class LaunchFailedError(Exception):
    """A worker could not be started; nothing of it is left. A failure of kind SYSTEM, or OOM.

    Attributes:
        too_little_memory: True when the worker's memory limit is too small to start anything.
    """

    def __init__(self, message: str, *, too_little_memory: bool = False) -> None:
        super().__init__(message)
        self.too_little_memory = too_little_memory


class UnknownWorkerError(Exception):
    """The engine holds no worker of that number: it never existed here, or its exit was reported."""


@dataclass(frozen=True, slots=True)
class ImageDefinition:
    """The software that workers run in, as tasks name it.

    Attributes:
        digest: Identity of the definition: hex BLAKE2b-128 of `definition_json`. Empty together with an empty
            `definition_json` for the default image.
        definition_json: Canonical JSON: base and layers (see the architecture page).
        reference: Address of an image that is used as it is, whatever is in it; the other two are empty then.
    """

    digest: str
    definition_json: str
    reference: str = ""


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image that is ready on this host.

    Attributes:
        key: Identity on this host. Equal keys may share what is warm.
        reference: What the engine starts workers from: the path of an environment, the digest of a container image.
        env_vars: Environment variables that the definition sets and the image itself does not.
        record: What is on record as the image of an attempt; empty where workers are processes of the host.
    """

    key: str
    reference: str
    env_vars: Mapping[str, str] = field(default_factory=dict)
    record: str = ""


@dataclass(frozen=True, slots=True)
class WorkerResources:
    """Limits of one worker. 0 means without a limit.

    Attributes:
        cpu_millis: Processor time in thousandths of a core.
        memory_bytes: Memory of the whole process tree.
        shm_bytes: Shared memory; -1 for as much as the memory limit allows.
        disk_bytes: What the worker may write below its directory.
    """

    cpu_millis: int = 0
    memory_bytes: int = 0
    shm_bytes: int = 0
    disk_bytes: int = 0


INPUTS, OUTPUTS = "inputs", "outputs"
"""Directories in that of a worker whose container runs a program of its image."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program of an image that runs in place of the SDK's worker, and never connects.

    Its inputs and outputs are files below `INPUTS` and `OUTPUTS` of the worker's directory.

    Attributes:
        entry_point: Words instead of the image's entry point, empty for that of the image.
        arguments: Words behind it.
        input_directory: Where the program finds `INPUTS`, which it cannot write.
        output_directory: Where it finds `OUTPUTS`.
        log: Name of the file in the worker's directory that gets what it prints.
    """

    entry_point: tuple[str, ...]
    arguments: tuple[str, ...]
    input_directory: str
    output_directory: str
    log: str


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Everything needed to start one worker.

    Attributes:
        worker_id: Identity and epoch of the worker.
        token: What the worker proves itself with when it connects. The engine writes it to `worker.json`.
        directory: Directory of the worker. The executor made it and listens on `executor.sock` in it.
        image: What `ensure_image` returned.
        resources: Limits.
        gpu_uuids: Devices that the worker may see; it sees none when this is empty.
        env_vars: Environment variables over those of the image.
        concurrency: Leases at the same time, parked ones not counted.
        project: Project whose actions it runs, and no other's.
        domain: Domain whose actions it runs, and no other's.
        code_dir: Directory of the code bundle that its actions import, empty when the image has the code.
        program: What runs instead of the SDK's worker, None for that. Only engines that run containers take one.
    """

    worker_id: int
    token: str
    directory: Path
    image: PreparedImage
    resources: WorkerResources = WorkerResources()
    gpu_uuids: tuple[str, ...] = ()
    env_vars: Mapping[str, str] = field(default_factory=dict)
    concurrency: int = 1
    project: str = ""
    domain: str = ""
    code_dir: str = ""
    program: Program | None = None


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """How a worker ended. When it is reported nothing of the worker lives any more.

    Attributes:
        worker_id: The worker.
        code: Exit code, or None when a signal ended it or the code is not known.
        signal: Number of the signal that ended it, or None.
        oom: True when it exceeded its memory limit.
        killed: True when `kill` was called or the orphan time to live passed: not an end of its own.
        evicted: True when the engine ended it for using more of something, memory aside, than it may; `reason` says of
            what. `killed` is true as well.
        reason: In words, for people.
        peak_memory_bytes: Highest memory of the process tree, 0 when not measured.
        cpu_millis: Processor time of the process tree, 0 when not measured.
    """

    worker_id: int
    code: int | None
    signal: int | None = None
    oom: bool = False
    killed: bool = False
    evicted: bool = False
    reason: str = ""
    peak_memory_bytes: int = 0
    cpu_millis: int = 0


@dataclass(frozen=True, slots=True)
class AdoptedWorker:
    """A worker that an earlier engine of this state directory started and that still lives.

    Attributes:
        worker_id: The worker.
        directory: Its directory.
        token: Its token, from `worker.json`.
        image: `PreparedImage.record` of what it was started from.
    """

    worker_id: int
    directory: Path
    token: str
    image: str = ""


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """What a worker uses right now.

    Attributes:
        memory_bytes: Memory of the process tree.
        cpu_millis: Processor time used since its start.
        processes: Number of processes in its tree.
    """

    memory_bytes: int
    cpu_millis: int
    processes: int


@dataclass(frozen=True, slots=True)
class EngineCapacity:
    """What the engine can give to workers, GPUs aside (device plugins count those).

    Attributes:
        cpu_millis: Processor time in thousandths of a core.
        memory_bytes: Memory.
        disk_bytes: Free disk below the state directory.
        platform: Operating system and architecture, such as "linux/amd64".
    """

    cpu_millis: int
    memory_bytes: int
    disk_bytes: int
    platform: str


class Engine(Protocol):
    """Runs workers. Every method may be called concurrently from the event loop that called `start`."""

    @property
    def name(self) -> str:
        """Name in Hello: "process", "docker" or "fake"."""
        ...

    async def start(self) -> None:
        """Gets ready: clears what dead workers of this state directory left behind. Called once, first."""
        ...

    async def close(self) -> None:
        """Lets go. Workers live on and can be adopted; an exit that was not reported is reported then."""
        ...

    async def inventory(self) -> EngineCapacity:
        """Says what there is to give to workers."""
        ...

    async def ensure_image(self, definition: ImageDefinition, progress: Progress) -> PreparedImage:
        """Makes an image ready; returns at once when it is. Callers of one definition share one preparation.

        Args:
            definition: What to prepare.
            progress: Called on the event loop with lines for people to see.

        Raises:
            ImageFailedError: The definition cannot be prepared. A later call tries again.
        """
        ...

    async def launch(self, spec: WorkerSpec) -> None:
        """Starts a worker. One that was started before, living or dead, is left as it is.

        Raises:
            LaunchFailedError: It could not be started; no exit is reported for it.
            ImageFailedError: Its image cannot run workers; no exit is reported for it either.
        """
        ...

    async def adopt(self) -> list[AdoptedWorker]:
        """Takes over what lives after a restart. Called once, after `start`.

        Those that ended and were not forgotten are reported by `events` as if they had ended now, again if an engine
        before this one has reported them.
        """
        ...

    async def kill(self, worker_id: int, reason: str) -> WorkerExit:
        """Ends a worker and everything it started; returns when nothing of it lives. `events` reports it too.

        Raises:
            UnknownWorkerError: There is no such worker, or it ended already.
        """
        ...

    async def signal(self, worker_id: int, number: int) -> None:
        """Sends a signal to the worker's main process.

        Raises:
            UnknownWorkerError: There is no such worker, or it ended already.
        """
        ...

    async def freeze(self, worker_id: int) -> None:
        """Stops the whole process tree where it is, until `thaw`. Memory stays taken.

        Raises:
            UnknownWorkerError: There is no such worker, or it ended already.
        """
        ...

    async def thaw(self, worker_id: int) -> None:
        """Lets a frozen worker go on.

        Raises:
            UnknownWorkerError: There is no such worker, or it ended already.
        """
        ...

    async def stats(self, worker_id: int) -> WorkerStats:
        """Measures a worker.

        Raises:
            UnknownWorkerError: There is no such worker, or it ended already.
        """
        ...

    def events(self) -> AsyncIterator[WorkerExit]:
        """Iterates over the exits of workers, each once, while the engine is open. One reader only."""
        ...

    async def forget(self, worker_id: int) -> None:
        """Removes what is kept of a worker whose exit was dealt with, its directory included."""
        ...

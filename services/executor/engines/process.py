"""Runs workers as processes in `uv` environments: zygote, supervisor, worker.

Limits of memory, processors and processes come from control groups where this process may make them.
Elsewhere the supervisor watches memory and the number of processes, and processor limits become an affinity
to as many whole processors. Shared memory counts as memory; limits of shared memory by itself and of disk
need the Docker engine.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import math
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import structlog

from services.common.platforms import host_platform
from services.common.sdk_layer import SdkLayer
from services.executor.engines.base import (
    AdoptedWorker,
    EngineCapacity,
    ImageDefinition,
    ImageFailedError,
    LaunchFailedError,
    PreparedImage,
    Progress,
    UnknownWorkerError,
    WorkerExit,
    WorkerSpec,
    WorkerStats,
)
from services.executor.engines.cgroups import ControlGroups, WorkerGroup, find_control_groups, own_limits
from services.executor.engines.host_processes import end_strays, is_stopped, is_zygote, readable, send, tree
from services.executor.engines.process_environ import host_environ, worker_environ
from services.executor.engines.worker_process import (
    PROCESS,
    RECORD,
    SUPERVISOR,
    WorkerProcess,
    exit_of,
    open_process,
    read_record,
    write_record,
)
from services.executor.engines.zygotes import Zygotes
from services.executor.environments import Environments

log = structlog.get_logger(__name__)

_KILL_SECONDS = 10.0
_FREEZE_SECONDS = 2.0
_UPKEEP_SECONDS = 600.0
_NO_GROUP = WorkerGroup((), "", "", "", "")


@dataclass(frozen=True, slots=True)
class ProcessEngineOptions:
    """How the process engine works.

    Attributes:
        state: State directory of the executor: `environments`, `workers` and `zygotes` are in it.
        orphan_ttl: Seconds without an executor after which a worker is ended.
        pids_limit: Most processes and threads of one worker, 0 for no limit.
        use_cgroups: False to limit without control groups.
        cgroup_name: Name of the directory of control groups; made from the state directory when empty.
        sdk: The SDK that goes into environments; that of this installation when None.
        blobs_url: URL of the blob store, which has files of images.
        keep_environments: Seconds after which an environment that nothing was started in is removed, 0 for never.
    """

    state: Path
    orphan_ttl: float = 60.0
    pids_limit: int = 4096
    use_cgroups: bool = True
    cgroup_name: str = ""
    sdk: SdkLayer | None = None
    blobs_url: str = ""
    keep_environments: float = 0.0

    @property
    def group_name(self) -> str:
        """The name of the directory of control groups, one per state directory."""
        own = hashlib.blake2b(str(self.state.absolute()).encode(), digest_size=4).hexdigest()
        return self.cgroup_name or f"hangar-{own}"


class ProcessEngine:
    """See `services.executor.engines.base.Engine`."""

    def __init__(self, options: ProcessEngineOptions) -> None:
        self._options = options
        self._workers_directory = options.state / "workers"
        self._host_environ = host_environ()
        self._zygotes = Zygotes(options.state / "zygotes", self._host_environ)
        self._environments = Environments(
            options.state / "environments", options.sdk, options.blobs_url, self._zygotes.release
        )
        self._upkeep: asyncio.Task[None] | None = None
        self._groups: ControlGroups | None = None
        self._workers: dict[int, WorkerProcess] = {}
        self._launching: dict[int, asyncio.Task[None]] = {}
        self._gone: set[int] = set()
        self._exits: asyncio.Queue[WorkerExit] = asyncio.Queue()
        self._settling: set[asyncio.Task[None]] = set()
        self._next_cpu = itertools.count()

    @property
    def name(self) -> str:
        """See `Engine`."""
        return "process"

    @property
    def environments(self) -> Environments:
        """The environments of this host."""
        return self._environments

    @property
    def control_groups(self) -> ControlGroups | None:
        """The control groups in use, None where limits are enforced by watching. Known after `start`."""
        return self._groups

    @property
    def worker_ids(self) -> list[int]:
        """Workers that live."""
        return list(self._workers)

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """See `Engine`."""
        for name in ("workers", "environments", "zygotes"):
            (self._options.state / name).mkdir(parents=True, exist_ok=True)
        if self._options.use_cgroups:
            self._groups = await asyncio.to_thread(find_control_groups, self._options.group_name)
        await self._environments.clear_leftovers()
        await self._await_old_zygotes()
        await asyncio.to_thread(self._clear_groups)
        if self._options.keep_environments:
            self._upkeep = asyncio.create_task(self._look_after_environments(), name="environments-upkeep")
        controllers = sorted(self._groups.controllers) if self._groups else []
        log.info("engine.started", engine=self.name, control_groups=controllers)

    async def _look_after_environments(self) -> None:
        """Removes environments that nothing uses, from time to time."""
        while True:
            try:
                unused = await asyncio.to_thread(self._environments.unused, self._options.keep_environments)
                removed = [key for key in unused if await self._environments.remove(key)]
                if removed:
                    log.info("environments.removed", environments=removed)
            except OSError as error:
                log.warning("environments.not_removed", reason=str(error))
            await asyncio.sleep(_UPKEEP_SECONDS)

    async def _await_old_zygotes(self) -> None:
        """Waits until no zygote of an earlier engine can fork any more: every worker is on record then."""
        for pid in self._zygotes.leftovers():
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                self._zygotes.forget(pid)
                continue
            try:
                if is_zygote(pid) and not await readable(descriptor, 5.0):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    await readable(descriptor, 5.0)
            finally:
                os.close(descriptor)
            self._zygotes.forget(pid)

    def _clear_groups(self) -> None:
        """Removes the groups of workers whose supervisor is dead, and what lives in them."""
        for number in self._groups.worker_ids() if self._groups else ():
            opened = open_process(self._workers_directory / str(number) / SUPERVISOR)
            if opened is None and self._groups is not None:
                self._groups.remove(number)
            elif opened is not None:
                os.close(opened[1])

    async def close(self) -> None:
        """See `Engine`."""
        await asyncio.gather(*self._launching.values(), return_exceptions=True)
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.wait([self._upkeep])
        await self._environments.close()
        loop = asyncio.get_running_loop()
        for worker in self._workers.values():
            loop.remove_reader(worker.pidfd)
            os.close(worker.pidfd)
        self._workers.clear()
        await asyncio.gather(*self._settling, return_exceptions=True)
        await self._zygotes.close()
        if self._groups is not None:
            self._groups.close()

    # -- what there is -------------------------------------------------------------------------------------

    async def inventory(self) -> EngineCapacity:
        """See `Engine`. In a container this is what the container may use."""
        cpu_millis, memory_bytes = await asyncio.to_thread(own_limits)
        cpus = len(os.sched_getaffinity(0)) * 1000
        memory = psutil.virtual_memory().total
        return EngineCapacity(
            cpu_millis=min(cpus, cpu_millis or cpus),
            memory_bytes=min(memory, memory_bytes or memory),
            disk_bytes=shutil.disk_usage(self._options.state).free,
            platform=host_platform(),
        )

    async def ensure_image(self, definition: ImageDefinition, progress: Progress) -> PreparedImage:
        """See `Engine`."""
        if definition.reference:
            raise ImageFailedError(
                "NoContainers",
                f"image {definition.reference} needs a container, and the process engine of this host runs processes: "
                "join a host with the Docker engine (HANGAR_EXECUTOR_ENGINE=docker)",
            )
        environment = await self._environments.ensure(definition.definition_json, progress)
        self._zygotes.warm(environment.path)
        return PreparedImage(environment.key, str(environment.path), environment.env_vars)

    # -- workers -------------------------------------------------------------------------------------------

    async def launch(self, spec: WorkerSpec) -> None:
        """See `Engine`."""
        number = spec.worker_id
        running = self._launching.get(number)
        if running is None:
            if number in self._workers or number in self._gone or (spec.directory / RECORD).exists():
                return
            running = self._launching[number] = asyncio.create_task(self._launch(spec), name=f"fork-{number}")
            running.add_done_callback(lambda _: self._launching.pop(number, None))
        await asyncio.shield(running)

    async def _launch(self, spec: WorkerSpec) -> None:
        try:
            spec.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_record(spec.directory / RECORD, {"worker": spec.worker_id, "token": spec.token})
            group = self._make_group(spec)
            zygote = await self._zygotes.of(Path(spec.image.reference))
            await zygote.fork(self._order(spec, group))
        except (OSError, LaunchFailedError) as error:
            await self._clean_up(spec.worker_id, spec.directory)
            (spec.directory / RECORD).unlink(missing_ok=True)
            raise error if isinstance(error, LaunchFailedError) else LaunchFailedError(str(error)) from error
        self._track(spec.worker_id, spec.directory)

    def _make_group(self, spec: WorkerSpec) -> WorkerGroup:
        if self._groups is None:
            return _NO_GROUP
        return self._groups.create(spec.worker_id, spec.resources, self._options.pids_limit)

    def _order(self, spec: WorkerSpec, group: WorkerGroup) -> dict[str, object]:
        """What the zygote is asked for (`flyte._runtime.order.WorkerOrder`)."""
        enforced = self._groups.controllers if self._groups else frozenset()
        return {
            "worker": spec.worker_id,
            "token": spec.token,
            "directory": str(spec.directory),
            "environ": worker_environ(spec, self._host_environ),
            "concurrency": spec.concurrency,
            "cgroups": list(group.join),
            "oom_file": group.oom,
            "peak_file": group.peak,
            "members_file": group.members,
            "kill_file": group.kill,
            "memory_limit": 0 if "memory" in enforced else spec.resources.memory_bytes,
            "pids_limit": 0 if "pids" in enforced else self._options.pids_limit,
            "cpus": [] if "cpu" in enforced else self._affinity(spec.resources.cpu_millis),
            "orphan_ttl": self._options.orphan_ttl,
        }

    def _affinity(self, cpu_millis: int) -> list[int]:
        """Whole processors in place of a limit; workers take turns. Empty: all."""
        cpus = sorted(os.sched_getaffinity(0))
        count = math.ceil(cpu_millis / 1000)
        if not count or count >= len(cpus):
            return []
        return [cpus[next(self._next_cpu) % len(cpus)] for _ in range(count)]

    def _track(self, worker_id: int, directory: Path) -> bool:
        """Watches a worker by its supervisor. One that has ended already is reported. True when it lives."""
        opened = open_process(directory / SUPERVISOR)
        if opened is None:
            self._settle(worker_id, directory, None)
            return False
        worker = WorkerProcess(worker_id, directory, *opened)
        self._workers[worker_id] = worker
        asyncio.get_running_loop().add_reader(worker.pidfd, self._supervisor_ended, worker)
        return True

    def _supervisor_ended(self, worker: WorkerProcess) -> None:
        asyncio.get_running_loop().remove_reader(worker.pidfd)
        self._settle(worker.worker_id, worker.directory, worker)

    def _settle(self, worker_id: int, directory: Path, worker: WorkerProcess | None) -> None:
        task = asyncio.create_task(self._report(worker_id, directory, worker))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _report(self, worker_id: int, directory: Path, worker: WorkerProcess | None) -> None:
        """Makes sure that nothing is left of a worker, then says how it ended."""
        await self._clean_up(worker_id, directory)
        ended = worker.exit() if worker is not None else exit_of(worker_id, directory)
        if worker is not None and self._workers.pop(worker_id, None) is not None:
            os.close(worker.pidfd)
            worker.ended.set_result(ended)
        self._gone.add(worker_id)
        self._exits.put_nowait(ended)

    async def _clean_up(self, worker_id: int, directory: Path) -> None:
        if self._groups is None:
            await asyncio.to_thread(end_strays, directory)
        elif not await asyncio.to_thread(self._groups.remove, worker_id):
            log.warning("engine.group_left", worker=worker_id)

    async def adopt(self) -> list[AdoptedWorker]:
        """See `Engine`."""
        adopted: list[AdoptedWorker] = []
        for directory in sorted(self._workers_directory.iterdir()):
            record = read_record(directory / RECORD)
            if record is None or int(record["worker"]) in self._workers:
                continue
            number = int(record["worker"])
            if not (directory / SUPERVISOR).exists():
                # The executor was killed before a zygote had forked it, and those of then have ended.
                await self._forget_unstarted(number, directory)
            elif self._track(number, directory):
                adopted.append(AdoptedWorker(number, directory, str(record["token"])))
        return adopted

    async def _forget_unstarted(self, worker_id: int, directory: Path) -> None:
        """Removes what is left of a worker of which no process ever was, so that it can be started."""
        if worker_id not in self._launching:
            await self._clean_up(worker_id, directory)
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    async def kill(self, worker_id: int, reason: str) -> WorkerExit:
        """See `Engine`."""
        if worker_id in self._launching:
            await asyncio.wait([self._launching[worker_id]])
        worker = self._worker(worker_id)
        worker.kill_reason = worker.kill_reason or reason or "stopped by the executor"
        if worker.frozen:
            await self.thaw(worker_id)
        send(worker.pidfd, signal.SIGTERM)
        try:
            return await asyncio.wait_for(asyncio.shield(worker.ended), _KILL_SECONDS)
        except TimeoutError:
            log.warning("engine.supervisor_stuck", worker=worker_id)
        if not worker.ended.done():
            send(worker.pidfd, signal.SIGKILL)
        return await asyncio.shield(worker.ended)

    async def signal(self, worker_id: int, number: int) -> None:
        """See `Engine`."""
        worker = self._worker(worker_id)
        opened = open_process(worker.directory / PROCESS)
        if opened is None:
            raise UnknownWorkerError(f"worker {worker_id} has ended, or not started yet")
        try:
            send(opened[1], number)
        finally:
            os.close(opened[1])

    async def freeze(self, worker_id: int) -> None:
        """See `Engine`."""
        worker = self._worker(worker_id)
        worker.frozen = True
        await asyncio.to_thread(self._set_frozen, worker, True)

    async def thaw(self, worker_id: int) -> None:
        """See `Engine`."""
        worker = self._worker(worker_id)
        worker.frozen = False
        await asyncio.to_thread(self._set_frozen, worker, False)

    def _set_frozen(self, worker: WorkerProcess, frozen: bool) -> None:
        if self._groups is not None and "freezer" in self._groups.controllers:
            self._groups.set_frozen(worker.worker_id, frozen)
            return
        processes = tree(worker.supervisor)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)
        deadline = time.monotonic() + _FREEZE_SECONDS
        while (
            frozen and not all(is_stopped(process) for process in processes) and time.monotonic() < deadline
        ):
            time.sleep(0.001)

    async def stats(self, worker_id: int) -> WorkerStats:
        """See `Engine`."""
        worker = self._worker(worker_id)
        return await asyncio.to_thread(self._measure, worker)

    def _measure(self, worker: WorkerProcess) -> WorkerStats:
        memory = cpu = count = 0.0
        for process in tree(worker.supervisor):
            try:
                with process.oneshot():
                    usage, times = process.memory_info(), process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            memory += usage.rss - getattr(usage, "shared", 0)
            cpu += times.user + times.system
            count += 1
        grouped = self._groups.memory(worker.worker_id) if self._groups is not None else 0
        return WorkerStats(grouped or int(memory), round(cpu * 1000), int(count))

    async def events(self) -> AsyncIterator[WorkerExit]:
        """See `Engine`."""
        while True:
            yield await self._exits.get()

    async def forget(self, worker_id: int) -> None:
        """See `Engine`."""
        if worker_id in self._workers:
            return
        self._gone.add(worker_id)
        directory = self._workers_directory / str(worker_id)
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    def _worker(self, worker_id: int) -> WorkerProcess:
        try:
            return self._workers[worker_id]
        except KeyError:
            raise UnknownWorkerError(f"this host has no worker {worker_id} that lives") from None

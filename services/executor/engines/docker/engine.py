"""Runs workers as containers of the Docker engine on this host."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol, TypeVar

import docker
import structlog
from docker.errors import APIError

from services.common.emulation import runs_platform
from services.common.errors import FailedPrecondition, HangarError
from services.common.platforms import platform_name
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
from services.executor.engines.docker import directories
from services.executor.engines.docker.client import EngineClient, EngineDownError, explanation
from services.executor.engines.docker.containers import Placement, create_arguments
from services.executor.engines.docker.disk_watch import DiskLimit, DiskWatch
from services.executor.engines.docker.host_paths import HostPaths, find_host_paths, own_container
from services.executor.engines.docker.identity import identity_of
from services.executor.engines.docker.options import DockerEngineOptions
from services.executor.engines.docker.outputs import Outputs
from services.executor.engines.docker.roster import LIVING, Roster
from services.executor.engines.docker.starts import Starts
from services.executor.engines.docker.stats import stats_of
from services.executor.engines.docker.watch import Watch
from services.executor.engines.docker.worker_container import WorkerContainer
from services.executor.engines.worker_process import PROCESS

log = structlog.get_logger(__name__)

_KILL_SECONDS = 10.0
"""How long a supervisor gets to end its worker and record it."""
_PROGRAM_SECONDS = 4.0
"""How long a program of an image gets to end by itself: as process 1 it ignores SIGTERM unless it has a handler."""
_LOOK_SECONDS = 2.0
"""How often a worker that is to end is looked at, besides waiting for the event."""
_RECONCILE_SECONDS = 15.0
_CONNECT_SECONDS = 10.0
_CREATED = "created"
_SIGTERM, _SIGKILL = int(signal.SIGTERM), int(signal.SIGKILL)
_NOT_FOUND, _CONFLICT = 404, 409


class Images(Protocol):
    """Makes images of definitions."""

    async def ensure(self, definition: ImageDefinition, progress: Progress) -> PreparedImage:
        """Returns the image of a definition, made or pulled now if the engine does not hold it."""
        ...

    def forget(self, image: PreparedImage) -> None:
        """The engine does not hold an image that was there before: looks again the next time."""
        ...


class Networks(Protocol):
    """Networks of workers."""

    async def start(self) -> None:
        """Gets ready."""
        ...

    async def network_of(self, project: str, domain: str) -> str:
        """Returns the name of a network, "none" for none."""
        ...

    async def reapply(self) -> None:
        """Puts the host's rules back: the engine was restarted."""
        ...

    async def close(self) -> None:
        """Removes what is not used."""
        ...


MakeImages = Callable[[docker.DockerClient, str], Images]
"""Takes the engine, and the platform of the images."""
MakeNetworks = Callable[[docker.DockerClient, str, str], Networks]
"""Takes the engine, the identity of the executor and the image of its own container."""

T = TypeVar("T")


class DockerEngine:
    """See `services.executor.engines.base.Engine`.

    Args:
        options: How it works.
        make_images: Makes what makes images.
        make_networks: Makes what makes networks.
    """

    def __init__(
        self, options: DockerEngineOptions, make_images: MakeImages, make_networks: MakeNetworks
    ) -> None:
        self._options = options
        self._make_images = make_images
        self._make_networks = make_networks
        self._workers_directory = options.state / "workers"
        self._client = EngineClient(options.url)
        self._starts = Starts(self._client)
        self._outputs = Outputs(self._client)
        self._roster = Roster(self._client, self._starts, self._outputs, self._keep)
        self._tasks: set[asyncio.Task[None]] = set()
        self._connected = asyncio.Event()
        self._images: Images | None = None
        self._networks: Networks | None = None
        self._watch: Watch | None = None
        self._paths: HostPaths | None = None
        self._info: dict[str, Any] = {}
        self._platform = ""

    @property
    def name(self) -> str:
        """See `Engine`."""
        return "docker"

    @property
    def identity(self) -> str:
        """The value of the label `hangar.executor` of its containers. Known after `start`."""
        return self._roster.identity

    @property
    def worker_ids(self) -> list[int]:
        """Workers that live."""
        return list(self._roster.living)

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """See `Engine`.

        Raises:
            FailedPrecondition: The engine cannot be reached or is too old, it cannot reach the state directory or run
                the platform that it is to run, or the network policy cannot be enforced.
        """
        options = self._options
        self._workers_directory.mkdir(parents=True, exist_ok=True)
        self._roster.identity = identity_of(options.state)
        await self._client.open()
        self._info = await self._client.insist(lambda api: api.info(), _CONNECT_SECONDS)
        self._platform = await self._find_platform()
        own = own_container()
        self._paths = paths = await self._client.insist(
            lambda api: find_host_paths(api, options.state, options.host_state, own), _CONNECT_SECONDS
        )
        for found in await self._roster.containers():
            if found.state == _CREATED:
                await self._starts.remove(self._roster.name_of(found.worker_id))
        self._images = self._make_images(self._client.library, self._platform)
        self._networks = self._make_networks(self._client.library, self._roster.identity, paths.own_image)
        await self._networks.start()
        self._watch = Watch(
            options.url, self._roster.identity, self._roster.container_ended, self._on_connected
        )
        self._watch.start()
        await asyncio.wait_for(self._connected.wait(), _CONNECT_SECONDS)
        self._keep(DiskWatch(options.disk_interval, self._disk_limits, self._evict).run())
        self._keep(self._reconcile_for_ever())
        self._keep(self._outputs.run(self._roster.living))
        log.info(
            "engine.started",
            engine=self.name,
            version=self._info.get("ServerVersion"),
            url=options.url,
            executor=self._roster.identity,
            host_state=str(paths.host_state),
        )

    async def _find_platform(self) -> str:
        """The platform of its images: the engine's own, or another one that its kernel runs."""
        own = platform_name(str(self._info["OSType"]), str(self._info["Architecture"]))
        wanted = self._options.platform or own
        if wanted != own and not await self._client.insist(
            lambda api: runs_platform(api, wanted), _CONNECT_SECONDS
        ):
            message = (
                f"HANGAR_EXECUTOR_PLATFORM is {wanted}, and the kernel of the Docker engine at {self._options.url} "
                f"({own}) does not run its programs: install QEMU emulation there (apt-get install qemu-user-static "
                "binfmt-support), or unset it"
            )
            raise FailedPrecondition(message, reason="PLATFORM_NOT_AVAILABLE")
        return wanted

    async def close(self) -> None:
        """See `Engine`."""
        await asyncio.gather(*self._roster.launching.values(), return_exceptions=True)
        if self._watch is not None:
            await self._watch.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._networks is not None:
            try:
                await self._networks.close()
            except HangarError as error:
                log.warning("engine.networks_left", error=error.message)
        self._roster.living.clear()
        await self._client.close()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("engine.task_failed", exc_info=task.exception())

    # -- what there is -------------------------------------------------------------------------------------

    async def inventory(self) -> EngineCapacity:
        """See `Engine`. While the engine is away this is what it said last."""
        try:
            self._info = await self._client.call(lambda api: api.info())
        except (EngineDownError, APIError) as error:
            log.warning("engine.inventory_is_old", error=str(error))
        return EngineCapacity(
            cpu_millis=int(self._info["NCPU"]) * 1000,
            memory_bytes=int(self._info["MemTotal"]),
            disk_bytes=shutil.disk_usage(self._options.state).free,
            platform=self._platform,
        )

    async def ensure_image(self, definition: ImageDefinition, progress: Progress) -> PreparedImage:
        """See `Engine`."""
        assert self._images is not None
        return await self._images.ensure(definition, progress)

    # -- workers -------------------------------------------------------------------------------------------

    async def launch(self, spec: WorkerSpec) -> None:
        """See `Engine`."""
        number = spec.worker_id
        running = self._roster.launching.get(number)
        if running is None:
            if number in self._roster.living or number in self._roster.gone:
                return
            running = self._roster.launching[number] = asyncio.create_task(
                self._launch(spec), name=f"launch-{number}"
            )
            running.add_done_callback(lambda _: self._roster.launching.pop(number, None))
        await asyncio.shield(running)

    async def _launch(self, spec: WorkerSpec) -> None:
        assert self._paths is not None
        assert self._networks is not None
        options = self._options
        name = self._roster.name_of(spec.worker_id)
        try:
            await asyncio.to_thread(directories.prepare, spec, options)
            placement = Placement(
                executor=self._roster.identity,
                network=await self._networks.network_of(spec.project, spec.domain),
                directory=self._paths.of(spec.directory),
                code_dir=self._paths.of(spec.code_dir) if spec.code_dir else "",
            )
        except HangarError as error:
            raise LaunchFailedError(f"its network cannot be had: {error.message}") from error
        except (OSError, ValueError) as error:
            raise LaunchFailedError(f"its directory cannot be used: {error}") from error
        # Before the start: it may end before the start is answered.
        output = spec.program.log if spec.program is not None else ""
        worker = self._roster.track(spec.worker_id, spec.directory, spec.resources.disk_bytes, output)
        try:
            await self._starts.start(spec, name, create_arguments(spec, options, placement))
        except (LaunchFailedError, ImageFailedError) as error:
            del self._roster.living[spec.worker_id]
            if "no such image" in str(error).lower() and self._images is not None:
                self._images.forget(spec.image)
            raise
        if self._roster.connections != worker.connection:
            self._roster.look(worker)  # the engine was away meanwhile

    async def adopt(self) -> list[AdoptedWorker]:
        """See `Engine`."""
        adopted: list[AdoptedWorker] = []
        listed = await self._roster.containers()
        for found in listed:
            number = found.worker_id
            if number in self._roster.living or number in self._roster.gone or found.state == _CREATED:
                continue
            directory = self._workers_directory / str(number)
            worker = self._roster.track(number, directory, found.disk_bytes, found.log)
            worker.frozen = found.state == "paused"
            token = directories.token_of(directory)
            if found.state not in LIVING:
                self._roster.look(worker)
            elif token:
                adopted.append(AdoptedWorker(number, directory, token, found.image))
            else:
                worker.kill_reason = "the record of its token is gone"
                self._keep(self._stop(worker))
        numbers = {found.worker_id for found in listed}
        for directory in self._workers_directory.iterdir():
            number = int(directory.name) if directory.name.isdecimal() else 0
            known = number in numbers or number in self._roster.living or number in self._roster.gone
            if number and not known and directories.has_run(directory):
                # Its container was removed meanwhile.
                self._roster.look(self._roster.track(number, directory, 0))
        return adopted

    async def kill(self, worker_id: int, reason: str) -> WorkerExit:
        """See `Engine`. While the engine is away this waits: only it can say that a worker is dead."""
        if worker_id in self._roster.launching:
            await asyncio.wait([self._roster.launching[worker_id]])
        worker = self._roster.worker(worker_id)
        if not worker.kill_reason:
            worker.kill_reason = reason or "stopped by the executor"
            self._keep(self._stop(worker))
        return await asyncio.shield(worker.ended)

    async def _evict(self, worker_id: int, reason: str) -> None:
        worker = self._roster.living.get(worker_id)
        if worker is not None and not worker.kill_reason and worker_id not in self._roster.launching:
            worker.kill_reason, worker.evicted = reason, True
            await self._stop(worker)

    async def _stop(self, worker: WorkerContainer) -> None:
        """Ends a worker, and returns when its end was reported."""
        if worker.frozen:
            await self._told(worker, lambda api: api.unpause(worker.name))
        # A supervisor ends its worker and records what it used. One that does not listen yet would miss the signal.
        is_supervised = (worker.directory / PROCESS).exists()
        number = _SIGTERM if is_supervised or worker.is_program else _SIGKILL
        patience = _PROGRAM_SECONDS if worker.is_program else _KILL_SECONDS
        waited = 0.0
        while not worker.ended.done():
            await self._told(worker, lambda api, number=number: api.kill(worker.name, number))  # type: ignore[misc]
            await asyncio.wait([worker.ended], timeout=_LOOK_SECONDS)
            waited += _LOOK_SECONDS
            if waited >= patience:
                number = _SIGKILL
            if not worker.ended.done():
                self._roster.look(worker)

    async def _told(self, worker: WorkerContainer, what: Callable[[docker.APIClient], None]) -> None:
        """Tells the engine something about a container. When it is not running, it is looked at."""
        try:
            await self._client.insist(what)
        except APIError as error:
            log.debug("engine.not_told", worker=worker.worker_id, error=str(error))
            self._roster.look(worker)

    async def signal(self, worker_id: int, number: int) -> None:
        """See `Engine`. The supervisor hands it on; SIGKILL ends the whole container."""
        await self._ask(worker_id, lambda api, name: api.kill(name, number))

    async def freeze(self, worker_id: int) -> None:
        """See `Engine`."""
        self._roster.worker(worker_id).frozen = True
        await self._ask(worker_id, lambda api, name: api.pause(name))

    async def thaw(self, worker_id: int) -> None:
        """See `Engine`."""
        await self._ask(worker_id, lambda api, name: api.unpause(name))
        self._roster.worker(worker_id).frozen = False

    async def stats(self, worker_id: int) -> WorkerStats:
        """See `Engine`."""
        measured = await self._ask(worker_id, lambda api, name: api.stats(name, stream=False, one_shot=True))
        return stats_of(measured)

    async def _ask(self, worker_id: int, what: Callable[[docker.APIClient, str], T]) -> T:
        worker = self._roster.worker(worker_id)
        try:
            return await self._client.insist(lambda api: what(api, worker.name), _CONNECT_SECONDS)
        except APIError as error:
            if error.status_code not in {_NOT_FOUND, _CONFLICT}:
                raise
            self._roster.look(worker)
            raise UnknownWorkerError(f"worker {worker_id} does not run: {explanation(error)}") from error

    async def events(self) -> AsyncIterator[WorkerExit]:
        """See `Engine`."""
        while True:
            yield await self._roster.exits.get()

    async def forget(self, worker_id: int) -> None:
        """See `Engine`."""
        if worker_id in self._roster.living or worker_id in self._roster.launching:
            return
        self._roster.gone.add(worker_id)
        try:
            await self._starts.remove(self._roster.name_of(worker_id))
        except EngineDownError as error:
            self._starts.abandoned.add(self._roster.name_of(worker_id))
            log.warning("engine.container_left", worker=worker_id, error=str(error))
        await asyncio.to_thread(directories.remove, self._workers_directory / str(worker_id))

    # -- reconciliation ------------------------------------------------------------------------------------

    def _on_connected(self) -> None:
        self._roster.connections += 1
        self._connected.set()
        if self._roster.connections > 1:
            log.info("engine.connected_again", url=self._options.url)
            self._keep(self._after_restart())

    async def _after_restart(self) -> None:
        assert self._networks is not None
        await self._roster.reconcile()
        try:
            await self._networks.reapply()
        except HangarError as error:
            log.error("engine.network_rules_missing", error=error.message)

    async def _reconcile_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_RECONCILE_SECONDS)
            if self._roster.living or self._starts.abandoned:
                await self._roster.reconcile()

    def _disk_limits(self) -> list[DiskLimit]:
        return [
            DiskLimit(worker.worker_id, worker.directory, worker.disk_bytes)
            for worker in self._roster.living.values()
            if worker.disk_bytes and not worker.kill_reason
        ]

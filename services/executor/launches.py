"""Starts workers: image, code, directory, socket, process."""

import asyncio
import secrets
from collections.abc import Callable

import structlog

from hangar.core.v1 import failure_pb2
from hangar.core.v1.failure_pb2 import Failure
from hangar.core.v1.task_spec_pb2 import Image
from services.common.errors import HangarError
from services.executor import failures
from services.executor.code import CodeStore
from services.executor.engines.base import (
    Engine,
    ImageDefinition,
    ImageFailedError,
    LaunchFailedError,
    PreparedImage,
    Program,
    WorkerResources,
    WorkerSpec,
)
from services.executor.gpu.plugin import GpuPlugin
from services.executor.program_files import ProgramError
from services.executor.programs import Programs
from services.executor.worker_server import WorkerServer
from services.executor.workers import Worker

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 60.0
"""How long a started worker gets to connect."""


class Launches:
    """Prepares and starts workers.

    Args:
        engine: What runs them.
        code: Code bundles.
        gpus: Devices.
        server: Where workers connect.
        on_progress: Called with a worker and a line on what is being done for it.
        on_prepared: Called with a worker whose leases may be sent to it, or whose program runs.
        programs: Makes ready what programs of images get.
        on_failed: Called with a worker that could not be started; nothing of it is left.
    """

    def __init__(
        self,
        engine: Engine,
        code: CodeStore,
        gpus: GpuPlugin,
        server: WorkerServer,
        on_progress: Callable[[Worker, str], None],
        on_prepared: Callable[[Worker], None],
        on_failed: Callable[[Worker, Failure], None],
        programs: Programs,
    ) -> None:
        self._engine = engine
        self._code = code
        self._gpus = gpus
        self._server = server
        self._on_progress = on_progress
        self._on_prepared = on_prepared
        self._on_failed = on_failed
        self._programs = programs
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, worker: Worker) -> None:
        """Starts a worker in the background. One that was adopted only gets its code."""
        task = asyncio.create_task(self._start(worker), name=f"launch-{worker.worker_id}")
        worker.launch = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def prepare(self, image: Image) -> None:
        """Prepares software in the background, before a task needs it."""
        task = asyncio.create_task(self._prepare_image(image), name=f"prepare-{image.digest}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prepare_image(self, image: Image) -> None:
        definition = ImageDefinition(image.digest, image.definition_json)
        try:
            await self._engine.ensure_image(definition, lambda _: None)
        except (ImageFailedError, HangarError) as error:
            hint = "the first task that needs it tries again, and says what is wrong"
            log.warning("image.not_prepared", image=image.digest, reason=error.message, hint=hint)

    async def _start(self, worker: Worker) -> None:
        try:
            await self._prepare(worker)
            worker.launch = None
            self._on_prepared(worker)
            async with asyncio.timeout(CONNECT_SECONDS):
                await worker.connected.wait()
        except ImageFailedError as error:
            self._failed(worker, _image_failure(error))
        except ProgramError as error:
            failure = Failure(kind=failure_pb2.FAILURE_KIND_USER, code=error.code, message=error.message)
            self._failed(worker, failure)
        except LaunchFailedError as error:
            self._failed(worker, _launch_failure(error))
        except TimeoutError:
            message = (
                f"the worker was started and did not connect within {CONNECT_SECONDS:.0f} seconds: the host may be "
                "busy, or its processor limit too small for Python to start in that time"
            )
            self._failed(worker, failures.system("NeverConnected", message))
        except HangarError as error:
            self._failed(worker, failures.system("PreparationFailed", error.message))
        except OSError as error:
            self._failed(
                worker, failures.system("LaunchFailed", f"the worker's directory cannot be used: {error}")
            )
        except Exception as error:  # an action must not wait for ever because of a defect of ours
            log.error("worker.launch_broke", worker=worker.worker_id, exc_info=error)
            self._failed(worker, failures.system("PreparationFailed", f"{type(error).__name__}: {error}"))

    async def close(self) -> None:
        """Stops what is being prepared; workers that were started live on."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def _failed(self, worker: Worker, failure: Failure) -> None:
        log.warning("worker.not_started", worker=worker.worker_id, code=failure.code, reason=failure.message)
        worker.launch = None
        self._on_failed(worker, failure)

    async def _prepare(self, worker: Worker) -> None:
        spec = worker.spec
        if worker.is_program:
            if not worker.is_launched:
                definition = ImageDefinition(
                    spec.image.digest, spec.image.definition_json, spec.container.image
                )
                image = await self._image(worker, definition)
                await self._launch(worker, image, await self._programs.prepare(worker))
            return
        code = asyncio.create_task(self._code_dir(worker))
        try:
            if not worker.is_launched:
                definition = ImageDefinition(spec.image.digest, spec.image.definition_json)
                image = await self._image(worker, definition)
                worker.code_dir, worker.has_code = await code, True
                await self._launch(worker, image)
            else:
                worker.code_dir, worker.has_code = await code, True
        finally:
            code.cancel()
            await asyncio.wait([code])

    async def _image(self, worker: Worker, definition: ImageDefinition) -> PreparedImage:
        throttle = Throttle(lambda line: self._on_progress(worker, line))
        try:
            return await self._engine.ensure_image(definition, throttle)
        finally:
            throttle.close()

    async def _code_dir(self, worker: Worker) -> str:
        digest = worker.spec.code.bundle_digest
        if not digest:
            return ""
        return str(await self._code.ensure(digest, lambda reason: self._on_progress(worker, reason)))

    async def _launch(self, worker: Worker, image: PreparedImage, program: Program | None = None) -> None:
        spec = worker.spec
        worker.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        worker.token = worker.token or secrets.token_hex(16)
        env_vars = dict(spec.env_vars) if program is None else self._programs.environ(worker)
        if worker.gpu_uuids:
            env_vars |= await asyncio.to_thread(self._gpus.reserve, list(worker.gpu_uuids))
        if program is None:
            await self._server.listen(worker.worker_id, worker.directory, worker.token)
        worker.image = image.record
        # From here on a process may exist, whatever happens to this coroutine.
        worker.is_launched = True
        await self._engine.launch(
            WorkerSpec(
                worker_id=worker.worker_id,
                token=worker.token,
                directory=worker.directory,
                image=image,
                project=worker.project,
                domain=worker.domain,
                code_dir=worker.code_dir,
                resources=WorkerResources(
                    cpu_millis=spec.resources.cpu_millis,
                    memory_bytes=spec.resources.memory_bytes,
                    shm_bytes=spec.resources.shm_bytes,
                    disk_bytes=spec.resources.disk_bytes,
                ),
                gpu_uuids=worker.gpu_uuids,
                env_vars=env_vars,
                concurrency=worker.concurrency,
                program=program,
            )
        )


def _image_failure(error: ImageFailedError) -> Failure:
    if error.is_system:
        return failures.system(error.code, error.message)
    return Failure(kind=failure_pb2.FAILURE_KIND_IMAGE, code=error.code, message=error.message)


def _launch_failure(error: LaunchFailedError) -> Failure:
    message = f"the worker could not be started: {error}"
    if error.too_little_memory:
        return Failure(kind=failure_pb2.FAILURE_KIND_OOM, code="OutOfMemory", message=message)
    return failures.system("LaunchFailed", message)


class Throttle:
    """Passes on at most some lines per second, the latest ones: people read them.

    Args:
        pass_on: Takes lines.
    """

    _INTERVAL_SECONDS = 0.2

    def __init__(self, pass_on: Callable[[str], None]) -> None:
        self._pass_on = pass_on
        self._latest = ""
        self._next = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, line: str) -> None:
        """Takes a line, which is passed on now or soon, unless another one comes before."""
        if not line:
            return
        self._latest = line
        if self._timer is None:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._next:
                self._tell()
            else:
                self._timer = loop.call_at(self._next, self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._next = asyncio.get_running_loop().time() + self._INTERVAL_SECONDS
        self._pass_on(self._latest)

    def close(self) -> None:
        """Passes on nothing more."""
        if self._timer is not None:
            self._timer.cancel()

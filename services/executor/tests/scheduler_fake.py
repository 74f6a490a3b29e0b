"""A scheduler for tests: a real gRPC server that says what it is told to and writes down what it hears."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
import grpc.aio

from hangar.core.v1.task_spec_pb2 import TaskSpec
from hangar.scheduler.v1 import node_service_pb2_grpc
from hangar.scheduler.v1.node_service_pb2 import (
    FindTaskRequest,
    FindTaskResponse,
    Hello,
    LeaseResult,
    NodeSessionRequest,
    NodeSessionResponse,
    WorkerStatus,
)

DEADLINE_SECONDS = 30.0


async def until(condition: Callable[[], Any], what: str = "") -> Any:
    """Polls until a condition is true and returns its value."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {DEADLINE_SECONDS} s for {what or condition}")
        await asyncio.sleep(0.005)
    return value


class SchedulerFake(node_service_pb2_grpc.NodeServiceServicer):
    """Welcomes every session and acknowledges what it is told to acknowledge."""

    def __init__(self) -> None:
        self.generation = 1
        self.acknowledges = True
        self.dropped_leases: list[int] = []
        self.dropped_workers: list[int] = []
        self.hellos: list[Hello] = []
        self.frames: list[NodeSessionRequest] = []
        self.results: dict[int, LeaseResult] = {}
        self.result_count = 0
        self.on_frame: Callable[[NodeSessionRequest], NodeSessionResponse | None] = lambda frame: None
        self.sessions = 0
        self.tasks: dict[str, TaskSpec] = {}
        self.lookups: list[FindTaskRequest] = []
        self._sent_specs: set[str] = set()
        self._queue: asyncio.Queue[NodeSessionResponse | None] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listens, on the same port as before when there was one."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        node_service_pb2_grpc.add_NodeServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """Goes away; sessions break."""
        assert self._server is not None
        await self._server.stop(None)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def FindTask(self, request: FindTaskRequest, context: Any) -> FindTaskResponse:
        """Knows the tasks that it was given, by name."""
        self.lookups.append(request)
        if request.name not in self.tasks:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no task {request.name}")
        return FindTaskResponse(spec=self.tasks[request.name])

    async def NodeSession(
        self, requests: AsyncIterator[NodeSessionRequest], context: Any
    ) -> AsyncIterator[NodeSessionResponse]:
        """One session."""
        first = await anext(requests)
        self.hellos.append(first.hello)
        queue: asyncio.Queue[NodeSessionResponse | None] = asyncio.Queue()
        self._queue = queue
        self._sent_specs = set()
        response = NodeSessionResponse()
        response.welcome.generation = self.generation
        response.welcome.heartbeat_interval_millis = 100
        response.welcome.dropped_leases.extend(self.dropped_leases)
        response.welcome.dropped_workers.extend(self.dropped_workers)
        yield response
        self.sessions += 1
        reader = asyncio.create_task(self._read(requests, queue))
        try:
            while (answer := await queue.get()) is not None:
                yield answer
        finally:
            reader.cancel()

    async def _read(self, requests: AsyncIterator[NodeSessionRequest], queue: asyncio.Queue[Any]) -> None:
        async for frame in requests:
            self.frames.append(frame)
            response = NodeSessionResponse()
            for result in frame.results:
                self.results[result.lease_id] = result
                self.result_count += 1
                if self.acknowledges:
                    response.acknowledged_results.append(result.lease_id)
            if self.acknowledges:
                response.acknowledged_logs.extend(chunk.key for chunk in frame.logs)
            if response.ByteSize():
                queue.put_nowait(response)
            extra = self.on_frame(frame)
            if extra is not None:
                queue.put_nowait(extra)
        queue.put_nowait(None)

    def send(self, frame: NodeSessionResponse, specs: Iterable[TaskSpec] = ()) -> None:
        """Sends a frame in the present session, with definitions that it does not know yet."""
        for spec in specs:
            if spec.name not in self._sent_specs:
                self._sent_specs.add(spec.name)
                frame.specs.add(key=spec.name, spec=spec)
        self._queue.put_nowait(frame)

    def end_session(self) -> None:
        """Closes the present session."""
        self._queue.put_nowait(None)

    # -- what was heard

    def all(self, field: str) -> list[Any]:
        """Everything that came in one field, in order."""
        return [message for frame in self.frames for message in getattr(frame, field)]

    def worker(self, worker_id: int) -> WorkerStatus | None:
        """What was said last about a worker."""
        found = [status for status in self.all("workers") if status.worker_id == worker_id]
        return found[-1] if found else None

    async def connected(self, sessions: int = 1) -> None:
        """Waits for a number of sessions to have been opened."""
        await until(lambda: self.sessions >= sessions, f"session {sessions}")

    async def result(self, lease_id: int) -> LeaseResult:
        """Waits for the result of a lease."""
        await until(lambda: lease_id in self.results, f"the result of lease {lease_id}")
        return self.results[lease_id]

"""A fake executor on a real stream: it completes leases at once, and its root tasks fan out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc.aio

from hangar.core.v1.failure_pb2 import Failure
from hangar.core.v1.payload_pb2 import Payload
from hangar.core.v1.resources_pb2 import Inventory, Resources
from hangar.core.v1.task_spec_pb2 import Code, Interface, ReusePolicy, TaskSpec
from hangar.scheduler.v1 import node_service_pb2 as node
from hangar.scheduler.v1.node_service_pb2_grpc import NodeServiceStub

GIB = 1024**3


def make_spec(name: str = "env.task", *, retries: int = 0, reuse: bool = False, cpu: int = 1000) -> TaskSpec:
    """A task definition that is valid."""
    spec = TaskSpec(
        name=name,
        environment=name.partition(".")[0],
        interface=Interface(),
        resources=Resources(cpu_millis=cpu, memory_bytes=GIB // 1024),
        code=Code(module="module", attribute=name.rpartition(".")[2], version="v1"),
    )
    spec.retry.count = retries
    if reuse:
        policy = ReusePolicy(min_replicas=1, max_replicas=2, concurrency=50, idle_ttl_millis=60_000)
        spec.reuse.CopyFrom(policy)
    return spec


def document(text: bytes = b"{}") -> Payload:
    """Inputs or outputs."""
    return Payload(inline=text, digest=f"{hash(text) & (2**64 - 1):032x}")


class FakeExecutor:
    """A host whose workers are ready at once.

    Args:
        channel: Connection to the scheduler.
        name: Name of the host.
        fan_out: Children of each root action; the root ends when all have ended.
        child: Definition of the children.
        cpu: What the host offers, in thousandths of a core.
        complete: Whether leases complete by themselves.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        name: str = "node",
        *,
        fan_out: int = 0,
        child: TaskSpec | None = None,
        cpu: int = 64_000,
        complete: bool = True,
        boot_id: str = "boot",
        engine: str = "process",
        fails: Callable[[node.Assignment], Failure | None] = lambda _assignment: None,
    ) -> None:
        self._stub: Any = NodeServiceStub(channel)
        self.name = name
        self._fan_out = fan_out
        self._child = child or make_spec("env.child", reuse=True, cpu=100)
        self._cpu = cpu
        self._complete = complete
        self._boot_id = boot_id
        self._engine = engine
        self._fails = fails
        self.welcome = node.Welcome()
        self.assignments: dict[int, node.Assignment] = {}
        self.specs: dict[str, TaskSpec] = {}
        self.outcomes: dict[str, node.ChildOutcome] = {}
        self.kills: list[node.LeaseKill] = []
        self.acknowledged: set[int] = set()
        self.acknowledged_logs: list[tuple[int, int]] = []
        self.images: list[str] = []
        self.frames = 0
        self._waiting: dict[int, int] = {}
        self._call: Any = None
        self._task: asyncio.Task[None] | None = None
        self.held: list[node.HeldLease] = []
        self.workers: list[node.WorkerStatus] = []
        self._open = asyncio.Event()
        self.next_frame = asyncio.Event()

    async def connect(self) -> None:
        """Opens a session."""
        self._call = self._stub.NodeSession()
        hello = node.Hello(
            node=self.name,
            boot_id=self._boot_id,
            engine=self._engine,
            inventory=Inventory(cpu_millis=self._cpu, memory_bytes=64 * GIB, platform="linux/amd64"),
            workers=self.workers,
            leases=self.held,
        )
        await self._call.write(node.NodeSessionRequest(hello=hello))
        self._open.clear()
        self._task = asyncio.create_task(self._read())
        await self._open.wait()

    async def disconnect(self) -> None:
        """Breaks the session."""
        self._call.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def ended(self) -> str:
        """Waits until the scheduler ends the session. Returns the details of its status."""
        assert self._task is not None
        await asyncio.gather(self._task, return_exceptions=True)
        return str(await self._call.details())

    async def send(self, frame: node.NodeSessionRequest) -> None:
        """Sends a frame."""
        await self._call.write(frame)

    async def request_children(self, lease_id: int, keys: list[str], spec: TaskSpec | None = None) -> None:
        """Asks for children of a lease."""
        frame = node.NodeSessionRequest()
        frame.specs.add(key="child", spec=spec or self._child)
        for key in keys:
            child = frame.children.add(parent_lease_id=lease_id, key=key, spec_key="child")
            child.inputs.CopyFrom(document(key.encode()))
        await self.send(frame)

    async def finish(self, lease_id: int, failure: Failure | None = None) -> None:
        """Ends a lease."""
        frame = node.NodeSessionRequest()
        self._add_result(frame, lease_id, failure)
        await self.send(frame)

    async def _read(self) -> None:
        while (frame := await self._call.read()) is not grpc.aio.EOF:
            self.frames += 1
            answer = self._answer(frame)
            self._open.set()
            self.next_frame.set()
            self.next_frame = asyncio.Event()
            if answer is not None:
                await self._call.write(answer)

    def _answer(self, frame: node.NodeSessionResponse) -> node.NodeSessionRequest | None:
        answer = node.NodeSessionRequest()
        if frame.HasField("welcome"):
            self.welcome = frame.welcome
        for start in frame.worker_starts:
            status = answer.workers.add(worker_id=start.worker_id, state=node.WORKER_STATE_READY)
            status.pool_key = start.pool_key
            self.workers.append(status)
        for spec in frame.specs:
            self.specs[spec.key] = spec.spec
        for assignment in frame.assignments:
            self.assignments[assignment.lease_id] = assignment
            assert assignment.spec_digest in self.specs
            if self._complete:
                self._carry_out(assignment, answer)
        for outcome in frame.child_outcomes:
            self.outcomes[outcome.key] = outcome
            parent = outcome.parent_lease_id
            if parent in self._waiting:
                self._waiting[parent] -= 1
                if not self._waiting[parent]:
                    self._add_result(answer, parent, None)
        for kill in frame.kills:
            self.kills.append(kill)
            answer.results.add(lease_id=kill.lease_id, killed=True).failure.code = "Killed"
        self.acknowledged.update(frame.acknowledged_results)
        self.images.extend(image.digest for image in frame.images)
        self.acknowledged_logs.extend((key.lease_id, key.index) for key in frame.acknowledged_logs)
        return answer if answer.ByteSize() else None

    def _carry_out(self, assignment: node.Assignment, answer: node.NodeSessionRequest) -> None:
        answer.started.add(lease_id=assignment.lease_id, worker_id=assignment.worker_id)
        if assignment.action.name != "a0" or not self._fan_out:
            self._add_result(answer, assignment.lease_id, self._fails(assignment))
            return
        self._waiting[assignment.lease_id] = self._fan_out
        answer.specs.add(key="child", spec=self._child)
        for number in range(self._fan_out):
            child = answer.children.add(
                parent_lease_id=assignment.lease_id, key=f"child{number}", spec_key="child"
            )
            child.inputs.CopyFrom(document(b'{"x":%d}' % number))

    @staticmethod
    def _add_result(answer: node.NodeSessionRequest, lease_id: int, failure: Failure | None) -> None:
        result = answer.results.add(lease_id=lease_id)
        result.ended_at.GetCurrentTime()
        result.started_at.GetCurrentTime()
        if failure is None:
            result.outputs.CopyFrom(document(b'{"o0":1}'))
        else:
            result.failure.CopyFrom(failure)

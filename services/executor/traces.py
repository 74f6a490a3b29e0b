"""Traced calls of running leases: said to the scheduler when they take a while, journaled when they end."""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from hangar.core.v1.payload_pb2 import Payload
from hangar.core.v1.task_spec_pb2 import TaskSpec
from hangar.scheduler.v1.node_service_pb2 import ChildRequest, TraceKey, TraceResult
from services.executor import failures
from services.executor.frames import Frame
from services.executor.holdings import Holdings
from services.executor.journal import Journal
from services.executor.leases import Lease, Trace
from services.executor.outbox import TraceRow
from services.executor.outgoing import Outgoing
from services.executor.payloads import Payloads
from services.executor.reaches import Reaches
from services.executor.worker_server import WorkerConnection

ANNOUNCE_SECONDS = 0.05
"""A call that takes longer is said to run; one that takes less is said once, when it has ended."""


@dataclass(frozen=True, slots=True)
class _End:
    """How a call ended, as its worker says it."""

    lease: Lease
    key: str
    trace: Trace
    header: dict[str, Any]
    outputs: bytes


class Traces:
    """Takes traced calls from their beginning until the scheduler has them.

    A worker goes on with the result of a call once the outbox has it. So whatever becomes of worker, host or scheduler
    then, a later attempt does not run it again.

    Args:
        holdings: The leases.
        journal: Remembers calls that ended until the scheduler has them.
        outgoing: Tells the scheduler.
        payloads: Stores long documents.
        reaches: What leases may refer to.
    """

    def __init__(
        self, holdings: Holdings, journal: Journal, outgoing: Outgoing, payloads: Payloads, reaches: Reaches
    ) -> None:
        self._holdings = holdings
        self._journal = journal
        self._outgoing = outgoing
        self._payloads = payloads
        self._reaches = reaches
        self._unsaid: list[tuple[Lease, str]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._moving: set[asyncio.Task[None]] = set()
        self._journaled: dict[WorkerConnection, list[list[Any]]] = {}

    # -- from workers

    def began(self, lease: Lease, request: ChildRequest, document: bytes) -> None:
        """A call has begun, or goes on as a worker says that connects again."""
        if request.key in lease.traces:
            return
        lease.traces[request.key] = Trace(request, document)
        self._unsaid.append((lease, request.key))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(ANNOUNCE_SECONDS, self._announce)

    def ended(self, connection: WorkerConnection, frame: Frame) -> None:
        """A call has ended. The worker is answered once the outbox has that."""
        header = frame.header
        key = str(header["key"])
        lease = self._holdings.leases.get(int(header["lease"]))
        trace = lease.traces.pop(key, None) if lease is not None else None
        if lease is None or lease.is_ended or trace is None:
            self._answer(connection, int(header["lease"]), key)
            return
        end = _End(lease, key, trace, header, frame.body)
        if self._payloads.is_inline(trace.document) and self._payloads.is_inline(frame.body):
            trace.request.inputs.inline = trace.document
            self._record(connection, end, Payload(inline=frame.body))
        else:
            self._in_background(self._store_and_record(connection, end))

    async def _store_and_record(self, connection: WorkerConnection, end: _End) -> None:
        lease = end.lease
        await self._store_inputs(lease, end.trace)
        outputs = Payload(inline=end.outputs)
        if not self._payloads.is_inline(end.outputs):
            waiting = self._outgoing.explains(lease.lease_id, "the outputs of a trace cannot be stored yet")
            place = f"{lease.prefix}/traces/{end.key}.json"
            outputs = await self._payloads.store(place, end.outputs, str(end.header["digest"]), waiting)
        if lease.is_ended:
            self._answer(connection, lease.lease_id, end.key)
        else:
            self._record(connection, end, outputs)

    async def _store_inputs(self, lease: Lease, trace: Trace) -> None:
        inputs = trace.request.inputs
        if self._payloads.is_inline(trace.document):
            inputs.inline = trace.document
        elif inputs.WhichOneof("data") is None:
            waiting = self._outgoing.explains(lease.lease_id, "the inputs of a trace cannot be stored yet")
            key = f"{lease.prefix}/children/{trace.request.key}.json"
            inputs.CopyFrom(await self._payloads.store(key, trace.document, inputs.digest, waiting))

    def _record(self, connection: WorkerConnection, end: _End, outputs: Payload) -> None:
        lease, header = end.lease, end.header
        result = TraceResult(request=end.trace.request)
        result.request.began_at.FromNanoseconds(end.trace.began_at)
        result.ended_at.FromNanoseconds(time.time_ns())
        refusal = self._reaches.refusal(lease, end.trace.document, "the inputs of a trace")
        refusal = refusal or self._reaches.refusal(lease, end.outputs, "the outputs of a trace")
        if header.get("abandoned"):
            result.abandoned = str(header["abandoned"])
        elif header.get("failure") is not None:
            result.failure.CopyFrom(failures.from_header(header["failure"], lease.worker_id))
        elif refusal is not None:
            result.failure.CopyFrom(refusal)
        else:
            result.outputs.CopyFrom(outputs)
            result.outputs.digest = str(header["digest"])
        spec = self._holdings.child_specs[result.request.spec_key]
        lease.recorded[end.key] = result
        row = TraceRow(lease.lease_id, end.key, spec.SerializeToString(), result.SerializeToString())
        self._journal.pending.traces.append(row)
        if connection not in self._journaled:
            self._journaled[connection] = []
            self._journal.commit_soon(lambda: self._committed(connection))
        self._journaled[connection].append([lease, end.key, spec, result])

    def _committed(self, connection: WorkerConnection) -> None:
        """Tells the worker and the scheduler of calls that the outbox has."""
        recorded = self._journaled.pop(connection)
        connection.send(
            {"type": "traced", "traces": [[lease.lease_id, key] for lease, key, _, _ in recorded]}
        )
        for lease, _, spec, result in recorded:
            if not lease.dropped:
                self._outgoing.trace(result, spec)

    @staticmethod
    def _answer(connection: WorkerConnection, lease_id: int, key: str) -> None:
        connection.send({"type": "traced", "traces": [[lease_id, key]]})

    def _announce(self) -> None:
        self._timer = None
        unsaid, self._unsaid = self._unsaid, []
        for lease, key in unsaid:
            trace = lease.traces.get(key)
            if trace is not None and not lease.is_ended:
                self._in_background(self._say(lease, trace))

    async def _say(self, lease: Lease, trace: Trace) -> None:
        await self._store_inputs(lease, trace)
        request = trace.request
        if lease.traces.get(request.key) is trace and not lease.is_ended:
            request.began_at.FromNanoseconds(trace.began_at)
            self._outgoing.child(request, self._holdings.child_specs[request.spec_key])

    # -- from the scheduler

    def may_begin(self, lease: Lease, request: ChildRequest) -> None:
        """The scheduler has no result of a call that asked first: it goes ahead now."""
        lease.traces[request.key] = Trace(request, request.inputs.inline)

    def say_again(self, lease: Lease) -> None:
        """Says in a new session which calls of a lease ended that the scheduler may not have, and which run."""
        for result in lease.recorded.values():
            self._outgoing.trace(result, self._holdings.child_specs[result.request.spec_key])
        for trace in lease.traces.values():
            self._in_background(self._say(lease, trace))

    def acknowledged(self, key: TraceKey) -> None:
        """The scheduler has a call."""
        lease = self._holdings.leases.get(key.lease_id)
        if lease is not None and lease.recorded.pop(key.key, None) is not None:
            self._journal.pending.forgotten_traces.append((key.lease_id, key.key))
            self._journal.commit_later()

    def restore(self, row: TraceRow) -> None:
        """Takes over a call that the outbox has."""
        lease = self._holdings.leases.get(row.lease_id)
        if lease is not None:
            result = TraceResult.FromString(row.result)
            self._holdings.child_specs.setdefault(result.request.spec_key, TaskSpec.FromString(row.spec))
            lease.recorded[row.key] = result

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._moving.add(task)
        task.add_done_callback(self._moving.discard)

    async def close(self) -> None:
        """Stops moving documents."""
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._moving):
            task.cancel()
        if self._moving:
            await asyncio.wait(list(self._moving))

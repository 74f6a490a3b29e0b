"""Ends leases: journal, acknowledge to the worker, ship the log, report, forget once acknowledged."""

import asyncio
import time
from collections.abc import Callable, Iterable

from hangar.core.v1.failure_pb2 import Failure
from hangar.core.v1.payload_pb2 import Payload
from hangar.scheduler.v1.node_service_pb2 import LeaseResult
from services.executor import failures
from services.executor.holdings import Holdings
from services.executor.journal import Journal
from services.executor.leases import Lease, LeaseState
from services.executor.logs import LogShipper
from services.executor.outgoing import Outgoing
from services.executor.payloads import Payloads
from services.executor.workers import Worker

LOG_FIRST_SECONDS = 5.0
"""How long a result waits for the rest of its log. When the blob store is slower the log follows."""


class Results:
    """Takes each lease from its result to being forgotten.

    Args:
        holdings: The leases.
        journal: Remembers results until they are acknowledged.
        outgoing: Reports results.
        logs: Ships logs.
        payloads: Stores long outputs.
        on_freed: Called with the worker whose lease has ended.
    """

    def __init__(
        self,
        holdings: Holdings,
        journal: Journal,
        outgoing: Outgoing,
        logs: LogShipper,
        payloads: Payloads,
        on_freed: Callable[[Worker], None],
    ) -> None:
        self._holdings = holdings
        self._journal = journal
        self._outgoing = outgoing
        self._logs = logs
        self._payloads = payloads
        self._on_freed = on_freed
        self._finishing: dict[int, asyncio.Task[None]] = {}

    def succeed(self, lease: Lease, outputs: bytes, digest: str, peak_memory: int = 0) -> None:
        """Ends a lease with an outputs document. The first end of a lease stands."""
        if lease.is_ended or lease.is_delivered:
            return
        if self._payloads.is_inline(outputs):
            payload = Payload(inline=outputs, digest=digest)
            self._end(lease, LeaseResult(outputs=payload, peak_memory_bytes=peak_memory))
        else:
            lease.is_delivered = True
            self._finishing[lease.lease_id] = asyncio.create_task(
                self._store(lease, outputs, digest, peak_memory)
            )

    async def _store(self, lease: Lease, outputs: bytes, digest: str, peak_memory: int) -> None:
        try:
            payload = await self._payloads.store(f"{lease.prefix}/outputs.json", outputs, digest)
        finally:
            self._finishing.pop(lease.lease_id, None)
        self._end(lease, LeaseResult(outputs=payload, peak_memory_bytes=peak_memory))

    def fail(
        self,
        lease: Lease,
        failure: Failure,
        *,
        killed: bool = False,
        peak_memory: int = 0,
        cpu_millis: int = 0,
    ) -> None:
        """Ends a lease with a failure. The first end of a lease stands.

        Args:
            lease: The lease.
            failure: Why it failed; when a kill ended it the kill says more.
            killed: True when it ended because of its kill.
            peak_memory: Highest memory in bytes, 0 when not measured.
            cpu_millis: Processor time in milliseconds, 0 when not measured.
        """
        if lease.is_ended or lease.is_delivered:
            return
        result = LeaseResult(failure=failure, peak_memory_bytes=peak_memory, cpu_millis=cpu_millis)
        if killed and lease.kill is not None:
            result.killed = True
            result.failure.CopyFrom(failures.of_kill(lease.kill))
        self._end(lease, result)

    def _end(self, lease: Lease, result: LeaseResult) -> None:
        if lease.is_ended:
            return
        worker = lease.worker
        result.lease_id = lease.lease_id
        result.worker_id = lease.worker_id
        result.ended_at.FromNanoseconds(time.time_ns())
        if lease.started_at:
            result.started_at.FromNanoseconds(lease.started_at)
        lease.result = result
        lease.state = LeaseState.ENDED
        lease.requests.clear()
        lease.cancellations.clear()
        self._journal.pending.results.append((result.SerializeToString(), lease.lease_id))
        self._journal.commit_soon(lambda: self._journaled(lease))
        if worker is not None:
            worker.release(lease)
            self._on_freed(worker)

    def _journaled(self, lease: Lease) -> None:
        lease.is_result_journaled = True
        worker = lease.worker
        if worker is not None and worker.connection is not None:
            worker.connection.send({"type": "ack", "lease": lease.lease_id})
        if lease.dropped:
            self._forget(lease)
        elif self._logs.has_rest(lease):
            self._finishing[lease.lease_id] = asyncio.create_task(self._finish(lease))
        else:
            self._report(lease)

    async def _finish(self, lease: Lease) -> None:
        """Reports a result behind the rest of its log, or before it when that takes too long."""
        try:
            shipping = self._logs.ship(lease)
            await asyncio.wait([shipping], timeout=LOG_FIRST_SECONDS)
            self._report(lease)
            while self._logs.has_rest(lease) and not lease.dropped:
                await self._logs.ship(lease)
        finally:
            self._finishing.pop(lease.lease_id, None)
        self._forget_when_done(lease)

    def _report(self, lease: Lease) -> None:
        lease.is_reported = True
        if lease.result is not None and not lease.dropped:
            self._outgoing.result(lease.result)

    def resume(self, lease: Lease) -> None:
        """Goes on with a lease that had ended before a restart of the executor."""
        lease.is_reported = lease.is_result_journaled = True
        if self._logs.has_rest(lease):
            self._finishing[lease.lease_id] = asyncio.create_task(self._finish(lease))

    def acknowledged(self, lease_ids: Iterable[int]) -> None:
        """The scheduler has results."""
        for lease_id in lease_ids:
            lease = self._holdings.leases.get(lease_id)
            if lease is not None and lease.is_ended:
                lease.acknowledged = True
                self._forget_when_done(lease)

    def drop(self, lease: Lease) -> None:
        """The scheduler wants to hear no more of a lease that has ended, or that no worker has."""
        lease.dropped = True
        if not lease.is_ended:
            lease.state = LeaseState.ENDED
            if lease.worker is not None:
                lease.worker.release(lease)
        self._forget(lease)

    def _forget_when_done(self, lease: Lease) -> None:
        if (lease.acknowledged or lease.dropped) and lease.lease_id not in self._finishing:
            self._forget(lease)

    def _forget(self, lease: Lease) -> None:
        if self._holdings.leases.pop(lease.lease_id, None) is not None:
            self._journal.pending.forgotten_leases.append((lease.lease_id,))
            self._journal.commit_soon()
            self._logs.remove(lease)

    async def reported(self, leases: Iterable[Lease]) -> list[asyncio.Task[None]]:
        """Waits until the results of ended leases are on their way.

        Returns:
            Tasks that still ship logs of these leases.
        """
        await self._journal.settled()
        tasks = self._tasks(leases)
        if tasks:
            await asyncio.wait(tasks, timeout=LOG_FIRST_SECONDS + 1)
            await self._journal.settled()
        return self._tasks(leases)

    def _tasks(self, leases: Iterable[Lease]) -> list[asyncio.Task[None]]:
        return [self._finishing[lease.lease_id] for lease in leases if lease.lease_id in self._finishing]

    async def close(self) -> None:
        """Stops shipping; what is left is shipped by the next executor."""
        for task in list(self._finishing.values()):
            task.cancel()
        if self._finishing:
            await asyncio.wait(list(self._finishing.values()))

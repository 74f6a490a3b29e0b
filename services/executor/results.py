"""Ends leases: journal, acknowledge to the worker, store outputs, ship the log, report, forget.

Nothing is reported before its outputs are stored, and nothing is acknowledged to a worker before it is on this
host's disk. What holds that up, a blob store that fails or a disk that is full, is shown on the action.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog

from hangar.core.v1.failure_pb2 import Failure
from hangar.core.v1.payload_pb2 import Payload
from hangar.scheduler.v1.node_service_pb2 import LeaseResult
from services.common import disk
from services.executor import failures
from services.executor.holdings import Holdings
from services.executor.journal import Journal
from services.executor.leases import Lease, LeaseState
from services.executor.logs import LogShipper
from services.executor.outgoing import Outgoing
from services.executor.payloads import Payloads, reference_to
from services.executor.spool import Spool
from services.executor.workers import Worker

log = structlog.get_logger(__name__)

LOG_FIRST_SECONDS = 5.0
"""How long a result waits for the rest of its log. When the blob store is slower the log follows."""
SPOOL_RETRY_SECONDS = 0.5
_OUTPUTS_WAIT = "the outputs cannot be stored yet"


class Results:
    """Takes each lease from its result to being forgotten.

    Args:
        holdings: The leases.
        journal: Remembers results until they are acknowledged.
        outgoing: Reports results.
        logs: Ships logs.
        payloads: Stores long outputs.
        spool: Keeps them until they are stored.
        on_freed: Called with the worker whose lease has ended.
    """

    def __init__(
        self,
        holdings: Holdings,
        journal: Journal,
        outgoing: Outgoing,
        logs: LogShipper,
        payloads: Payloads,
        spool: Spool,
        on_freed: Callable[[Worker], None],
    ) -> None:
        self._holdings = holdings
        self._journal = journal
        self._outgoing = outgoing
        self._logs = logs
        self._payloads = payloads
        self._spool = spool
        self._on_freed = on_freed
        self._explained: set[int] = set()
        self._storing: dict[int, asyncio.Task[None]] = {}
        self._finishing: dict[int, asyncio.Task[None]] = {}
        journal.on_trouble = self._explain_journal

    def succeed(self, lease: Lease, outputs: bytes, digest: str, peak_memory: int = 0) -> None:
        """Ends a lease with an outputs document. The first end of a lease stands."""
        if lease.is_ended or lease.is_delivered:
            return
        if self._payloads.is_inline(outputs):
            payload = Payload(inline=outputs, digest=digest)
            self._end(lease, LeaseResult(outputs=payload, peak_memory_bytes=peak_memory))
        else:
            lease.is_delivered = True
            self._start_storing(lease, self._deliver(lease, outputs, digest, peak_memory))

    async def _deliver(self, lease: Lease, outputs: bytes, digest: str, peak_memory: int) -> None:
        """Writes outputs to the disk, which ends the lease. Its worker keeps them until that is done."""
        waiting = self._outgoing.explains(lease.lease_id, _OUTPUTS_WAIT)
        said = ""
        while True:
            try:
                await asyncio.to_thread(self._spool.write, lease.lease_id, outputs)
                break
            except OSError as error:
                directory = self._spool.directory
                reason = f"they cannot be written below {directory}: {error}"
                if disk.is_full(error):
                    reason = disk.full_message(directory, len(outputs), "the outputs document")
                if not said:
                    log.error("spool.write_failed", error=reason, hint="nothing is lost; it is tried again")
                    waiting(reason)
                said = reason
            await asyncio.sleep(SPOOL_RETRY_SECONDS)
        if said:
            waiting("")
        payload = reference_to(self._key(lease), outputs, digest)
        self._storing.pop(lease.lease_id, None)
        self._end(lease, LeaseResult(outputs=payload, peak_memory_bytes=peak_memory))

    async def _store(self, lease: Lease) -> None:
        """Stores outputs that are on the disk. The result is reported behind that."""
        path = self._spool.path(lease.lease_id)
        try:
            await self._payloads.put_file(
                self._key(lease), path, self._outgoing.explains(lease.lease_id, _OUTPUTS_WAIT)
            )
        except OSError as error:
            log.error("spool.read_failed", lease=lease.lease_id, error=str(error))
            message = f"the outputs, {path} on this host, cannot be read any more: {error}"
            self._replace(lease, failures.system("OutputsLost", message))
        self._spool.remove(lease.lease_id)
        self._storing.pop(lease.lease_id, None)
        self._stored(lease)

    def _replace(self, lease: Lease, failure: Failure) -> None:
        """Ends a lease with a failure after all, whose outputs this host has lost."""
        assert lease.result is not None
        lease.result.ClearField("outputs")
        lease.result.failure.CopyFrom(failure)

    def _start_storing(self, lease: Lease, work: Coroutine[Any, Any, None]) -> None:
        self._storing[lease.lease_id] = asyncio.create_task(work)

    def is_safe(self, worker: Worker) -> bool:
        """Says whether all that a worker delivered is on the disk, so that it may end."""
        return all(
            lease.is_result_journaled
            for lease in self._holdings.leases.values()
            if lease.worker is worker and (lease.is_ended or lease.is_delivered)
        )

    @staticmethod
    def _key(lease: Lease) -> str:
        return f"{lease.prefix}/outputs.json"

    def _explain_journal(self, reason: str) -> None:
        """Shows on the actions that wait for the outbox why they do, once each, and when it is over."""
        if not reason:
            explained, self._explained = self._explained, set()
            for lease_id in explained & self._holdings.leases.keys():
                self._outgoing.progress(lease_id, "")
            return
        for lease in self._holdings.leases.values():
            is_result_stuck = lease.is_ended and not lease.is_result_journaled
            is_start_stuck = lease.is_listed and not lease.is_journaled and not lease.is_ended
            if (is_result_stuck or is_start_stuck) and lease.lease_id not in self._explained:
                self._explained.add(lease.lease_id)
                self._outgoing.progress(
                    lease.lease_id, f"the outbox of the host cannot be written yet: {reason}"
                )

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
        result.image = lease.image
        lease.result = result
        lease.state = LeaseState.ENDED
        lease.requests.clear()
        lease.cancellations.clear()
        lease.traces.clear()
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
        elif lease.lease_id in self._spool:
            self._start_storing(lease, self._store(lease))
        else:
            self._stored(lease)

    def _stored(self, lease: Lease) -> None:
        """Reports a result whose outputs the store has."""
        if self._logs.has_rest(lease) and not lease.dropped:
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
        lease.is_result_journaled = True
        if lease.lease_id in self._spool:
            self._start_storing(lease, self._store(lease))
            return
        lease.is_reported = True
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
            if lease.lease_id not in self._storing:
                self._spool.remove(lease.lease_id)

    def clear_leftovers(self) -> None:
        """Removes outputs on the disk that no lease of this host waits to store."""
        leases = self._holdings.leases.values()
        self._spool.keep({lease.lease_id for lease in leases if lease.is_ended or lease.is_delivered})

    async def reported(self, leases: Iterable[Lease]) -> list[asyncio.Task[None]]:
        """Waits until the results of ended leases are on their way, however long storing their outputs takes.

        Returns:
            Tasks that still ship logs of these leases.
        """
        leases = list(leases)
        await self._journal.settled()
        while storing := [self._storing[each.lease_id] for each in leases if each.lease_id in self._storing]:
            await asyncio.wait(storing)
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
        tasks = [*self._storing.values(), *self._finishing.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

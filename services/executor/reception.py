"""What happens when a worker connects, when its leases start, and when they end."""

import math
import time
from typing import Any

from hangar.core.v1 import failure_pb2
from hangar.core.v1.progress_pb2 import Progress
from services.executor import failures
from services.executor.dispatch import Dispatch
from services.executor.frames import Frame
from services.executor.holdings import Holdings
from services.executor.journal import Journal
from services.executor.kills import Kills
from services.executor.leases import Lease, LeaseState
from services.executor.outgoing import Outgoing
from services.executor.reaches import Reaches
from services.executor.results import Results
from services.executor.worker_server import WorkerConnection
from services.executor.workers import Worker, WorkerState

LONGEST_PROGRESS = 200
"""Characters of what user code says about its progress."""


class Reception:
    """Settles with workers what they have and what they shall do.

    Args:
        holdings: Leases and workers.
        journal: Remembers when leases started.
        outgoing: Tells the scheduler.
        results: Ends leases.
        dispatch: Sends leases.
        kills: Stops leases.
        reaches: What leases may hand on.
    """

    def __init__(
        self,
        holdings: Holdings,
        journal: Journal,
        outgoing: Outgoing,
        results: Results,
        dispatch: Dispatch,
        kills: Kills,
        reaches: Reaches,
    ) -> None:
        self._holdings = holdings
        self._journal = journal
        self._outgoing = outgoing
        self._results = results
        self._dispatch = dispatch
        self._kills = kills
        self._reaches = reaches

    def connected(self, worker: Worker, connection: WorkerConnection, hello: dict[str, Any]) -> None:
        """A worker connected: compares what it has with what it should have."""
        worker.connection = connection
        is_new = worker.state is WorkerState.STARTING
        worker.state = WorkerState.READY
        worker.connected.set()
        has = {int(entry["lease"]): entry for entry in hello.get("leases") or ()}
        for lease in list(worker.leases.values()):
            entry = has.pop(lease.lease_id, None)
            lease.is_uncertain = False
            if entry is None and lease.kill is not None and not lease.started_at:
                self._results.fail(
                    lease, failures.of_kill(lease.kill), killed=True
                )  # It never got the lease.
                continue
            if entry is None:
                # It never got the lease, or has its result and sends that again.
                self._dispatch.deliver(lease)
                continue
            lease.sent_over = connection
            self._settle(worker, lease, entry)
            self._kills.tell(lease)
        for lease_id in has:
            connection.send(
                {
                    "type": "kill",
                    "lease": lease_id,
                    "reason": "its lease is not held here any more",
                    "kind": "",
                }
            )
        if worker.stopping:
            connection.send({"type": "stop"})
        if worker.pool_key:
            if is_new:
                self._outgoing.worker(worker.status())
            self._dispatch.place(self._holdings.pool(worker.pool_key))

    @staticmethod
    def _settle(worker: Worker, lease: Lease, entry: dict[str, Any]) -> None:
        """Takes over what a worker says about a lease that it has."""
        if entry.get("parked"):
            lease.state = LeaseState.PARKED
            worker.slots.discard(lease.lease_id)
        elif lease.state is LeaseState.PARKED:
            lease.state = LeaseState.RUNNING
            worker.slots.add(lease.lease_id)

    def started(self, frame: Frame) -> None:
        """User code of a lease has started."""
        lease = self._holdings.leases.get(int(frame.header["lease"]))
        if lease is not None:
            self._begin(lease)

    def runs(self, worker: Worker) -> None:
        """A program of an image runs: its lease has started."""
        if worker.state is WorkerState.STARTING:
            worker.state = WorkerState.READY
        worker.connected.set()
        for lease in list(worker.leases.values()):
            lease.is_uncertain = False
            self._begin(lease)

    def _begin(self, lease: Lease) -> None:
        if lease.is_ended or lease.worker is None:
            return
        if lease.state is LeaseState.GIVEN:
            lease.state = LeaseState.RUNNING
        if not lease.started_at:
            lease.started_at = time.time_ns()
            self._journal.pending.started.append((lease.started_at, lease.lease_id))
            self._journal.commit_later()
            self._outgoing.started(lease.lease_id, lease.worker_id, lease.started_at, lease.image)

    def progress(self, frame: Frame) -> None:
        """User code says how far it is."""
        header = frame.header
        lease = self._holdings.leases.get(int(header["lease"]))
        if lease is None or lease.is_ended:
            return
        done, total = float(header["done"]), float(header["total"])
        if not (0 <= done < math.inf and 0 <= total < math.inf):
            raise ValueError("progress must be finite and not negative")
        message = str(header["message"])[:LONGEST_PROGRESS]
        lease.progress = Progress(done=done, total=total, message=message)
        self._outgoing.user_progress(lease.lease_id, lease.progress)

    def result(self, connection: WorkerConnection, frame: Frame) -> None:
        """A lease has ended."""
        header = frame.header
        lease = self._holdings.leases.get(int(header["lease"]))
        if lease is None or lease.is_ended:
            if lease is None or lease.is_result_journaled:
                connection.send({"type": "ack", "lease": int(header["lease"])})
            return
        if _is_stopped(lease, frame):
            self._kills.wait_for_worker(lease)
            return
        peak_memory = int(header.get("peak_memory") or 0)
        failure = header.get("failure")
        if failure is not None:
            self._results.fail(
                lease,
                failures.from_header(failure, lease.worker_id),
                killed=bool(header.get("killed")),
                peak_memory=peak_memory,
            )
        elif refusal := self._reaches.refusal(lease, frame.body, "the outputs"):
            self._results.fail(lease, refusal, peak_memory=peak_memory)
        else:
            self._results.succeed(lease, frame.body, str(header["digest"]), peak_memory)


def _is_stopped(lease: Lease, frame: Frame) -> bool:
    """Says whether a result is one of a kill that only the end of the lease's own worker confirms.

    Outputs in spite of an abort are nobody's any more; in spite of a timeout or a preemption they stand.
    """
    if lease.is_shared:
        return False
    is_aborted = lease.kill is not None and lease.kill.kind == failure_pb2.FAILURE_KIND_UNSPECIFIED
    return bool(frame.header.get("killed")) or is_aborted

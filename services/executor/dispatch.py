"""Brings leases to workers: journals an assignment, finds a worker, sends the run frame."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from hangar.scheduler.v1.node_service_pb2 import Assignment
from services.common.errors import NotFound
from services.executor import failures
from services.executor.frames import MAX_DOCUMENT_BYTES
from services.executor.holdings import Holdings
from services.executor.journal import Journal
from services.executor.leases import Lease, LeaseState
from services.executor.outbox import LeaseRow
from services.executor.outgoing import Outgoing
from services.executor.payloads import Payloads
from services.executor.pools import Pool
from services.executor.reaches import Reaches
from services.executor.results import Results
from services.executor.worker_server import WorkerConnection
from services.executor.workers import Worker


class Dispatch:
    """Takes assignments to the workers that carry them out.

    Args:
        holdings: Leases, workers and pools.
        journal: Remembers assignments, and to which worker each one went, before the worker gets it.
        payloads: Fetches inputs.
        results: Ends leases whose inputs are gone.
        outgoing: Shows why inputs are waited for.
        reaches: Learns what long inputs refer to.
        blobs_url: Where raw data of attempts goes.
        new_worker: Makes the worker of a lease that needs one of its own.
        start_worker: Starts it.
    """

    def __init__(
        self,
        holdings: Holdings,
        journal: Journal,
        payloads: Payloads,
        results: Results,
        outgoing: Outgoing,
        reaches: Reaches,
        blobs_url: str,
        new_worker: Callable[[Lease], Worker],
        start_worker: Callable[[Worker], None],
    ) -> None:
        self._holdings = holdings
        self._journal = journal
        self._payloads = payloads
        self._results = results
        self._outgoing = outgoing
        self._reaches = reaches
        self._blobs_url = blobs_url.rstrip("/")
        self._new_worker = new_worker
        self._start_worker = start_worker
        self._fetching: set[asyncio.Task[None]] = set()
        self._headers: dict[str, dict[str, Any]] = {}

    def assign(self, assignments: Iterable[Assignment]) -> None:
        """Accepts assignments. One that is known already changes nothing."""
        accepted = [
            Lease(assignment, self._holdings.specs[assignment.spec_digest])
            for assignment in assignments
            if assignment.lease_id not in self._holdings.leases
        ]
        pools: set[Pool] = set()
        for lease in accepted:
            self._holdings.leases[lease.lease_id] = lease
            if lease.is_shared:
                pool = self._holdings.pool(lease.assignment.pool_key)
                pool.enqueue(lease)
                pools.add(pool)
            else:
                self._new_worker(lease).give(lease)
        for pool in pools:
            self.place(pool)
        for lease in accepted:
            lease.is_listed = True
            worker_id = lease.worker.worker_id if lease.worker is not None else 0
            row = LeaseRow(lease.lease_id, lease.assignment.SerializeToString(), worker_id)
            self._journal.pending.leases.append(row)
        if accepted:
            self._journal.commit_soon(lambda: self._journaled(accepted))

    def _journaled(self, leases: list[Lease]) -> None:
        for lease in leases:
            if lease.state is not LeaseState.GIVEN or lease.worker is None:
                continue
            lease.is_journaled = True
            if not lease.is_shared:
                if lease.kill is not None:
                    continue  # It was stopped before its worker was started; that ends without one.
                self._start_worker(lease.worker)
            self.deliver(lease)

    def place(self, pool: Pool) -> None:
        """Gives leases that wait for the pool to its free slots. New ones are journaled by `assign`."""
        placed: list[Lease] = []
        while (placement := pool.next_placement()) is not None:
            worker, lease = placement
            if lease.is_listed:
                self._journal.pending.placed.append((worker.worker_id, lease.lease_id))
                placed.append(lease)
        if placed:
            self._journal.commit_soon(lambda: self._journaled(placed))

    def deliver(self, lease: Lease) -> None:
        """Sends a lease to its worker, unless that was done over the same connection or there is none yet."""
        worker = lease.worker
        if worker is None or worker.connection is None or not worker.has_code:
            return
        connection = worker.connection
        if connection is lease.sent_over or lease.is_uncertain or not lease.is_journaled:
            return
        lease.sent_over = connection
        if lease.assignment.inputs.WhichOneof("data") == "reference":
            task = asyncio.create_task(self._fetch_and_send(lease, connection))
            self._fetching.add(task)
            task.add_done_callback(self._fetching.discard)
        else:
            connection.send(self._run_header(lease), lease.assignment.inputs.inline)

    def deliver_all(self, worker: Worker) -> None:
        """Sends a worker its leases, as far as it does not have them."""
        for lease in list(worker.leases.values()):
            self.deliver(lease)

    async def _fetch_and_send(self, lease: Lease, connection: WorkerConnection) -> None:
        try:
            waiting = self._outgoing.explains(lease.lease_id, "the inputs cannot be fetched yet")
            document = await self._payloads.fetch(lease.assignment.inputs, waiting)
        except NotFound as error:
            self._results.fail(
                lease, failures.system("InputsMissing", f"the inputs are gone: {error.message}")
            )
            return
        if len(document) > MAX_DOCUMENT_BYTES:
            limit = f"{len(document)} bytes, {MAX_DOCUMENT_BYTES} is the most"
            message = f"the inputs have {limit}: pass files instead"
            self._results.fail(lease, failures.system("InputsTooLong", message))
        elif not lease.is_ended:
            self._reaches.learn(lease, document)
            connection.send(self._run_header(lease), document)

    def _run_header(self, lease: Lease) -> dict[str, Any]:
        assignment, worker = lease.assignment, lease.worker
        assert worker is not None
        run, context = assignment.action.run, assignment.context
        base = f"{self._blobs_url}/{lease.prefix}"
        return {
            **self._task_header(assignment.spec_digest, lease),
            "lease": lease.lease_id,
            "run": {"project": run.project, "domain": run.domain, "name": run.name},
            "action": assignment.action.name,
            "attempt": assignment.attempt,
            "user_attempt": assignment.user_attempt,
            "replays": assignment.replays,
            "code_dir": worker.code_dir,
            "env_vars": {**lease.spec.env_vars, **context.env_vars},
            "traceparent": context.traceparent,
            "labels": dict(context.labels),
            "custom_context": dict(assignment.custom_context or context.custom_context),
            "run_custom_context": dict(context.custom_context),
            "raw_data_path": f"{base}/data",
            "output_path": f"{base}/outputs.json",
            "log_path": worker.log_path(lease.lease_id),
        }

    def _task_header(self, digest: str, lease: Lease) -> dict[str, Any]:
        """Returns the part of the header that is the same for all leases of a definition."""
        header = self._headers.get(digest)
        if header is None:
            code = lease.spec.code
            header = self._headers[digest] = {
                "type": "run",
                "task": lease.spec.name,
                "module": code.module,
                "attribute": code.attribute,
                "python_path": list(code.python_path),
                "bundle_digest": code.bundle_digest,
                "version": code.version,
                "pickle": code.pickle,
                "max_inline_io_bytes": lease.spec.max_inline_io_bytes,
            }
        return header

    async def close(self) -> None:
        """Stops fetching inputs."""
        for task in list(self._fetching):
            task.cancel()
        if self._fetching:
            await asyncio.wait(list(self._fetching))

"""Children of running leases: requests to the scheduler, outcomes back, and parking."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from typing import Any

import structlog
from google.protobuf import json_format

from hangar.core.v1.action_kind_pb2 import ActionKind
from hangar.core.v1.failure_pb2 import Failure
from hangar.core.v1.phase_pb2 import Phase
from hangar.core.v1.task_spec_pb2 import TaskSpec
from hangar.scheduler.v1.node_service_pb2 import ChildOutcome, ChildRequest, InputSource
from services.common.errors import NotFound
from services.executor import failures
from services.executor.frames import MAX_DOCUMENT_BYTES, Frame, FrameError
from services.executor.holdings import Holdings
from services.executor.leases import Lease, LeaseState
from services.executor.logs import LogShipper
from services.executor.outgoing import Outgoing
from services.executor.payloads import Payloads
from services.executor.reaches import Reaches
from services.executor.traces import Traces
from services.executor.worker_server import WorkerConnection
from services.executor.workers import Worker

log = structlog.get_logger(__name__)

FRAME_BYTES = 8 * 1024 * 1024
"""About the size of the longest frame of several outcomes."""
KINDS = {
    "trace": ActionKind.ACTION_KIND_TRACE,
    "condition": ActionKind.ACTION_KIND_CONDITION,
    "sleep": ActionKind.ACTION_KIND_SLEEP,
}
"""What children are in frames of workers; those that do not say it are tasks."""
PHASE_NAMES = {number: name.removeprefix("PHASE_").lower() for name, number in Phase.items()}


class Children:
    """Passes on what running leases ask for and what becomes of it.

    Args:
        holdings: The leases.
        outgoing: Asks the scheduler.
        payloads: Stores and fetches documents.
        logs: Ships what a lease printed before it parks.
        reaches: What leases may hand on; learns what outcomes refer to.
        traces: Takes traced calls that go ahead.
    """

    def __init__(
        self,
        holdings: Holdings,
        outgoing: Outgoing,
        payloads: Payloads,
        logs: LogShipper,
        reaches: Reaches,
        traces: Traces,
    ) -> None:
        self._holdings = holdings
        self._outgoing = outgoing
        self._payloads = payloads
        self._logs = logs
        self._reaches = reaches
        self._traces = traces
        self._moving: set[asyncio.Task[None]] = set()

    # -- from workers

    def spec(self, connection: WorkerConnection, frame: Frame) -> None:
        """A worker defines a task that children will name.

        Raises:
            FrameError: The definition is not one.
        """
        try:
            spec = json_format.ParseDict(frame.header["spec"], TaskSpec(), ignore_unknown_fields=True)
        except (json_format.ParseError, KeyError) as error:
            raise FrameError(f"the definition of a task is wrong: {error}") from error
        digest = hashlib.blake2b(spec.SerializeToString(deterministic=True), digest_size=16).hexdigest()
        self._holdings.child_specs.setdefault(digest, spec)
        connection.specs[str(frame.header["key"])] = digest

    def request(self, connection: WorkerConnection, frame: Frame) -> None:
        """Leases ask for children. Those that were asked for and have no outcome are on their way already."""
        position = 0
        refused: list[ChildOutcome] = []
        for child in frame.header["children"]:
            end = position + int(child["size"])
            document, position = frame.body[position:end], end
            lease = self._holdings.leases.get(int(child["lease"]))
            if lease is None or lease.is_ended or child["key"] in lease.requests:
                continue
            request = ChildRequest(
                parent_lease_id=lease.lease_id,
                key=child["key"],
                spec_key=connection.specs[str(child["spec"])],
                group=child.get("group") or "",
                cache_key=child.get("cache_key") or "",
                sources=[InputSource(input=name, key=key) for name, key in child.get("sources") or ()],
                custom_context=child.get("custom_context") or {},
            )
            request.inputs.digest = child["digest"]
            kind = child.get("kind")
            if kind:
                request.kind = KINDS[str(kind)]
                request.wait.FromMicroseconds(int(child.get("wait") or 0))
                if child.get("began"):
                    self._traces.began(lease, request, document)
                    continue
            lease.requests[request.key] = request
            refusal = self._reaches.refusal(lease, document, "the inputs of a child")
            if refusal is not None:
                refused.append(_refused(lease, request.key, refusal))
            elif self._payloads.is_inline(document):
                request.inputs.inline = document
                self._ask(request)
            else:
                self._in_background(self._store_and_ask(lease, request, document))
        if refused:
            self.outcomes(refused)

    async def _store_and_ask(self, lease: Lease, request: ChildRequest, document: bytes) -> None:
        key = f"{lease.prefix}/children/{request.key}.json"
        waiting = self._outgoing.explains(lease.lease_id, "the inputs of a child cannot be stored yet")
        payload = await self._payloads.store(key, document, request.inputs.digest, waiting)
        request.inputs.CopyFrom(payload)
        if lease.requests.get(request.key) is request:
            self._ask(request)
            if request.key in lease.cancellations:
                self._outgoing.cancellation(lease.lease_id, request.key)
            self._park_again(lease)  # The scheduler could not count this child when the lease parked.

    def _park_again(self, lease: Lease) -> None:
        """Says that a lease is parked, in case that the scheduler believes that it runs."""
        if lease.state is LeaseState.PARKED:
            self._outgoing.park(lease.lease_id, lease.awaiting)

    def _ask(self, request: ChildRequest) -> None:
        self._outgoing.child(request, self._holdings.child_specs[request.spec_key])

    def cancel(self, frame: Frame) -> None:
        """A lease no longer wants a child."""
        lease = self._holdings.leases.get(int(frame.header["lease"]))
        key = str(frame.header["key"])
        if lease is not None and not lease.is_ended and key in lease.requests:
            lease.cancellations.add(key)
            self._outgoing.cancellation(lease.lease_id, key)

    def park(self, frame: Frame) -> None:
        """A lease waits for children only. A park that an outcome has overtaken is ignored."""
        lease = self._holdings.leases.get(int(frame.header["lease"]))
        if lease is None or lease.state not in {LeaseState.RUNNING, LeaseState.PARKED}:
            return
        if int(frame.header["awaiting"]) != lease.awaiting:
            return
        lease.state = LeaseState.PARKED
        if lease.worker is not None:
            lease.worker.slots.discard(lease.lease_id)
        self._outgoing.park(lease.lease_id, lease.awaiting)
        if self._logs.has_rest(lease):
            self._logs.ship(lease)

    # -- from the scheduler

    def outcomes(self, outcomes: Iterable[ChildOutcome]) -> None:
        """Children ended. Those of one worker go to it in one frame."""
        ready: dict[WorkerConnection, list[tuple[ChildOutcome, bytes]]] = defaultdict(list)
        for outcome in outcomes:
            lease = self._holdings.leases.get(outcome.parent_lease_id)
            if lease is None or lease.is_ended:
                continue
            if outcome.key not in lease.requests:
                self._park_again(lease)  # Nothing goes on with it here, as the scheduler believes it does.
                continue
            if outcome.outputs.WhichOneof("data") == "reference":
                self._in_background(self._fetch_and_deliver(lease, outcome))
                continue
            self._reaches.learn(lease, outcome.outputs.inline)
            if self._hold(lease, outcome, outcome.outputs.inline):
                continue
            connection = self._take(lease, outcome)
            if connection is not None:
                ready[connection].append((outcome, outcome.outputs.inline))
        for connection, batch in ready.items():
            _send_all(connection, batch)

    async def _fetch_and_deliver(self, lease: Lease, outcome: ChildOutcome) -> None:
        try:
            waiting = self._outgoing.explains(lease.lease_id, "the outputs of a child cannot be fetched yet")
            document = await self._payloads.fetch(outcome.outputs, waiting)
        except NotFound as error:
            document = b""
            outcome = _failed(
                outcome, "OutputsMissing", f"the outputs of the child are gone: {error.message}"
            )
        if len(document) > MAX_DOCUMENT_BYTES:
            limit = f"{len(document)} bytes, {MAX_DOCUMENT_BYTES} is the most"
            message = f"the outputs of the child have {limit}: return files instead"
            outcome, document = _failed(outcome, "OutputsTooLong", message), b""
        if lease.is_ended or outcome.key not in lease.requests:
            return
        self._reaches.learn(lease, document)
        if self._hold(lease, outcome, document):
            return
        connection = self._take(lease, outcome)
        if connection is not None:
            _send(connection, [(outcome, document)])

    def _hold(self, lease: Lease, outcome: ChildOutcome, document: bytes) -> bool:
        """Keeps an outcome for a parked lease whose slot another one has now. False when it may have it."""
        worker = lease.worker
        if worker is None or lease.state is not LeaseState.PARKED or not lease.is_shared:
            return False
        if len(worker.slots) < worker.concurrency and not lease.held_outcomes:
            return False
        lease.held_outcomes[outcome.key] = outcome, document
        worker.resuming[lease.lease_id] = lease
        self.resume(worker)
        return True

    def resume(self, worker: Worker) -> None:
        """Gives free slots of a worker to its parked leases whose children ended. They go before new leases."""
        while worker.resuming and len(worker.slots) < worker.concurrency:
            lease = worker.resuming.pop(next(iter(worker.resuming)))
            held, lease.held_outcomes = lease.held_outcomes, {}
            wanted = [each for each in held.values() if not lease.is_ended and each[0].key in lease.requests]
            batch = [(self._take(lease, outcome), outcome, document) for outcome, document in wanted]
            sent = [(outcome, document) for connection, outcome, document in batch if connection is not None]
            if sent and worker.connection is not None:
                _send_all(worker.connection, sent)

    def _take(self, lease: Lease, outcome: ChildOutcome) -> WorkerConnection | None:
        """Notes an outcome, which makes its lease run again, and returns where to send it."""
        request = lease.requests.pop(outcome.key)
        if outcome.phase == Phase.PHASE_RUNNING:
            self._traces.may_begin(lease, request)
        lease.cancellations.discard(outcome.key)
        worker = lease.worker
        if worker is None or worker.connection is None:
            return None  # The worker asks again when it connects.
        if lease.state is LeaseState.PARKED:
            lease.state = LeaseState.RUNNING
            worker.slots.add(lease.lease_id)
        return worker.connection

    def ask_again(self, lease: Lease) -> None:
        """Says in a new session what a lease still waits for."""
        for request in lease.requests.values():
            if request.inputs.WhichOneof("data") is not None:
                self._ask(request)
        for key in lease.cancellations:
            self._outgoing.cancellation(lease.lease_id, key)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._moving.add(task)
        task.add_done_callback(self._moving.discard)

    async def close(self) -> None:
        """Stops moving documents."""
        for task in list(self._moving):
            task.cancel()
        if self._moving:
            await asyncio.wait(list(self._moving))


def _refused(lease: Lease, key: str, failure: Failure) -> ChildOutcome:
    """Returns the outcome of a child that is not asked for."""
    return ChildOutcome(parent_lease_id=lease.lease_id, key=key, phase=Phase.PHASE_FAILED, failure=failure)


def _failed(outcome: ChildOutcome, code: str, message: str) -> ChildOutcome:
    """Returns the outcome of a child whose outputs its parent cannot have."""
    return ChildOutcome(
        parent_lease_id=outcome.parent_lease_id,
        key=outcome.key,
        action_name=outcome.action_name,
        phase=Phase.PHASE_FAILED,
        failure=failures.system(code, message),
    )


def _send_all(connection: WorkerConnection, batch: list[tuple[ChildOutcome, bytes]]) -> None:
    """Sends outcomes in as few frames as hold them."""
    part: list[tuple[ChildOutcome, bytes]] = []
    size = 0
    for outcome, document in batch:
        if part and size + len(document) > FRAME_BYTES:
            _send(connection, part)
            part, size = [], 0
        part.append((outcome, document))
        size += len(document) + 200
    _send(connection, part)


def _send(connection: WorkerConnection, batch: list[tuple[ChildOutcome, bytes]]) -> None:
    headers: list[dict[str, Any]] = []
    for outcome, document in batch:
        header: dict[str, Any] = {
            "lease": outcome.parent_lease_id,
            "key": outcome.key,
            "action": outcome.action_name,
            "phase": PHASE_NAMES[outcome.phase],
            "size": len(document),
        }
        if outcome.HasField("failure"):
            header["failure"] = failures.to_header(outcome.failure)
        headers.append(header)
    connection.send({"type": "outcomes", "outcomes": headers}, b"".join(document for _, document in batch))

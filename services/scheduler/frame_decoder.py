"""Frames of executors as events of the core."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from hangar.core.v1.failure_pb2 import Failure as FailureProto
from hangar.core.v1.failure_pb2 import FailureKind
from hangar.core.v1.progress_pb2 import Progress
from hangar.scheduler.v1.node_service_pb2 import (
    ChildRequest,
    Hello,
    LeaseResult,
    NodeSessionRequest,
    TraceResult,
)
from services.common.errors import InvalidArgument
from services.scheduler.convert import KIND, failure_of, inventory_of, worker_state_of
from services.scheduler.core import effects as fx
from services.scheduler.core import events as ev
from services.scheduler.core.model import Kind
from services.scheduler.documents import document_of
from services.scheduler.frames import AcknowledgeLog, ChildRefused
from services.scheduler.rows import Row
from services.scheduler.specs import Spec, Specs
from services.scheduler.validation import LONGEST_NAME, check_spec, texts_problem

_log = structlog.get_logger(__name__)

CACHE_KEY = re.compile(r"[0-9a-f]{16,64}")
"""What a digest that names a result looks like."""
_LONGEST_WAIT = 100 * 365 * 86_400 * 1_000_000
_CHILD_KEY = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(slots=True)
class Decoded:
    """What a frame says."""

    events: list[ev.Event] = field(default_factory=list)
    released: list[AcknowledgeLog | ChildRefused | fx.AcknowledgeTrace] = field(default_factory=list)
    """What is to be sent back once the frame's changes are durable."""
    log_chunks: list[Row] = field(default_factory=list)
    children: list[tuple[ev.ChildRequested, str]] = field(default_factory=list)
    """Those of the events that ask for children, each with what its result is kept under; empty when it is not."""
    progress: list[tuple[int, str]] = field(default_factory=list)
    """Lease ids and what their preparation is doing."""
    user_progress: list[tuple[int, Progress]] = field(default_factory=list)
    images: dict[int, str] = field(default_factory=dict)
    """What workers were started from."""
    """Lease ids and how far their user code is."""


class FrameDecoder:
    """Decodes the frames of one session.

    Args:
        node: Name of the node.
        session: Number of the session.
        specs: Gets the definitions that come with the frames.
    """

    def __init__(self, node: str, session: int, specs: Specs) -> None:
        self._node = node
        self._session = session
        self._specs = specs
        self._keyed: dict[str, Spec | InvalidArgument] = {}

    def decode_hello(self, hello: Hello) -> ev.NodeConnected:
        """Returns the event of a new session."""
        return ev.NodeConnected(
            node=self._node,
            session=self._session,
            boot_id=hello.boot_id,
            inventory=inventory_of(hello),
            workers=[
                ev.HeldWorker(worker.worker_id, worker_state_of(worker.state), worker.pool_key)
                for worker in hello.workers
            ],
            leases=[
                ev.HeldLease(lease.lease_id, lease.started, lease.parked, lease.worker_id)
                for lease in hello.leases
            ],
            labels=dict(hello.labels),
        )

    def decode(self, frame: NodeSessionRequest, now: int) -> Decoded:
        """Returns what a frame says, in the order of its fields, but traces before results.

        Args:
            frame: The frame. Its Hello is not looked at.
            now: Current time in microseconds, for what has no time.
        """
        node = self._node
        decoded = Decoded()
        events = decoded.events
        events.append(ev.NodeHeartbeat(node, self._session))
        for started in frame.started:
            at = _micros(started.started_at) or now
            events.append(ev.LeaseStarted(node, started.lease_id, started.worker_id, at))
            if started.image:
                decoded.images[started.worker_id] = started.image
        for keyed in frame.specs:
            try:
                check_spec(keyed.spec)
                self._keyed[keyed.key] = self._specs.add(keyed.spec)
            except InvalidArgument as error:
                self._keyed[keyed.key] = error
        for child in frame.children:
            self._decode_child(child, decoded)
        for cancelled in frame.cancellations:
            events.append(ev.ChildCancelled(node, cancelled.parent_lease_id, cancelled.key))
        for park in frame.parks:
            events.append(ev.LeaseParked(node, park.lease_id, park.awaiting))
        for trace in frame.traces:
            self._decode_trace(trace, decoded, now)
        for result in frame.results:
            events.append(self._decode_result(result, now))
            if result.image:
                decoded.images[result.worker_id] = result.image
        for worker in frame.workers:
            failure = failure_of(worker.failure) if worker.HasField("failure") else None
            events.append(ev.WorkerReported(node, worker.worker_id, worker_state_of(worker.state), failure))
        for chunk in frame.logs:
            decoded.log_chunks.append(_log_chunk(chunk))
            decoded.released.append(AcknowledgeLog(node, chunk.key.lease_id, chunk.key.index))
        decoded.progress.extend((progress.lease_id, progress.detail) for progress in frame.progress)
        decoded.user_progress.extend((each.lease_id, each.progress) for each in frame.user_progress)
        return decoded

    def _decode_child(self, child: ChildRequest, decoded: Decoded) -> None:
        event = self._child(child)
        if isinstance(event, str):
            failure = FailureProto(
                kind=FailureKind.FAILURE_KIND_USER,
                code="InvalidTask",
                message=f"The task cannot be run: {event}.",
                non_recoverable=True,
            )
            decoded.released.append(ChildRefused(self._node, child.parent_lease_id, child.key, failure))
            return
        decoded.events.append(event)
        decoded.children.append((event, child.cache_key if event.kind is Kind.TASK else ""))

    def _decode_trace(self, trace: TraceResult, decoded: Decoded, now: int) -> None:
        request = trace.request
        event = self._child(request)
        if isinstance(event, str):
            _log.warning("trace.refused", node=self._node, lease=request.parent_lease_id, reason=event)
            decoded.released.append(fx.AcknowledgeTrace(self._node, request.parent_lease_id, request.key))
            return
        failure = failure_of(trace.failure) if trace.HasField("failure") else None
        outputs = document_of(trace.outputs) if failure is None and not trace.abandoned else None
        ended_at = _micros(trace.ended_at) or now
        decoded.events.append(ev.TraceEnded(event, failure, outputs, ended_at, trace.abandoned))

    def _child(self, child: ChildRequest) -> ev.ChildRequested | str:
        """The event of a request, or why it cannot be."""
        spec = self._keyed.get(child.spec_key)
        kind = KIND.get(child.kind)
        wait = child.wait.ToMicroseconds()
        problem = ""
        if spec is None:
            problem = f"its definition {child.spec_key!r} was not sent in this session"
        elif isinstance(spec, InvalidArgument):
            problem = spec.message
        elif not _CHILD_KEY.fullmatch(child.key):
            problem = f"its key {child.key!r} must be 1 to 63 lower-case letters, digits and hyphens"
        elif any(max(len(source.input), len(source.key)) > LONGEST_NAME for source in child.sources):
            problem = f"the names of its inputs must have up to {LONGEST_NAME} characters"
        elif (trouble := texts_problem(child.custom_context)) is not None:
            problem = f"its custom_context {trouble}"
        elif child.cache_key and not CACHE_KEY.fullmatch(child.cache_key):
            problem = f"its cache_key {child.cache_key!r} must be 16 to 64 lower-case hex digits"
        elif kind is None:
            problem = f"its kind {child.kind} is not known here"
        elif not 0 <= wait <= _LONGEST_WAIT:
            problem = f"its wait of {wait / 1_000_000:g} s must be 0 to {_LONGEST_WAIT // 1_000_000} s"
        elif kind is Kind.CONDITION and len(spec.message.interface.outputs) != 1:
            problem = "a condition must have one output"
        if problem or spec is None or isinstance(spec, InvalidArgument) or kind is None:
            return problem
        return ev.ChildRequested(
            self._node,
            child.parent_lease_id,
            child.key,
            spec.task,
            spec,
            document_of(child.inputs),
            child.group,
            tuple((source.input, source.key) for source in child.sources),
            kind=kind,
            wait=wait,
            began_at=_micros(child.began_at),
            custom_context=_json(child.custom_context),
        )

    def _decode_result(self, result: LeaseResult, now: int) -> ev.LeaseEnded:
        failure = failure_of(result.failure) if result.HasField("failure") else None
        return ev.LeaseEnded(
            self._node,
            result.lease_id,
            failure,
            document_of(result.outputs) if failure is None else None,
            result.killed,
            _micros(result.ended_at) or now,
            _micros(result.started_at),
            result.worker_id,
            result.peak_memory_bytes,
            result.cpu_millis,
        )


def _json(texts: Mapping[str, str]) -> str:
    return json.dumps(dict(texts), sort_keys=True) if texts else ""


def _micros(moment: Timestamp) -> int:
    """A time in microseconds, 0 for one that is not set."""
    return moment.seconds * 1_000_000 + moment.nanos // 1000


def _log_chunk(chunk: Any) -> Row:
    return {
        "lease_id": chunk.key.lease_id,
        "index": chunk.key.index,
        "blob_key": chunk.blob.key,
        "size": chunk.blob.size,
        "lines": chunk.lines,
        "first_at": _micros(chunk.first_at) or None,
    }

"""Frames to executors: what was released by one commit, batched per node."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hangar.core.v1.failure_pb2 import Failure
from hangar.core.v1.phase_pb2 import Phase as PhaseProto
from hangar.core.v1.task_spec_pb2 import Image
from hangar.scheduler.v1.node_service_pb2 import NodeSessionResponse
from services.scheduler.convert import FAILURE_KIND_NUMBER, PHASE_NUMBER
from services.scheduler.core import effects as fx
from services.scheduler.core.model import Phase
from services.scheduler.documents import Document, Payloads
from services.scheduler.sessions import Session, Sessions
from services.scheduler.shell import Assignment
from services.scheduler.specs import Specs

_FRAME_BYTES = 4 * 1024 * 1024
_OF_SESSIONS = frozenset({fx.Welcome, fx.CloseSession})
_SUCCEEDED = PHASE_NUMBER[Phase.SUCCEEDED]
_RUNNING = PHASE_NUMBER[Phase.RUNNING]


@dataclass(frozen=True, slots=True)
class ChildRefused:
    """A child that cannot be run, because its definition is wrong: the parent is told so."""

    node: str
    lease_id: int
    key: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class AcknowledgeLog:
    """A log chunk is durable."""

    node: str
    lease_id: int
    index: int


@dataclass(frozen=True, slots=True)
class PrepareImage:
    """Software that a host may prepare before a task needs it."""

    node: str
    image: Image


class PayloadReader(Protocol):
    """What frames need from the ledger when it is not in memory; `Store` has it."""

    def inputs(self, action_ids: Sequence[int]) -> dict[int, Document]:
        """Returns inputs of actions."""

    def outcomes(self, action_ids: Sequence[int]) -> tuple[dict[int, Document], dict[int, Failure]]:
        """Returns outputs of actions, and how the others failed."""

    def spec(self, digest: str) -> bytes | None:
        """Returns a serialised task definition."""


Read = Callable[..., Awaitable[Any]]


class Frames:
    """Makes frames of effects and puts them out to the sessions.

    Args:
        sessions: Where frames go. What is for a node without a session is dropped: its Hello settles it.
        specs: Definitions.
        payloads: Inputs and outputs in memory.
        reader: Has the others.
        read: Calls the reader in a thread.
        welcome: Generation and heartbeat interval in milliseconds, for Welcome.
    """

    def __init__(
        self,
        sessions: Sessions,
        specs: Specs,
        payloads: Payloads,
        reader: PayloadReader,
        read: Read,
        welcome: tuple[int, int],
    ) -> None:
        self._sessions = sessions
        self._specs = specs
        self._payloads = payloads
        self._reader = reader
        self._read = read
        self._generation, self._heartbeat_millis = welcome
        self._handlers: dict[type, Callable[[_Frame, Any], None]] = {
            Assignment: self._assign,
            ChildRefused: self._refuse,
            AcknowledgeLog: self._acknowledge_log,
            PrepareImage: self._prepare_image,
            fx.SendOutcome: self._outcome,
            fx.Kill: self._kill,
            fx.AcknowledgeResult: self._acknowledge,
            fx.AcknowledgeTrace: self._acknowledge_trace,
            fx.StartWorker: self._start_worker,
            fx.StopWorker: self._stop_worker,
        }

    async def release(self, effects: Iterable[Any]) -> None:
        """Puts out what is for nodes; other effects are left alone."""
        for_nodes = [each for each in effects if type(each) in self._handlers or type(each) in _OF_SESSIONS]
        if not for_nodes:
            return
        found = await self._find(for_nodes)
        frames: dict[str, _Frame] = {}
        for effect in for_nodes:
            node = effect.effect.node if type(effect) is Assignment else effect.node
            if type(effect) is fx.Welcome:
                self._welcome(effect, frames)
                continue
            if type(effect) is fx.CloseSession:
                self._close(effect, frames)
                continue
            frame = frames.get(node)
            if frame is None:
                session = self._sessions.of(node)
                if session is None or not session.is_welcomed:
                    continue
                frame = frames[node] = _Frame(session, found)
            self._handlers[type(effect)](frame, effect)
        for frame in frames.values():
            frame.flush()

    async def _find(self, effects: Iterable[Any]) -> _Found:
        """Collects what frames carry; what is not in memory is read from the ledger, in one query each."""
        found = _Found({}, {}, {}, {})
        inputs: list[int] = []
        outcomes: list[int] = []
        for effect in effects:
            if type(effect) is Assignment:
                action = effect.action
                if not _found(found.inputs, action.id, self._payloads.inputs.get(action.id)):
                    inputs.append(action.id)
                _found(found.specs, action.spec_digest, self._specs.get(action.spec_digest))
            elif type(effect) is fx.SendOutcome and effect.phase is not Phase.RUNNING:
                child = effect.action_id
                if not _found(found.outputs, child, self._payloads.outputs.get(child)) and not _found(
                    found.failures, child, self._payloads.failure(child)
                ):
                    outcomes.append(child)
            elif type(effect) is fx.StartWorker:
                _found(found.specs, effect.spec_digest, self._specs.get(effect.spec_digest))
        for digest in [digest for digest, spec in found.specs.items() if spec is None]:
            found.specs[digest] = self._specs.add_serialised(await self._read(self._reader.spec, digest))
        if inputs:
            found.inputs.update(await self._read(self._reader.inputs, inputs))
        if outcomes:
            outputs, failures = await self._read(self._reader.outcomes, outcomes)
            found.outputs.update(outputs)
            found.failures.update(failures)
        return found

    def _welcome(self, effect: fx.Welcome, frames: dict[str, _Frame]) -> None:
        session = self._sessions.of(effect.node)
        if session is None or session.number != effect.session:
            return
        frames.pop(effect.node, None)  # what was meant for an older session
        session.is_welcomed = True
        frame = NodeSessionResponse()
        frame.welcome.generation = self._generation
        frame.welcome.heartbeat_interval_millis = self._heartbeat_millis
        frame.welcome.dropped_leases.extend(effect.dropped_leases)
        frame.welcome.dropped_workers.extend(effect.dropped_workers)
        session.send(frame)

    def _close(self, effect: fx.CloseSession, frames: dict[str, _Frame]) -> None:
        session = self._sessions.of(effect.node)
        if session is not None and session.number == effect.session:
            frames.pop(effect.node, None)
            self._sessions.close(session)

    def _assign(self, frame: _Frame, assignment: Assignment) -> None:
        effect, action = assignment.effect, assignment.action
        self._define(frame, action.spec_digest)
        document = frame.found.inputs[action.id]
        run = action.run
        message = frame.message.assignments.add(
            lease_id=effect.lease_id,
            attempt=effect.number,
            spec_digest=action.spec_digest,
            pool_key=effect.pool_key,
            worker_id=effect.worker_id,
            gpu_uuids=effect.gpu_uuids,
            context=run.context,
            user_attempt=effect.user_attempt,
            replays=effect.replays or bool(run.sources),
        )
        message.action.run.CopyFrom(run.identifier)
        message.action.name = action.name
        message.context.traceparent = f"00-{run.trace_id}-{assignment.span_id}-01"
        if action.custom_context:
            message.custom_context.update(json.loads(action.custom_context))
        document.write_to(message.inputs)
        frame.grow(300 + (len(document.inline) if document.inline else 0))

    def _outcome(self, frame: _Frame, effect: fx.SendOutcome) -> None:
        phase = PHASE_NUMBER[effect.phase]
        message = frame.message.child_outcomes.add(
            parent_lease_id=effect.lease_id, key=effect.key, action_name=effect.name, phase=phase
        )
        if phase == _SUCCEEDED:
            document = frame.found.outputs[effect.action_id]
            document.write_to(message.outputs)
            frame.grow(100 + (len(document.inline) if document.inline else 0))
        elif phase == _RUNNING:
            frame.grow(100)
        else:
            failure = frame.found.failures[effect.action_id]
            message.failure.CopyFrom(failure)
            frame.grow(100 + len(failure.message) + len(failure.traceback))

    @staticmethod
    def _refuse(frame: _Frame, effect: ChildRefused) -> None:
        message = frame.message.child_outcomes.add(
            parent_lease_id=effect.lease_id, key=effect.key, phase=PhaseProto.PHASE_FAILED
        )
        message.failure.CopyFrom(effect.failure)
        frame.grow(500)

    @staticmethod
    def _kill(frame: _Frame, effect: fx.Kill) -> None:
        kind = FAILURE_KIND_NUMBER[effect.kind] if effect.kind is not None else 0
        frame.message.kills.add(lease_id=effect.lease_id, reason=effect.reason, kind=kind)
        frame.grow(100)

    @staticmethod
    def _acknowledge(frame: _Frame, effect: fx.AcknowledgeResult) -> None:
        frame.message.acknowledged_results.append(effect.lease_id)
        frame.grow(10)

    @staticmethod
    def _acknowledge_trace(frame: _Frame, effect: fx.AcknowledgeTrace) -> None:
        frame.message.acknowledged_traces.add(lease_id=effect.lease_id, key=effect.key)
        frame.grow(30)

    @staticmethod
    def _acknowledge_log(frame: _Frame, effect: AcknowledgeLog) -> None:
        frame.message.acknowledged_logs.add(lease_id=effect.lease_id, index=effect.index)
        frame.grow(20)

    @staticmethod
    def _prepare_image(frame: _Frame, effect: PrepareImage) -> None:
        frame.message.images.append(effect.image)
        frame.grow(100 + len(effect.image.definition_json))

    def _start_worker(self, frame: _Frame, effect: fx.StartWorker) -> None:
        if self._define(frame, effect.spec_digest):
            frame.flush()  # definitions come behind worker starts within one frame
        project, domain, _ = effect.pool_key.split("/", 2)
        frame.message.worker_starts.add(
            worker_id=effect.worker_id,
            pool_key=effect.pool_key,
            spec_digest=effect.spec_digest,
            gpu_uuids=effect.gpu_uuids,
            concurrency=effect.concurrency,
            project=project,
            domain=domain,
        )
        frame.grow(200)

    @staticmethod
    def _stop_worker(frame: _Frame, effect: fx.StopWorker) -> None:
        frame.message.worker_stops.add(worker_id=effect.worker_id, reason=effect.reason)
        frame.grow(100)

    @staticmethod
    def _define(frame: _Frame, digest: str) -> bool:
        """Sends a definition unless the session has it. True when it was sent now."""
        if digest in frame.session.sent_specs:
            return False
        frame.session.sent_specs.add(digest)
        spec = frame.found.specs[digest]
        frame.message.specs.add(key=digest, spec=spec.message)
        frame.grow(len(spec.serialised))
        return True


@dataclass(frozen=True, slots=True)
class _Found:
    """What the frames of one release carry."""

    inputs: dict[int, Any]
    outputs: dict[int, Any]
    failures: dict[int, Any]
    specs: dict[str, Any]


def _found(known: dict[Any, Any], key: Any, value: Any) -> bool:
    """Keeps a value; False when it is None, which is kept for definitions only."""
    if value is not None or isinstance(key, str):
        known[key] = value
    return value is not None


class _Frame:
    """A frame under construction. One that grows large is sent, and another one begun."""

    def __init__(self, session: Session, found: _Found) -> None:
        self.session = session
        self.found = found
        self.message = NodeSessionResponse()
        self._size = 0

    def grow(self, size: int) -> None:
        """Notes that bytes were added."""
        self._size += size
        if self._size > _FRAME_BYTES:
            self.flush()

    def flush(self) -> None:
        """Sends what there is."""
        if self._size:
            self.session.send(self.message)
            self.message = NodeSessionResponse()
            self._size = 0

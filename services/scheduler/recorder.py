"""Turns what the core decided into rows of the ledger and events for those who watch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hangar.core.v1.failure_pb2 import Failure as FailureProto
from hangar.core.v1.identifiers_pb2 import RunIdentifier
from hangar.core.v1.progress_pb2 import Progress
from hangar.core.v1.task_spec_pb2 import (
    CACHE_STATUS_HIT,
    CACHE_STATUS_MISS,
    CACHE_STATUS_OVERWRITTEN,
    CACHE_STATUS_RECOVERED,
)
from services.scheduler.convert import (
    FAILURE_KIND_NUMBER,
    FINAL_PHASES,
    KIND_NUMBER,
    PHASE_NUMBER,
    failure_message,
)
from services.scheduler.core import effects as fx
from services.scheduler.core.model import INITIAL_STATE, PHASE_OF, Failure, Kind, Phase, State, WorkerState
from services.scheduler.documents import EMPTY, Document, Payloads
from services.scheduler.live import Live, LiveAction, LiveRun, SpanIds, trace_of
from services.scheduler.progress import progress_text, progress_words
from services.scheduler.rows import (
    CLOSED_COLUMNS,
    FAILURE_COLUMNS,
    MOVED_COLUMNS,
    RUN_COLUMNS,
    Row,
    Rows,
    parameters,
)
from services.scheduler.specs import Spec

_NO_FAILURE: tuple[Any, ...] = (0, "", "", "", False, "")
_NO_FAILURE_ROW = dict(zip(FAILURE_COLUMNS, _NO_FAILURE, strict=True))
_MOVED_PARAMETERS = parameters(MOVED_COLUMNS)
_RUN_PARAMETERS = parameters(RUN_COLUMNS)
_CLOSED_PARAMETERS = parameters(CLOSED_COLUMNS)
_TERMINAL_PHASES = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.ABORTED, Phase.TIMED_OUT})
_QUEUED = PHASE_NUMBER[Phase.QUEUED]
_INITIALIZING = PHASE_NUMBER[Phase.INITIALIZING]
_RUNNING = PHASE_NUMBER[Phase.RUNNING]
_WAITING = frozenset({State.QUEUED, State.WAITING_FOR_CACHE, State.BACKOFF})
_STATE_TEXT = {state: state.value for state in State}
_REMEMBERED = 100_000
_ROW_BYTES = 300


class Change(NamedTuple):
    """An event of the ledger as it is shown to those who watch."""

    cursor: int
    run: RunIdentifier
    action: str
    phase: int
    attempt: int
    occurred_at: int
    detail: str


@dataclass(frozen=True, slots=True)
class NextIds:
    """The identities to hand out next."""

    run: int = 1
    action: int = 1
    lease: int = 1
    worker: int = 1
    cursor: int = 1


@dataclass(slots=True)
class Recording:
    """What one transaction writes, and what is to be seen of it afterwards."""

    rows: Rows = field(default_factory=Rows)
    changes: list[Change] = field(default_factory=list)
    cursor: int = 0
    """Cursor of the newest event after the transaction."""


class Recorder:
    """Collects the changes of the next transaction.

    Args:
        live: What is live; kept up to date.
        payloads: Where inputs and outputs are kept for frames.
        next_ids: The identities to hand out next, as the ledger has them.
    """

    def __init__(self, live: Live, payloads: Payloads, next_ids: NextIds) -> None:
        self._live = live
        self._payloads = payloads
        self._cursor = next_ids.cursor - 1
        self._next = {
            "next_run_id": next_ids.run,
            "next_action_id": next_ids.action,
            "next_lease_id": next_ids.lease,
            "next_worker_id": next_ids.worker,
        }
        self._span_ids = SpanIds()
        self._touched: dict[int, LiveRun] = {}
        self._known_specs: set[str] = set()
        self._known_versions: set[tuple[str, str, str, str]] = set()
        self._known_images: set[int] = set()
        self._current = Recording(cursor=self._cursor)
        self._handlers: dict[type, Callable[[Any], None]] = {
            fx.RunCreated: self._run_created,
            fx.RunMoved: self._run_moved,
            fx.ActionCreated: self._action_created,
            fx.ActionMoved: self._action_moved,
            fx.ActionAdopted: self._action_adopted,
            fx.CacheStored: self._cache_stored,
            fx.LeaseGranted: self._lease_granted,
            fx.LeaseRunning: self._lease_running,
            fx.LeaseClosed: self._lease_closed,
            fx.WorkerChanged: self._worker_changed,
            fx.NodeChanged: self._node_changed,
        }

    @property
    def weight(self) -> int:
        """Roughly the bytes of the next transaction."""
        return self._current.rows.weight

    def record(self, effect: fx.Persist) -> None:
        """Adds an effect that changes the ledger."""
        self._handlers[type(effect)](effect)
        self._current.rows.weight += _ROW_BYTES

    def record_log_chunk(self, row: Row) -> None:
        """Adds a log chunk, columns of `log_chunk`. One that is known already stays as it is."""
        self._current.rows.log_chunks.append(row)
        self._current.rows.weight += _ROW_BYTES

    def record_image(self, worker_id: int, image: str) -> None:
        """Adds the image that a worker was started from. What is known already costs nothing."""
        if worker_id not in self._known_images:
            _remember(self._known_images, worker_id)
            self._current.rows.worker_images.append({"worker_id": worker_id, "image": image})
            self._current.rows.weight += _ROW_BYTES

    def record_progress(self, lease_id: int, detail: str, at: int) -> None:
        """Shows what the preparation of a lease is doing, or what a running one waits for, unless it is over."""
        action = self._live.leases.get(lease_id)
        if action is None or action.phase not in (_INITIALIZING, _RUNNING):
            return
        rows = self._current.rows
        if action.id in rows.actions:
            rows.actions[action.id]["wait_reason"] = detail
        elif action.id in rows.action_changes:
            rows.action_changes[action.id]["wait_reason_"] = detail
        else:
            rows.wait_reasons[action.id] = {"id_": action.id, "wait_reason_": detail}
        self._event(action, at, detail)
        rows.weight += _ROW_BYTES

    def record_user_progress(self, lease_id: int, progress: Progress, at: int) -> None:
        """Shows how far user code is. Of all that an attempt reports the ledger keeps the latest, and one event."""
        action = self._live.leases.get(lease_id)
        if action is None or action.phase not in (_INITIALIZING, _RUNNING):
            return
        self._progress(action, progress_text(progress))
        if action.progress_cursor:
            self._current.rows.replaced_events.append({"cursor_": action.progress_cursor})
        self._event(action, at, progress_words(progress))
        action.progress_cursor = self._cursor
        self._current.rows.weight += _ROW_BYTES

    def _progress(self, action: LiveAction, text: str) -> None:
        rows = self._current.rows
        new = rows.actions.get(action.id)
        if new is not None:
            new["progress"] = text
        else:
            rows.progress[action.id] = {"id_": action.id, "progress_": text}

    def record_deployment(self, project: str, domain: str, spec: Spec, at: int) -> None:
        """Makes a version of a task the one that was deployed last, behind all that were before."""
        self._store_definition(spec, at)
        self._cursor += 1
        self._current.rows.deployments.append(
            {
                "project": project,
                "domain": domain,
                "name": spec.message.name,
                "version": spec.message.code.version,
                "id": self._cursor,
                "spec_digest": spec.digest,
                "entrypoint": spec.message.entrypoint,
                "created_at": at,
                "deployed_at": at,
            }
        )
        self._current.rows.weight += _ROW_BYTES

    def record_notification(
        self, key: tuple[int, int], tries: int, due_at: int, ended_at: int | None, error: str
    ) -> None:
        """Notes what became of a notification that was sent."""
        values = {"tries": tries, "due_at": due_at, "ended_at": ended_at, "error": error}
        change: Row = dict(zip(parameters(values), values.values(), strict=True))
        change["cursor_"], change["number_"] = key
        self._current.rows.notification_changes.append(change)
        self._current.rows.weight += _ROW_BYTES

    def record_span_export(self, cursor: int) -> None:
        """Notes how far spans were exported."""
        self._current.rows.span_export = {"id": 1, "cursor": cursor}
        self._current.rows.weight += _ROW_BYTES

    def take(self) -> Recording:
        """Returns what was collected, and starts anew."""
        recording = self._current
        rows = recording.rows
        for run in self._touched.values():
            values = [run.row[name] for name in RUN_COLUMNS]
            if run.id in rows.runs:
                rows.runs[run.id].update(zip(RUN_COLUMNS, values, strict=True))
            else:
                rows.run_changes[run.id] = {"id_": run.id, **dict(zip(_RUN_PARAMETERS, values, strict=True))}
            if not run.live_count:
                self._live.runs.pop(run.id, None)
        self._touched.clear()
        rows.next_ids = {**self._next, "next_cursor": self._cursor + 1}
        recording.cursor = self._cursor
        self._current = Recording(cursor=self._cursor)
        return recording

    # Runs

    def _run_created(self, effect: fx.RunCreated) -> None:
        context = effect.context
        trace = trace_of(context.traceparent)
        identifier = RunIdentifier(project=effect.project, domain=effect.domain, name=effect.name)
        run = LiveRun(
            effect.run_id, identifier, context, trace.trace_id, trace.parent_span_id, effect.root_id
        )
        run.sources = effect.sources
        run.row = {
            "phase": _QUEUED,
            "started_at": None,
            "ended_at": None,
            "abort_reason": "",
            "action_count": 0,
            "cursor": 0,
            **_NO_FAILURE_ROW,
        }
        self._live.runs[run.id] = run
        self._touched[run.id] = run
        labels = dict(context.labels)
        rows = self._current.rows
        rows.runs[run.id] = {
            "id": run.id,
            "project": effect.project,
            "domain": effect.domain,
            "name": effect.name,
            "request_digest": effect.request_digest,
            "spec_digest": "",
            "root_id": effect.root_id,
            "task_name": "",
            "task_version": "",
            "created_at": effect.at,
            "labels": labels,
            "env_vars": dict(context.env_vars),
            "overwrite_cache": context.overwrite_cache,
            "disable_cache": context.disable_cache,
            "cache_scope": context.cache_scope,
            "settings": context.SerializeToString(),
            "recovers": effect.sources[0] if effect.sources else None,
            "trace_id": run.trace_id,
            "parent_span_id": run.parent_span_id,
        }
        rows.run_labels.extend(
            {"run_id": run.id, "key": key, "value": value} for key, value in labels.items()
        )
        self._next["next_run_id"] = run.id + 1

    def _run_moved(self, effect: fx.RunMoved) -> None:
        run = self._live.runs[effect.run_id]
        row = run.row
        if run.context.notifications and row["phase"] != PHASE_NUMBER[effect.phase]:
            self._notify(run, PHASE_NUMBER[effect.phase], effect.at)
        row["phase"] = PHASE_NUMBER[effect.phase]
        if effect.phase in _TERMINAL_PHASES:
            row["ended_at"] = effect.at
        row["abort_reason"] = effect.abort_reason
        row.update(zip(FAILURE_COLUMNS, _failure_values(effect.failure), strict=True))
        self._touched[run.id] = run

    def _notify(self, run: LiveRun, phase: int, at: int) -> None:
        """Adds what is to be told of a phase, in the transaction of the phase itself."""
        rows = self._current.rows
        for number, notification in enumerate(run.context.notifications):
            if phase in (notification.phases or FINAL_PHASES):
                rows.notifications.append(
                    {
                        "cursor": self._cursor,
                        "number": number,
                        "run_id": run.id,
                        "phase": phase,
                        "occurred_at": at,
                        "tries": 0,
                        "due_at": at,
                        "ended_at": None,
                        "error": "",
                    }
                )
                rows.weight += _ROW_BYTES

    # Actions

    def _action_created(self, effect: fx.ActionCreated) -> None:
        run = self._live.runs[effect.run_id]
        spec: Spec = effect.spec
        document: Document = effect.inputs
        rows = self._current.rows
        sequence = run.row["action_count"]
        run.row["action_count"] = sequence + 1
        run.live_count += 1
        state = INITIAL_STATE[effect.kind]
        phase = PHASE_NUMBER[PHASE_OF[state]]
        action = LiveAction(effect.action_id, run, effect.name, spec.digest, effect.parent_id, phase=phase)
        if effect.cache is not None:
            action.cache_status = CACHE_STATUS_OVERWRITTEN if effect.cache.overwrite else CACHE_STATUS_MISS
        action.custom_context = effect.custom_context
        self._live.actions[action.id] = action
        rows.actions[action.id] = {
            "id": action.id,
            "run_id": run.id,
            "name": effect.name,
            "key": effect.key,
            "parent_id": effect.parent_id,
            "depth": effect.depth,
            "sequence": sequence,
            "round": effect.round,
            "incarnation": effect.incarnation,
            "kind": KIND_NUMBER[effect.kind],
            "task_name": spec.message.name,
            "spec_digest": spec.digest,
            "group_name": effect.group,
            "phase": phase,
            "state": _STATE_TEXT[state],
            "wait_reason": _wait_reason(effect, spec),
            "created_at": effect.at,
            "started_at": effect.started_at or None,
            "ended_at": None,
            "abort_reason": "",
            "attempts": 0,
            "user_failures": 0,
            "system_failures": 0,
            "ready_at": effect.ready_at,
            "cache_key": effect.cache.key if effect.cache is not None else "",
            "cache_status": action.cache_status,
            "cached_from": None,
            "withdrawn_by": 0,
            "progress": "",
            "custom_context": effect.custom_context,
            "cache_reason": effect.cache_reason or self._disabled_reason(run, spec),
            **_NO_FAILURE_ROW,
        }
        rows.inputs.append({"action_id": action.id, **document._asdict()})
        rows.weight += 4 * _ROW_BYTES + document.size
        for input_name, source in effect.sources:
            rows.lineage.append({"action_id": action.id, "input": input_name, "source": source})
        self._payloads.inputs.put(action.id, document)
        self._definition_used(run, action, spec, effect.at, is_task=effect.kind is Kind.TASK)
        self._event(action, effect.at, "")
        self._next["next_action_id"] = action.id + 1

    def _definition_used(
        self, run: LiveRun, action: LiveAction, spec: Spec, at: int, *, is_task: bool
    ) -> None:
        """Stores a definition that was not stored yet, as far as is known here."""
        rows = self._current.rows
        message = spec.message
        if run.root_id == action.id:
            rows.runs[run.id].update(
                spec_digest=spec.digest, task_name=message.name, task_version=message.code.version
            )
        self._store_definition(spec, at)
        identifier = run.identifier
        version = (identifier.project, identifier.domain, message.name, message.code.version)
        if is_task and version not in self._known_versions:
            _remember(self._known_versions, version)
            project, domain, name, number = version
            rows.versions.append(
                {
                    "project": project,
                    "domain": domain,
                    "name": name,
                    "version": number,
                    "id": action.id,
                    "spec_digest": spec.digest,
                    "created_at": at,
                }
            )

    def _store_definition(self, spec: Spec, at: int) -> None:
        if spec.digest in self._known_specs:
            return
        _remember(self._known_specs, spec.digest)
        rows, message = self._current.rows, spec.message
        rows.weight += len(spec.serialised)
        rows.specs.append(
            {
                "digest": spec.digest,
                "spec": spec.serialised,
                "name": message.name,
                "short_name": message.short_name or message.name.rpartition(".")[2],
                "environment": message.environment,
                "version": message.code.version,
                "module": message.code.module,
                "created_at": at,
            }
        )

    def _action_moved(self, effect: fx.ActionMoved) -> None:
        action = self._live.actions[effect.action_id]
        action.attempts = effect.attempts
        action.phase = PHASE_NUMBER[effect.phase]
        if effect.cached_from:
            action.cache_status = CACHE_STATUS_RECOVERED if effect.recovered else CACHE_STATUS_HIT
        waits = effect.state in _WAITING
        ended = effect.phase in _TERMINAL_PHASES
        values = (
            action.phase,
            _STATE_TEXT[effect.state],
            effect.detail if waits else "",
            effect.started_at or None,
            effect.at if ended else None,
            effect.abort_reason,
            effect.attempts,
            effect.user_failures,
            effect.system_failures,
            effect.ready_at,
            action.cache_status,
            effect.cached_from or None,
            effect.withdrawn_by,
            *_failure_values(effect.failure),
        )
        rows = self._current.rows
        new = rows.actions.get(action.id)
        if new is not None:
            new.update(zip(MOVED_COLUMNS, values, strict=True))
        else:
            change: Row = dict(zip(_MOVED_PARAMETERS, values, strict=True))
            change["id_"] = action.id
            rows.action_changes[action.id] = change
        if effect.cache_reason:
            self._cache_reason_changed(action.id, effect.cache_reason)
        self._event(action, effect.at, effect.detail)
        run = action.run
        if action.id == run.root_id and effect.started_at:
            run.row["started_at"] = effect.started_at
        if ended:
            self._action_ended(action, effect)

    def _action_ended(self, action: LiveAction, effect: fx.ActionMoved) -> None:
        document: Document | None = effect.outputs
        if document is None and effect.phase is Phase.SUCCEEDED and not effect.cached_from:
            document = EMPTY
        rows = self._current.rows
        if document is not None:
            rows.outputs.append({"action_id": action.id, **document._asdict()})
            rows.weight += _ROW_BYTES + document.size
            if action.parent_id is not None:
                self._payloads.outputs.put(action.id, document)
        elif effect.cached_from:
            rows.output_copies.append({"action_id_": action.id, "source_": effect.cached_from})
        elif action.parent_id is not None:
            self._payloads.put_failure(action.id, outcome_failure(effect.failure, effect.abort_reason))
        self._payloads.inputs.drop(action.id)
        del self._live.actions[action.id]
        action.run.live_count -= 1

    def _cache_reason_changed(self, action_id: int, reason: str) -> None:
        rows = self._current.rows
        if action_id in rows.actions:
            rows.actions[action_id]["cache_reason"] = reason
        else:
            rows.cache_reasons[action_id] = {"id_": action_id, "cache_reason_": reason}

    @staticmethod
    def _disabled_reason(run: LiveRun, spec: Spec) -> str:
        """Why a task that keeps results does not do so in a run; empty when that is not so."""
        if run.context.disable_cache and spec.message.HasField("cache"):
            return "the run neither uses nor keeps results"
        return ""

    def _cache_stored(self, effect: fx.CacheStored) -> None:
        self._current.rows.cache_entries[effect.key] = {
            "key": effect.key,
            "action_id": effect.action_id,
            "stored_at": effect.at,
        }

    def _action_adopted(self, effect: fx.ActionAdopted) -> None:
        rows = self._current.rows
        new = rows.actions.get(effect.action_id)
        if new is not None:
            new["round"] = effect.round
        else:
            rows.rounds[effect.action_id] = {"id_": effect.action_id, "round_": effect.round}

    # Attempts

    def _lease_granted(self, effect: fx.LeaseGranted) -> None:
        action = self._live.actions[effect.action_id]
        parent = self._live.actions.get(action.parent_id) if action.parent_id is not None else None
        action.span_id = self._span_ids.next()
        action.lease_id = effect.lease_id
        if effect.number:  # what an earlier attempt had done
            self._progress(action, "")
            action.progress_cursor = 0
        self._live.leases[effect.lease_id] = action
        self._current.rows.attempts[effect.lease_id] = {
            "id": effect.lease_id,
            "action_id": action.id,
            "number": effect.number,
            "user_attempt": effect.user_attempt,
            "node": effect.node,
            "worker_id": effect.worker_id,
            "pool_key": effect.pool_key,
            "gpu_uuids": json.dumps(effect.gpu_uuids),
            "phase": _INITIALIZING,
            "assigned_at": effect.at,
            "started_at": None,
            "ended_at": None,
            "span_id": action.span_id,
            "parent_span_id": parent.span_id if parent is not None else action.run.parent_span_id,
            "peak_memory_bytes": 0,
            "cpu_millis": 0,
            "ended_cursor": None,
            **_NO_FAILURE_ROW,
        }
        self._next["next_lease_id"] = effect.lease_id + 1
        self._next["next_worker_id"] = max(self._next["next_worker_id"], effect.worker_id + 1)

    def _lease_running(self, effect: fx.LeaseRunning) -> None:
        rows = self._current.rows
        new = rows.attempts.get(effect.lease_id)
        if new is not None:
            new.update(phase=_RUNNING, started_at=effect.at, worker_id=effect.worker_id)
        else:
            rows.attempt_starts[effect.lease_id] = {
                "id_": effect.lease_id,
                "phase_": _RUNNING,
                "started_at_": effect.at,
                "worker_id_": effect.worker_id,
            }

    def _lease_closed(self, effect: fx.LeaseClosed) -> None:
        action = self._live.leases.pop(effect.lease_id)
        action.lease_id = 0
        self._cursor += 1
        values = (
            PHASE_NUMBER[effect.phase],
            effect.at,
            self._cursor,
            effect.peak_memory,
            effect.cpu_millis,
            *_failure_values(effect.failure),
        )
        rows = self._current.rows
        new = rows.attempts.get(effect.lease_id)
        if new is not None:
            new.update(zip(CLOSED_COLUMNS, values, strict=True))
            new["started_at"] = effect.started_at or new["started_at"]
            new["worker_id"] = effect.worker_id or new["worker_id"]
            return
        start = rows.attempt_starts.pop(effect.lease_id, None)
        change: Row = dict(zip(_CLOSED_PARAMETERS, values, strict=True))
        change["id_"] = effect.lease_id
        change["started_at_"] = effect.started_at or (start["started_at_"] if start else None)
        change["worker_id_"] = effect.worker_id or (start["worker_id_"] if start else None)
        rows.attempt_ends[effect.lease_id] = change

    # Workers and nodes

    def _worker_changed(self, effect: fx.WorkerChanged) -> None:
        rows = self._current.rows
        known = rows.workers.get(effect.worker_id)
        rows.workers[effect.worker_id] = {
            "id": effect.worker_id,
            "node": effect.node,
            "pool_key": effect.pool_key,
            "spec_digest": effect.spec_digest,
            "gpu_uuids": list(effect.gpu_uuids),
            "state": effect.state.value,
            "started_at": known["started_at"] if known else effect.at,
            "ended_at": effect.at if effect.state is WorkerState.EXITED else None,
        }
        self._next["next_worker_id"] = max(self._next["next_worker_id"], effect.worker_id + 1)

    def _node_changed(self, effect: fx.NodeChanged) -> None:
        inventory = effect.inventory
        self._current.rows.nodes[effect.name] = {
            "name": effect.name,
            "boot_id": effect.boot_id,
            "state": effect.state.value,
            "inventory": {
                "cpu": inventory.cpu,
                "memory": inventory.memory,
                "disk": inventory.disk,
                "platform": inventory.platform,
                "engine": inventory.engine,
                "gpus": [[gpu.uuid, gpu.model, gpu.memory, gpu.healthy] for gpu in inventory.gpus],
                "queues": list(inventory.queues),
                "interruptible": inventory.interruptible,
            },
            "labels": dict(effect.labels),
            "changed_at": effect.at,
        }

    # Events

    def _event(self, action: LiveAction, at: int, detail: str) -> None:
        self._cursor += 1
        run = action.run
        attempt = max(action.attempts - 1, 0)
        self._current.rows.events.append(
            {
                "cursor": self._cursor,
                "run_id": run.id,
                "action_id": action.id,
                "phase": action.phase,
                "attempt": attempt,
                "occurred_at": at,
                "detail": detail,
            }
        )
        self._current.changes.append(
            Change(self._cursor, run.identifier, action.name, action.phase, attempt, at, detail)
        )
        run.row["cursor"] = self._cursor
        self._touched[run.id] = run


def outcome_failure(failure: Failure | None, abort_reason: str) -> FailureProto:
    """Returns what a parent is told of a child that did not succeed."""
    if failure is not None:
        return failure_message(failure)
    return FailureProto(code="Aborted", message=abort_reason or "The action was aborted.")


def _wait_reason(effect: fx.ActionCreated, spec: Spec) -> str:
    """Why an action that is new does not run, as far as that is known by its kind."""
    if effect.kind is Kind.CONDITION:
        return f"waits for a signal: {spec.message.description}".removesuffix(": ")
    return "sleeps" if effect.kind is Kind.SLEEP else ""


def _failure_values(failure: Failure | None) -> tuple[Any, ...]:
    if failure is None:
        return _NO_FAILURE
    return (
        FAILURE_KIND_NUMBER[failure.kind],
        failure.code,
        failure.message,
        failure.traceback,
        failure.non_recoverable,
        failure.worker,
    )


def _remember(known: set[Any], value: Any) -> None:
    """Adds to a set that may forget: what is not known is stored again, which changes nothing."""
    if len(known) >= _REMEMBERED:
        known.clear()
    known.add(value)

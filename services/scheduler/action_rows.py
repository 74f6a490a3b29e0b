"""Rows of actions: created, moved, ended, and what the cache keeps of them."""

from __future__ import annotations

from hangar.core.v1.failure_pb2 import Failure as FailureProto
from hangar.core.v1.task_spec_pb2 import (
    CACHE_STATUS_HIT,
    CACHE_STATUS_MISS,
    CACHE_STATUS_OVERWRITTEN,
    CACHE_STATUS_RECOVERED,
)
from services.scheduler.convert import FINAL_PHASES, KIND_NUMBER, PHASE_NUMBER, failure_message
from services.scheduler.core import effects as fx
from services.scheduler.core.model import INITIAL_STATE, PHASE_OF, Failure, Kind, Phase, State
from services.scheduler.definition_rows import DefinitionRows
from services.scheduler.documents import EMPTY, Document, Payloads
from services.scheduler.live import LiveAction, LiveRun
from services.scheduler.recording import NO_FAILURE_ROW, ROW_BYTES, Draft, failure_values
from services.scheduler.rows import MOVED_COLUMNS, Row, parameters
from services.scheduler.specs import Spec

_MOVED_PARAMETERS = parameters(MOVED_COLUMNS)
_WAITING = frozenset({State.QUEUED, State.WAITING_FOR_CACHE, State.BACKOFF})
_STATE_TEXT = {state: state.value for state in State}


class ActionRows:
    """Writes actions into the next transaction.

    Args:
        draft: The transaction.
        definitions: Where definitions are stored.
        payloads: Where inputs and outputs are kept for frames.
    """

    def __init__(self, draft: Draft, definitions: DefinitionRows, payloads: Payloads) -> None:
        self._draft = draft
        self._definitions = definitions
        self._payloads = payloads

    def created(self, effect: fx.ActionCreated) -> None:
        """Adds an action, its inputs, where they came from, and its definition."""
        run = self._draft.live.runs[effect.run_id]
        spec: Spec = effect.spec
        document: Document = effect.inputs
        rows = self._draft.rows
        sequence = run.row["action_count"]
        run.row["action_count"] = sequence + 1
        run.live_count += 1
        state = INITIAL_STATE[effect.kind]
        phase = PHASE_NUMBER[PHASE_OF[state]]
        action = LiveAction(effect.action_id, run, effect.name, spec.digest, effect.parent_id, phase=phase)
        if effect.cache is not None:
            action.cache_status = CACHE_STATUS_OVERWRITTEN if effect.cache.overwrite else CACHE_STATUS_MISS
        action.custom_context = effect.custom_context
        self._draft.live.actions[action.id] = action
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
            **NO_FAILURE_ROW,
        }
        rows.inputs.append({"action_id": action.id, **document._asdict()})
        rows.weight += 4 * ROW_BYTES + document.size
        for input_name, source in effect.sources:
            rows.lineage.append({"action_id": action.id, "input": input_name, "source": source})
        self._payloads.inputs.put(action.id, document)
        self._definitions.used(run, action, spec, effect.at, is_task=effect.kind is Kind.TASK)
        self._draft.event(action, effect.at, "")
        self._draft.next_ids["next_action_id"] = action.id + 1

    def moved(self, effect: fx.ActionMoved) -> None:
        """Notes a state of an action, and how it ended."""
        action = self._draft.live.actions[effect.action_id]
        action.attempts = effect.attempts
        action.phase = PHASE_NUMBER[effect.phase]
        if effect.cached_from:
            action.cache_status = CACHE_STATUS_RECOVERED if effect.recovered else CACHE_STATUS_HIT
        waits = effect.state in _WAITING
        ended = action.phase in FINAL_PHASES
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
            *failure_values(effect.failure),
        )
        rows = self._draft.rows
        new = rows.actions.get(action.id)
        if new is not None:
            new.update(zip(MOVED_COLUMNS, values, strict=True))
        else:
            change: Row = dict(zip(_MOVED_PARAMETERS, values, strict=True))
            change["id_"] = action.id
            rows.action_changes[action.id] = change
        if effect.cache_reason:
            self._cache_reason_changed(action.id, effect.cache_reason)
        self._draft.event(action, effect.at, effect.detail)
        run = action.run
        if action.id == run.root_id and effect.started_at:
            run.row["started_at"] = effect.started_at
        if ended:
            self._ended(action, effect)

    def _ended(self, action: LiveAction, effect: fx.ActionMoved) -> None:
        document: Document | None = effect.outputs
        if document is None and effect.phase is Phase.SUCCEEDED and not effect.cached_from:
            document = EMPTY
        rows = self._draft.rows
        if document is not None:
            rows.outputs.append({"action_id": action.id, **document._asdict()})
            rows.weight += ROW_BYTES + document.size
            if action.parent_id is not None:
                self._payloads.outputs.put(action.id, document)
        elif effect.cached_from:
            rows.output_copies.append({"action_id_": action.id, "source_": effect.cached_from})
        elif action.parent_id is not None:
            self._payloads.put_failure(action.id, _told_failure(effect.failure, effect.abort_reason))
        self._payloads.inputs.drop(action.id)
        del self._draft.live.actions[action.id]
        action.run.live_count -= 1

    def _cache_reason_changed(self, action_id: int, reason: str) -> None:
        rows = self._draft.rows
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

    def result_stored(self, effect: fx.CacheStored) -> None:
        """Keeps the result of an action for equal ones."""
        self._draft.rows.cache_entries[effect.key] = {
            "key": effect.key,
            "action_id": effect.action_id,
            "stored_at": effect.at,
        }

    def adopted(self, effect: fx.ActionAdopted) -> None:
        """Notes that a parent that runs again has taken over a child."""
        rows = self._draft.rows
        new = rows.actions.get(effect.action_id)
        if new is not None:
            new["round"] = effect.round
        else:
            rows.rounds[effect.action_id] = {"id_": effect.action_id, "round_": effect.round}


def _told_failure(failure: Failure | None, abort_reason: str) -> FailureProto:
    """Returns what a parent is told of a child that did not succeed."""
    if failure is not None:
        return failure_message(failure)
    return FailureProto(code="Aborted", message=abort_reason or "The action was aborted.")


def _wait_reason(effect: fx.ActionCreated, spec: Spec) -> str:
    """Why an action that is new does not run, as far as that is known by its kind."""
    if effect.kind is Kind.CONDITION:
        return f"waits for a signal: {spec.message.description}".removesuffix(": ")
    return "sleeps" if effect.kind is Kind.SLEEP else ""

"""Rows of runs: created, moved, and the notifications of their phases."""

from __future__ import annotations

from hangar.core.v1.identifiers_pb2 import RunIdentifier
from services.scheduler.convert import FINAL_PHASES, PHASE_NUMBER
from services.scheduler.core import effects as fx
from services.scheduler.core.model import Phase
from services.scheduler.live import LiveRun, trace_of
from services.scheduler.recording import NO_FAILURE_ROW, ROW_BYTES, Draft, failure_values
from services.scheduler.rows import FAILURE_COLUMNS

_QUEUED = PHASE_NUMBER[Phase.QUEUED]


class RunRows:
    """Writes runs into the next transaction."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft

    def created(self, effect: fx.RunCreated) -> None:
        """Adds a run, its labels too."""
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
            **NO_FAILURE_ROW,
        }
        self._draft.live.runs[run.id] = run
        self._draft.touched[run.id] = run
        labels = dict(context.labels)
        rows = self._draft.rows
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
        self._draft.next_ids["next_run_id"] = run.id + 1

    def moved(self, effect: fx.RunMoved) -> None:
        """Notes a phase of a run, and whom it is to be told."""
        run = self._draft.live.runs[effect.run_id]
        row = run.row
        phase = PHASE_NUMBER[effect.phase]
        if run.context.notifications and row["phase"] != phase:
            self._notify(run, phase, effect.at)
        row["phase"] = phase
        if phase in FINAL_PHASES:
            row["ended_at"] = effect.at
        row["abort_reason"] = effect.abort_reason
        row.update(zip(FAILURE_COLUMNS, failure_values(effect.failure), strict=True))
        self._draft.touched[run.id] = run

    def _notify(self, run: LiveRun, phase: int, at: int) -> None:
        """Adds what is to be told of a phase, in the transaction of the phase itself."""
        rows = self._draft.rows
        for number, notification in enumerate(run.context.notifications):
            if phase in (notification.phases or FINAL_PHASES):
                rows.notifications.append(
                    {
                        "cursor": self._draft.cursor,
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
                rows.weight += ROW_BYTES

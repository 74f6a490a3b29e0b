"""Records of the ledger and of the store as messages of the API."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from hangar.admin.v1.project_pb2 import Project
from hangar.admin.v1.run_pb2 import Action, Attempt, Lineage, Run, Wait
from hangar.admin.v1.run_service_pb2 import ActionFilter as ActionFilterMessage
from hangar.admin.v1.run_service_pb2 import RunFilter as RunFilterMessage
from hangar.admin.v1.task_service_pb2 import Task
from hangar.core.v1.action_kind_pb2 import ActionKind
from hangar.core.v1.failure_pb2 import Failure
from hangar.core.v1.identifiers_pb2 import ActionIdentifier, RunIdentifier
from hangar.core.v1.payload_pb2 import BlobReference, Payload
from hangar.core.v1.phase_pb2 import Phase
from hangar.core.v1.progress_pb2 import Progress
from hangar.core.v1.task_spec_pb2 import Link, TaskSpec
from services.admin.store import ProjectRecord
from services.common.errors import InvalidArgument
from services.common.names import DOMAINS
from services.ledger.queries.actions import ActionFilter, ActionRecord
from services.ledger.queries.attempts import AttemptRecord
from services.ledger.queries.failures import FailureRecord
from services.ledger.queries.payloads import PayloadRecord
from services.ledger.queries.runs import RunFilter, RunOrder, RunRecord
from services.ledger.queries.tasks import TaskRecord

ROOT = "a0"
"""Name of every run's root action."""

TERMINAL = frozenset(
    {Phase.PHASE_SUCCEEDED, Phase.PHASE_FAILED, Phase.PHASE_ABORTED, Phase.PHASE_TIMED_OUT},
)
"""Phases that are final."""

LIVE = tuple(sorted(set(Phase.values()) - TERMINAL - {Phase.PHASE_UNSPECIFIED}))
"""Phases that are not."""


def timestamp(micros: int | None) -> Timestamp | None:
    """Returns a time of the ledger, None for one that has not come."""
    if micros is None:
        return None
    result = Timestamp()
    result.FromMicroseconds(micros)
    return result


def failure(record: FailureRecord | None) -> Failure | None:
    """Returns a failure, None when nothing failed."""
    if record is None:
        return None
    return Failure(
        kind=record.kind,  # type: ignore[arg-type]  # a number of the enumeration
        code=record.code,
        message=record.message,
        traceback=record.traceback,
        non_recoverable=record.non_recoverable,
        worker=record.worker,
    )


def run_url(base_url: str, run: RunIdentifier) -> str:
    """Returns the page of a run."""
    return f"{base_url}/v2/runs/project/{quote(run.project)}/domain/{quote(run.domain)}/{quote(run.name)}"


def run(record: RunRecord, base_url: str, *, with_settings: bool = False) -> Run:
    """Returns a run.

    Args:
        record: The run.
        base_url: Address of admin's HTTP port.
        with_settings: Also say what its caller set for all its actions.
    """
    identifier = RunIdentifier(project=record.project, domain=record.domain, name=record.name)
    return Run(
        id=identifier,
        task_name=record.task_name,
        task_version=record.task_version,
        phase=record.phase,  # type: ignore[arg-type]
        created_at=timestamp(record.created_at),
        started_at=timestamp(record.started_at),
        ended_at=timestamp(record.ended_at),
        labels=record.labels,
        failure=failure(record.failure),
        abort_reason=record.abort_reason,
        trace_id=record.trace_id,
        url=run_url(base_url, identifier),
        action_count=record.action_count,
        annotations=record.context.annotations,
        settings=record.context if with_settings else None,
        recovered_from=record.recovered_from,
        counted_failures=record.counted_failures,
    )


def action(record: ActionRecord, run: RunIdentifier, attempts: Iterable[AttemptRecord] = ()) -> Action:
    """Returns an action of a run."""
    return Action(
        id=ActionIdentifier(run=run, name=record.name),
        parent=record.parent,
        task_name=record.task_name,
        short_name=record.short_name,
        group=record.group,
        phase=record.phase,  # type: ignore[arg-type]
        wait_reason=record.wait_reason,
        created_at=timestamp(record.created_at),
        started_at=timestamp(record.started_at),
        ended_at=timestamp(record.ended_at),
        failure=failure(record.failure),
        abort_reason=record.abort_reason,
        attempts=[attempt(each) for each in attempts],
        attempt_count=record.attempt_count,
        counted_failures=record.counted_failures,
        lineage=[Lineage(input=each.input, source=each.source) for each in record.lineage],
        sequence=record.sequence,
        cache_status=record.cache_status,  # type: ignore[arg-type]
        cache_reason=record.cache_reason,
        kind=record.kind,  # type: ignore[arg-type]
        wait=_wait(record),
        progress=json_format.Parse(record.progress, Progress()) if record.progress else None,
    )


def _wait(record: ActionRecord) -> Wait | None:
    """What a condition or a sleep waits for, None for what does not pause."""
    if record.kind not in (ActionKind.ACTION_KIND_CONDITION, ActionKind.ACTION_KIND_SLEEP):
        return None
    wait = Wait(until=timestamp(record.ready_at or None))
    if record.condition is not None:
        spec = TaskSpec.FromString(record.condition)
        wait.prompt, wait.schema_json = spec.description, spec.interface.outputs[0].schema_json
    return wait


def links(spec: TaskSpec, action: Action) -> list[Link]:
    """Returns the pages elsewhere that belong to an action.

    Args:
        spec: The definition of its task, whose links have marks in place of what is the action's own.
        action: The action.
    """
    run = action.id.run
    marks = {
        "__hangar_run_name__": run.name,
        "__hangar_project__": run.project,
        "__hangar_domain__": run.domain,
        "__hangar_parent_action_name__": action.parent,
        "__hangar_action_name__": action.id.name,
    }
    found = [Link(name=link.name, url=link.url) for link in spec.links]
    for link in found:
        for mark, value in marks.items():
            link.url = link.url.replace(mark, value)
    return found


def attempt(record: AttemptRecord) -> Attempt:
    """Returns an attempt."""
    return Attempt(
        number=record.number,
        phase=record.phase,  # type: ignore[arg-type]
        node=record.node,
        assigned_at=timestamp(record.assigned_at),
        started_at=timestamp(record.started_at),
        ended_at=timestamp(record.ended_at),
        failure=failure(record.failure),
        worker_id=record.worker_id,
        span_id=record.span_id,
        peak_memory_bytes=record.peak_memory_bytes,
        image=record.image,
    )


def payload(record: PayloadRecord | None) -> Payload | None:
    """Returns inputs or outputs, None when there are none."""
    if record is None:
        return None
    if record.inline is not None:
        return Payload(inline=record.inline, digest=record.digest)
    return Payload(reference=BlobReference(key=record.blob_key, size=record.size), digest=record.digest)


def task(record: TaskRecord, project: str, domain: str) -> Task:
    """Returns a task."""
    spec = TaskSpec.FromString(record.spec)
    return Task(
        project=project,
        domain=domain,
        spec=spec,
        created_at=timestamp(record.created_at),
        deployed_at=timestamp(record.deployed_at),
    )


def project(record: ProjectRecord) -> Project:
    """Returns a project."""
    return Project(
        id=record.id,
        name=record.name,
        description=record.description,
        labels=record.labels,
        archived=record.archived,
        created_at=timestamp(record.created_at),
        domains=DOMAINS,
    )


def run_filter(message: RunFilterMessage) -> RunFilter:
    """Returns a filter of runs for the ledger."""
    return RunFilter(
        phases=tuple(message.phases),
        task_name=message.task_name,
        task_version=message.task_version,
        created_after=message.created_after.ToMicroseconds() if message.HasField("created_after") else None,
        created_before=message.created_before.ToMicroseconds()
        if message.HasField("created_before")
        else None,
        labels=dict(message.labels),
        updated_after=message.updated_after.ToMicroseconds() if message.HasField("updated_after") else None,
        updated_before=message.updated_before.ToMicroseconds()
        if message.HasField("updated_before")
        else None,
    )


def run_order(text: str) -> RunOrder:
    """Returns what a list of runs is sorted by.

    Raises:
        InvalidArgument: It is none of what `order_by` may be.
    """
    field, _, direction = (text or "created_at desc").partition(" ")
    if field not in ("created_at", "updated_at") or direction not in ("", "asc", "desc"):
        message = f'order_by {text!r} must be "created_at" or "updated_at", followed by " desc" for the latest first'
        raise InvalidArgument(message, field="order_by")
    return RunOrder(by_change=field == "updated_at", descending=direction == "desc")


def action_filter(message: ActionFilterMessage) -> ActionFilter:
    """Returns a filter of actions for the ledger."""
    return ActionFilter(phases=tuple(message.phases), parent=message.parent, names=tuple(message.names))

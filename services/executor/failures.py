"""Failures that an executor reports: what each is called and who is to blame."""

import signal
from collections.abc import Iterable, Mapping
from typing import Any

from hangar.core.v1 import failure_pb2
from hangar.core.v1.failure_pb2 import Failure
from hangar.scheduler.v1.node_service_pb2 import LeaseKill
from services.executor.engines.base import WorkerExit
from services.executor.leases import Lease, LeaseState

NAMES_BY_KIND = {
    failure_pb2.FAILURE_KIND_UNSPECIFIED: "UNSPECIFIED",
    failure_pb2.FAILURE_KIND_USER: "USER",
    failure_pb2.FAILURE_KIND_SYSTEM: "SYSTEM",
    failure_pb2.FAILURE_KIND_OOM: "OOM",
    failure_pb2.FAILURE_KIND_GPU_OOM: "GPU_OOM",
    failure_pb2.FAILURE_KIND_TIMEOUT: "TIMEOUT",
    failure_pb2.FAILURE_KIND_LOST: "LOST",
    failure_pb2.FAILURE_KIND_IMAGE: "IMAGE",
    failure_pb2.FAILURE_KIND_PREEMPTED: "PREEMPTED",
}
"""Names of failure kinds in frames of the worker protocol."""
KINDS_BY_NAME = {name: kind for kind, name in NAMES_BY_KIND.items()}

_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
"""Signals that others send to a process; a defect of its own shows as another one."""


def from_header(header: Mapping[str, Any], worker_id: int = 0) -> Failure:
    """Returns a failure as a worker writes it in a frame."""
    kind = KINDS_BY_NAME.get(str(header.get("kind") or "").upper(), failure_pb2.FAILURE_KIND_USER)
    return Failure(
        kind=kind,
        code=str(header.get("code") or ""),
        message=str(header.get("message") or ""),
        traceback=str(header.get("traceback") or ""),
        non_recoverable=bool(header.get("non_recoverable")),
        worker=str(worker_id) if worker_id else "",
    )


def to_header(failure: Failure) -> dict[str, Any]:
    """Returns a failure as a worker reads it in a frame."""
    return {
        "kind": NAMES_BY_KIND[failure.kind],
        "code": failure.code,
        "message": failure.message,
        "traceback": failure.traceback,
        "non_recoverable": failure.non_recoverable,
        "worker": failure.worker,
    }


def system(code: str, message: str, worker_id: int = 0) -> Failure:
    """Returns a failure of the platform."""
    return Failure(
        kind=failure_pb2.FAILURE_KIND_SYSTEM,
        code=code,
        message=message,
        worker=str(worker_id) if worker_id else "",
    )


def of_kill(kill: LeaseKill) -> Failure:
    """Returns the failure of a lease that was stopped on request."""
    codes = {failure_pb2.FAILURE_KIND_TIMEOUT: "Timeout", failure_pb2.FAILURE_KIND_PREEMPTED: "Preempted"}
    return Failure(
        kind=kill.kind,
        code=codes.get(kill.kind, "Aborted"),
        message=kill.reason or "it was stopped on request",
    )


def before_ready(ended: WorkerExit, memory_limit: int, worker_id: int) -> Failure:
    """Returns the failure of a worker that ended by itself before it connected, and of all that waited for it."""
    if ended.oom:
        return Failure(
            kind=failure_pb2.FAILURE_KIND_OOM,
            code="OutOfMemory",
            message=f"the memory limit of {memory_limit} bytes is too small for a worker to start: Python and the SDK "
            "need about 64 MiB; ask for more memory in the task environment",
            worker=str(worker_id),
        )
    return system(
        "WorkerDied", f"worker {worker_id} {in_words(ended)} before it was ready{_reason(ended)}", worker_id
    )


def in_words(ended: WorkerExit) -> str:
    """Returns how a worker ended, such as "was ended by SIGSEGV" or "exited with code 3"."""
    if ended.signal is not None:
        try:
            name = signal.Signals(ended.signal).name
        except ValueError:
            name = f"signal {ended.signal}"
        return f"was ended by {name}"
    if ended.code is not None:
        return f"exited with code {ended.code}"
    return "ended"


def after_exit(
    ended: WorkerExit,
    leases: Iterable[Lease],
    stopping: str = "",
    killed_for: Iterable[int] = (),
    stepped: int = 0,
) -> dict[int, Failure]:
    """Returns why each unfinished lease of an ended worker failed, those with a kill left out.

    Args:
        ended: How the worker ended.
        leases: Its unfinished leases.
        stopping: Why the scheduler wanted the worker to end, empty when it did not.
        killed_for: Leases whose kill made the host end the worker.
        stepped: The lease whose code ran when the worker ended, 0 when that is not known.
    """
    unfinished = [lease for lease in leases if lease.kill is None]
    running = {lease.lease_id for lease in unfinished if lease.state is LeaseState.RUNNING}
    worker, how = ended.worker_id, in_words(ended)
    failures: dict[int, Failure] = {}
    for lease in unfinished:
        if ended.oom and lease.lease_id in running:
            failure = Failure(
                kind=failure_pb2.FAILURE_KIND_OOM,
                code="OutOfMemory",
                message=f"the memory limit of {lease.spec.resources.memory_bytes} bytes was exceeded"
                f"{_peak(ended)}: ask for more memory in the task environment, or use less",
                worker=str(worker),
            )
        elif ended.evicted and lease.lease_id in running:
            failure = Failure(
                kind=failure_pb2.FAILURE_KIND_USER,
                code="LimitExceeded",
                message=f"worker {worker} was ended: it {ended.reason}",
                worker=str(worker),
            )
        elif stopping or ended.killed:
            why = stopping or _kills(killed_for) or ended.reason or "it was ended"
            failure = system("WorkerStopped", f"worker {worker} was stopped while it ran this: {why}", worker)
        elif ended.signal in _FROM_OUTSIDE or (ended.code is None and ended.signal is None):
            failure = system(
                "WorkerKilled",
                f"worker {worker} {how}, by something else than Hangar{_reason(ended)}",
                worker,
            )
        elif stepped == lease.lease_id or running == {lease.lease_id}:
            failure = Failure(
                kind=failure_pb2.FAILURE_KIND_USER,
                code="WorkerDied",
                message=f"the process of the task {how} before the task returned{_reason(ended)}",
                worker=str(worker),
            )
        elif ended.oom:
            failure = system(
                "WorkerDied", f"worker {worker} exceeded its memory limit because of another action", worker
            )
        else:
            failure = system(
                "WorkerDied", f"worker {worker} {how}, which this action shared with others", worker
            )
        failures[lease.lease_id] = failure
    return failures


def _peak(ended: WorkerExit) -> str:
    return f" (peak {ended.peak_memory_bytes} bytes)" if ended.peak_memory_bytes else ""


def _reason(ended: WorkerExit) -> str:
    return f" ({ended.reason})" if ended.reason else ""


def _kills(lease_ids: Iterable[int]) -> str:
    ids = ", ".join(str(lease_id) for lease_id in sorted(lease_ids))
    return f"lease {ids} in it had to be stopped and did not end by itself" if ids else ""

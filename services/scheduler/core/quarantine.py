"""Tasks that keep ending their workers are stopped before they take more of them down."""

from __future__ import annotations

from dataclasses import dataclass

from .model import SECOND, Failure, FailureKind, Task

DEATHS = 10  # of workers, one after the other, without a success of the task in between
DURATION = 600 * SECOND

WORKER_DIED = "WorkerDied"  # code of the failure that executors report when user code ends its own process


@dataclass(slots=True)
class Record:
    """What is held against a definition of a task."""

    deaths: int = 0
    until: int = 0
    last: str = ""


class Quarantine:
    """Deaths of workers per definition of a task. A changed definition starts with a clean record."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def succeeded(self, task: Task) -> None:
        """An attempt of the task ended well."""
        if self._records:
            self._records.pop(task.digest, None)

    def failed(self, task: Task, failure: Failure, now: int) -> None:
        """An attempt of the task failed."""
        if failure.kind is not FailureKind.USER or failure.code != WORKER_DIED:
            return
        record = self._records.setdefault(task.digest, Record())
        record.deaths += 1
        record.last = failure.message
        if record.deaths >= DEATHS:
            record.until = now + DURATION

    def verdict(self, task: Task, now: int) -> Failure | None:
        """Why an action of the task may not run now, None when it may."""
        record = self._records.get(task.digest)
        if record is None or record.until <= now:
            return None
        message = (
            f"{task.name} is quarantined: it ended its worker {record.deaths} times in a row without a success. "
            f"The last time: {record.last} Change the task, or try again in {(record.until - now) // SECOND + 1} s."
        )
        return Failure(FailureKind.USER, "Quarantined", message, non_recoverable=True)

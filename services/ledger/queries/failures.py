"""What failed, as queries return it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Table


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """A failure of an attempt, an action or a run."""

    kind: int
    """Number of `hangar.core.v1.FailureKind`."""
    code: str
    message: str
    traceback: str
    non_recoverable: bool
    worker: str


def failure_columns(table: Table) -> list[Column[Any]]:
    """Return the columns that make up a failure, in the order of the record."""
    c = table.c
    return [
        c.failure_kind,
        c.failure_code,
        c.failure_message,
        c.failure_traceback,
        c.failure_non_recoverable,
        c.failure_worker,
    ]


def failure_of(values: Sequence[Any]) -> FailureRecord | None:
    """Return the failure in these columns, None when nothing failed."""
    return FailureRecord(*values) if values[0] else None

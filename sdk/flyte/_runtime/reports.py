"""Reports of attempts: written through the executor beside the attempt's outputs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flyte._runtime.blob_access import LeaseObjects

if TYPE_CHECKING:
    from flyte._runtime.controller import LeaseController
    from flyte._runtime.lease import Lease
    from flyte._task import TaskTemplate
    from flyte.report import Report


class _Object:
    """A report as an object of the blob store, which is replaced whole."""

    def __init__(self, objects: LeaseObjects) -> None:
        self._objects = objects

    def store(self, pieces: Iterable[bytes]) -> None:
        """Replaces the object; blocks until that is durable."""
        with self._objects.create_object(self._objects.report_key) as file:
            file.writelines(pieces)


def attempt_report(task: TaskTemplate[Any, Any], lease: Lease, objects: LeaseObjects) -> Report | None:
    """A new report for an attempt, None when its task writes none."""
    if not task.report:
        return None
    from flyte.report import Report

    return Report(f"{task.short_name} · {lease.action}", _Object(objects))


def keep_report(controller: LeaseController, *, failed: bool) -> None:
    """Stores the report of an attempt whose code has ended. Blocks.

    Args:
        controller: The attempt's.
        failed: The attempt has failed already: what goes wrong here goes to its log.

    Raises:
        BaseRuntimeError: It cannot be stored, and nothing else has failed.
    """
    if controller.report is None:
        return
    try:
        controller.report.flush()
    except Exception as error:
        if not failed:
            raise
        sys.stderr.write(f"the report of this attempt is not complete: {error}\n")

"""Reports: HTML that attempts write beside their outputs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from hangar.admin.v1 import run_service_pb2 as messages
from hangar.core.v1.identifiers_pb2 import ActionIdentifier
from services.admin.actions import Actions
from services.admin.reader import LedgerReader
from services.common.blobs import Blob, BlobStore
from services.common.errors import NotFound
from services.ledger.queries import attempts as attempt_queries

_URL_TIME = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Report:
    """A report that is stored."""

    attempt: int
    """Attempt that wrote it, from 0."""
    blob: Blob
    """The document."""


class Reports:
    """Use cases of reports. The ledger does not know them: an attempt that has one has the object.

    Args:
        reader: Reads the ledger.
        actions: Knows the actions.
        blobs: Has the documents.
    """

    def __init__(self, reader: LedgerReader, actions: Actions, blobs: BlobStore) -> None:
        self._reader = reader
        self._actions = actions
        self._blobs = blobs

    async def find(self, identifier: ActionIdentifier, attempt: int | None) -> Report:
        """Returns the report of an attempt, or of the newest that has one.

        Raises:
            NotFound: There is no such action, or no report (reason ``REPORT_NOT_FOUND``).
            Unavailable: The blob store does not answer.
        """
        record = await self._actions.record(identifier)
        attempts = await self._reader.read(lambda ledger: attempt_queries.list_attempts(ledger, record.id))
        run = identifier.run
        for each in reversed(attempts):
            if attempt is not None and each.number != attempt:
                continue
            prefix = f"runs/{run.project}/{run.domain}/{run.name}/{identifier.name}/{each.number}"
            try:
                return Report(each.number, await self._blobs.head(f"{prefix}/report.html"))
            except NotFound:
                continue
        which = "" if attempt is None else f" in attempt {attempt}"
        message = (
            f"action {identifier.name!r} of run {run.name!r} has written no report{which}, or not yet: its task has to "
            "be declared with @env.task(report=True), and to write something"
        )
        raise NotFound(message, reason="REPORT_NOT_FOUND", run=run.name, action=identifier.name)

    async def describe(self, identifier: ActionIdentifier, attempt: int | None) -> messages.GetReportResponse:
        """Returns what is known of a report, and where to read it."""
        report = await self.find(identifier, attempt)
        answer = messages.GetReportResponse(attempt=report.attempt, size=report.blob.size)
        answer.updated_at.FromDatetime(report.blob.modified_at)
        answer.url = await self._blobs.sign_get(report.blob.key, _URL_TIME)
        return answer

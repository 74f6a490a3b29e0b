"""Reports of actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flyte._client import _transfer
from hangar.admin.v1 import run_service_pb2

if TYPE_CHECKING:
    from flyte._client._client import Client
    from hangar.core.v1 import identifiers_pb2


@dataclass(frozen=True)
class StoredReport:
    """A report.

    Attributes:
        attempt: Attempt that wrote it, from 0.
        html: The document.
    """

    attempt: int
    html: str


async def fetch_report(
    client: Client, action: identifiers_pb2.ActionIdentifier, attempt: int | None
) -> StoredReport:
    """Reads a report: of an attempt, or of the newest that has one.

    Raises:
        flyte.errors.RuntimeUserError: There is none (code "ReportNotFoundError").
    """
    request = run_service_pb2.GetReportRequest(id=action, attempt=attempt)
    answer = await client.call(client.runs.GetReport, request)

    async def renew() -> str:
        return (await client.call(client.runs.GetReport, request)).url

    content = await _transfer.get(answer.url, renew)
    return StoredReport(answer.attempt, content.decode("utf-8", "replace"))

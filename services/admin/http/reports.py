"""Reports for the run page: untrusted documents, each in a sandbox of its own."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from services.admin.http.paths import ACTION, action_of, attempt_of
from services.admin.reports import Report, Reports
from services.common.blobs import BlobStore
from services.common.errors import NotFound

# A report belongs to whoever wrote the task, not to this origin: without `allow-same-origin` it has an origin of its
# own, so that no cookie, no storage and no answer of this port is in its reach. Its scripts run, and may load what
# charts load from the public network.
_SANDBOX = "sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox allow-downloads"
_HEADERS = {
    "content-security-policy": f"{_SANDBOX}; default-src https: data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "cache-control": "private, no-store",
}


class ReportEndpoints:
    """What the run page asks for.

    Args:
        reports: Finds reports.
        blobs: Has the documents.
    """

    def __init__(self, reports: Reports, blobs: BlobStore) -> None:
        self._reports = reports
        self._blobs = blobs

    @property
    def routes(self) -> list[Route]:
        """Routes of the endpoints."""
        return [Route(ACTION + "/report", self.describe), Route(ACTION + "/report.html", self.document)]

    async def describe(self, request: Request) -> Response:
        """Says which attempt has a report, and which state of it; nothing when there is none yet."""
        try:
            report = await self._find(request)
        except NotFound as error:
            if error.reason != "REPORT_NOT_FOUND":
                raise
            return JSONResponse({})
        blob = report.blob
        state = f"{blob.size}-{blob.modified_at.timestamp()}"
        return JSONResponse({"attempt": report.attempt, "size": blob.size, "state": state})

    async def document(self, request: Request) -> Response:
        """The document itself, in a sandbox."""
        report = await self._find(request)
        key, size = report.blob.key, report.blob.size
        return StreamingResponse(
            self._blobs.get_stream(key, 0, size), 200, _HEADERS, "text/html; charset=utf-8"
        )

    async def _find(self, request: Request) -> Report:
        return await self._reports.find(action_of(request), attempt_of(request))

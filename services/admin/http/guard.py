"""What every response says to browsers, and which requests are refused before anything else."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}


class Guard:
    """Keeps other web sites out.

    On loopback there may be no token, and with one the browser sends its cookie by itself: a page of another site
    must neither read (by a name of its own that leads here) nor change anything.

    Args:
        app: What it guards.
        hosts: Host names that requests may be for.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        problem = self._problem(scope)
        if problem:
            refusal = JSONResponse({"reason": "REQUEST_REFUSED", "message": problem}, 403)
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    def _problem(self, scope: Scope) -> str:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        name = host.rpartition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
        if name.lower() not in self._hosts:
            return f"host {host[:100]!r} is not served here: use {' or '.join(sorted(self._hosts))}"
        if scope["method"] in _UNSAFE and not scope["path"].startswith("/v1/blobs/"):
            if headers.get("sec-fetch-site", "same-origin") != "same-origin":
                return "pages of other sites may not change anything here"
            if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
                return "send content-type application/json"
        return ""

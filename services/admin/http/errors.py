"""Errors of the platform as HTTP responses."""

from __future__ import annotations

import html

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from services.common import errors

_log = structlog.get_logger(__name__)

_STATUS: dict[type[errors.HangarError], int] = {
    errors.InvalidArgument: 400,
    errors.Unauthenticated: 401,
    errors.PermissionDenied: 403,
    errors.NotFound: 404,
    errors.AlreadyExists: 409,
    errors.FailedPrecondition: 409,
    errors.ResourceExhausted: 429,
    errors.Unimplemented: 501,
    errors.Unavailable: 503,
}
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Hangar</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/style.css"></head>
<body><header class="top"><a class="brand" href="/">Hangar</a></header>
<main class="message"><h1>{title}</h1><p>{text}</p><p><a href="/">All recent runs</a></p></main></body>
</html>
"""


def status_of(error: errors.HangarError) -> int:
    """Returns the HTTP status of an error."""
    if error.reason == "BLOB_TOO_LARGE":
        return 413
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def page_response(status: int, title: str, text: str) -> Response:
    """Returns a page that says what is wrong, to people."""
    return HTMLResponse(_PAGE.format(title=html.escape(title), text=html.escape(text)), status)


async def on_hangar_error(request: Request, error: Exception) -> Response:
    """Answers with an error: a page for browsers that look at a page, JSON otherwise."""
    if not isinstance(error, errors.HangarError):
        _log.error("request failed unexpectedly", path=request.url.path, exc_info=error)
        error = errors.Internal("a defect of the platform; its log says more", reason="UNEXPECTED")
    status = status_of(error)
    if request.url.path.startswith(("/api/", "/v1/")):
        return JSONResponse({"reason": error.reason, "message": error.message}, status)
    title = "Not found" if status == 404 else "That did not work"
    return page_response(status, title, error.message)


async def on_unknown_path(request: Request, error: Exception) -> Response:
    """Answers requests for paths that do not exist."""
    missing = errors.NotFound(f"there is nothing at {request.url.path}", reason="PATH_NOT_FOUND")
    return await on_hangar_error(request, missing)

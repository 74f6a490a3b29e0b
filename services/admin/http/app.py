"""The HTTP application."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from hangar.core.v1.identifiers_pb2 import RunIdentifier
from services.admin.http.blobs import BlobEndpoints
from services.admin.http.errors import on_hangar_error, on_unknown_path
from services.admin.http.guard import Guard
from services.admin.http.login import LoginEndpoint, Sessions, TokenGate
from services.admin.runs import Runs
from services.common.auth import Token
from services.common.errors import HangarError

_STATIC = Path(str(files("services.admin.http"))) / "static"
_HOSTS = ("127.0.0.1", "localhost", "[::1]")


def build_http_app(
    runs: Runs,
    api: Sequence[Route],
    blobs: BlobEndpoints | None,
    public_url: str = "",
    token: Token | None = None,
) -> Starlette:
    """Returns the application: pages, their JSON, and objects.

    Args:
        runs: Knows which runs have a page.
        api: What the pages ask for.
        blobs: Objects, None when the blob store signs and serves by itself.
        public_url: Address of the HTTP port as clients see it. Requests may be for its host, beside loopback.
        token: What has to be shown. None: nothing.
    """
    hosts = [*_HOSTS, _host(public_url)] if public_url else _HOSTS
    middleware = [Middleware(Guard, hosts=hosts)]
    login = []
    if token is not None:
        sessions = Sessions(token)
        gate = Middleware(TokenGate, token=token, sessions=sessions, login_page=_STATIC / "login.html")
        middleware.append(gate)
        login.append(LoginEndpoint(token, sessions, public_url).route)

    async def run_page(request: Request) -> Response:
        await runs.record(RunIdentifier(**request.path_params))
        return _page("run.html")

    async def local_run_page(request: Request) -> Response:
        return _page("run.html")

    async def runs_page(request: Request) -> Response:
        return _page("runs.html")

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    routes: list[BaseRoute] = [
        Route("/", runs_page),
        Route("/v2/runs/project/{project}/domain/{domain}/{name}", run_page),
        Route("/v2/domain/{domain}/project/{project}/runs/{name}", run_page),
        Route("/local/runs/{name}", local_run_page),
        Route("/healthz", health),
        *login,
        *api,
        *(blobs.routes if blobs else ()),
        Mount("/static", _Static(directory=_STATIC)),
    ]
    return Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={HangarError: on_hangar_error, 404: on_unknown_path, 500: on_hangar_error},
    )


def _host(url: str) -> str:
    host = urlsplit(url).hostname or ""
    return f"[{host}]" if ":" in host else host


class _Static(StaticFiles):
    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"  # pages of another version must not meet old scripts
        return response


def _page(name: str) -> Response:
    return FileResponse(_STATIC / name, media_type="text/html", headers={"cache-control": "no-cache"})

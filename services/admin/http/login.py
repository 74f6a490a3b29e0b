"""Who may see the pages and their JSON when the installation has a token: those who show it, or have signed in."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from services.admin.http.bodies import read_json
from services.admin.http.errors import status_of
from services.common.auth import Token, check_authorization
from services.common.blob_urls import PATH as BLOBS
from services.common.errors import InvalidArgument, Unauthenticated

SESSION_SECONDS = 12 * 3600
"""How long a browser stays signed in."""
COOKIE = "hangar_session"
LOGIN_PATH = "/api/v1/login"
_OPEN = ("/healthz", "/static/", LOGIN_PATH, BLOBS)  # blobs have signatures of their own
_LONGEST = 4096


class Sessions:
    """Signed-in browsers, without a list of them: a cookie holds its end and a signature made with the token.

    Args:
        token: The token; with another one all sessions end.
        clock: Returns the time in seconds since 1970.
    """

    def __init__(self, token: Token, clock: Callable[[], float] = time.time) -> None:
        self._token = token
        self._clock = clock

    def begin(self) -> str:
        """Returns the value of a new cookie."""
        end = str(int(self._clock()) + SESSION_SECONDS)
        return f"{end}.{self._sign(end)}"

    def is_valid(self, value: str) -> bool:
        """Says whether a cookie is one of ours that has not ended."""
        end, _, signature = value.partition(".")
        if not end.isascii() or not end.isdecimal() or len(end) > 12:
            return False
        return hmac.compare_digest(signature.encode(), self._sign(end).encode()) and self._clock() < int(end)

    def _sign(self, end: str) -> str:
        return self._token.sign(f"session {end}")


class TokenGate:
    """Lets requests pass that show the token or come from a browser that has signed in.

    Browsers that ask for a page get one to sign in, at the same address.

    Args:
        app: What it guards.
        token: The token.
        sessions: Knows who has signed in.
        login_page: HTML file to sign in.
    """

    def __init__(self, app: ASGIApp, token: Token, sessions: Sessions, login_page: Path) -> None:
        self._app = app
        self._token = token
        self._sessions = sessions
        self._login_page = login_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] == "http" and not scope["path"].startswith(_OPEN):
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        authorization = headers.get("authorization")
        if authorization is None and self._sessions.is_valid(_cookie(headers.get("cookie", ""))):
            return None
        try:
            check_authorization(self._token, authorization)
        except Unauthenticated as error:
            answer = {"www-authenticate": "Bearer", "cache-control": "no-store"}
            if authorization is None and not scope["path"].startswith(("/api/", "/v1/")):
                return FileResponse(self._login_page, 401, answer, "text/html")
            return JSONResponse({"reason": error.reason, "message": error.message}, status_of(error), answer)
        return None


class LoginEndpoint:
    """Signing in: the token is exchanged for a cookie that scripts cannot read.

    Args:
        token: The token.
        sessions: Makes the cookies.
        public_url: Address of the HTTP port as browsers see it. With https, the cookie goes over TLS only.
    """

    def __init__(self, token: Token, sessions: Sessions, public_url: str) -> None:
        self._token = token
        self._sessions = sessions
        self._secure = urlsplit(public_url).scheme == "https"

    @property
    def route(self) -> Route:
        """Route of the endpoint."""
        return Route(LOGIN_PATH, self.login, methods=["POST"])

    async def login(self, request: Request) -> Response:
        """Takes `{"token": …}` and answers with the cookie."""
        body = await read_json(request, _LONGEST, "token")
        presented = body.get("token") if isinstance(body, dict) else None
        if not isinstance(presented, str):
            raise InvalidArgument('send {"token": "…"}', field="token")
        check_authorization(self._token, f"Bearer {presented.strip()}")
        answer = Response(status_code=204, headers={"cache-control": "no-store"})
        answer.set_cookie(
            COOKIE,
            self._sessions.begin(),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=self._secure,
        )
        return answer


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""

"""The admin token: where it comes from, who has to show it, and who may listen without one."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from services.common.errors import FailedPrecondition, InvalidArgument, Unauthenticated
from services.common.interceptor import CallInterceptor, Context

PREFIX = "hgr_"
"""What generated tokens begin with, so that scanners for secrets find them."""
_RANDOM_BYTES = 32
_SHORTEST = 20
_OPEN = "/grpc.health.v1.Health/"
_WHERE = "the operator gets it with `hangar token`; the SDK reads it from FLYTE_API_KEY"


class Token:
    """The secret that callers show. It never appears in what is printed or logged of it.

    Args:
        text: The token.

    Raises:
        InvalidArgument: It is too short, or holds what cannot be sent in a header (reason ``TOKEN_INVALID``).
    """

    def __init__(self, text: str) -> None:
        if len(text) < _SHORTEST or not text.isascii() or not text.isprintable() or " " in text:
            message = (
                f"the token has {len(text)} characters: it needs at least {_SHORTEST}, printable ASCII without "
                "blanks; `hangar token` makes a good one"
            )
            raise InvalidArgument(message, reason="TOKEN_INVALID")
        self._text = text

    def __repr__(self) -> str:
        return "Token(…)"

    @property
    def authorization(self) -> str:
        """The value of the header ``authorization`` that shows it."""
        return f"Bearer {self._text}"

    def reveal(self) -> str:
        """Returns the token itself, to be handed to people or written to its file."""
        return self._text

    def matches(self, presented: str) -> bool:
        """Says whether somebody showed this token, in a time that does not depend on how much of it is right."""
        return hmac.compare_digest(_digest(presented), _digest(self._text))

    def sign(self, text: str) -> str:
        """Returns a signature of a text that only those who have the token can make, as hex."""
        return hmac.new(_digest(self._text), text.encode(), hashlib.sha256).hexdigest()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()


def read_token(path: Path) -> Token:
    """Returns the token in a file; blanks and line ends around it do not count.

    Raises:
        FailedPrecondition: The file cannot be read (reason ``TOKEN_FILE_UNREADABLE``).
        InvalidArgument: It holds no token.
    """
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        message = (
            f"token file {path} cannot be read: {error.strerror}; make it with `hangar token --file {path}`, "
            "or name another one with HANGAR_TOKEN_FILE"
        )
        raise FailedPrecondition(message, reason="TOKEN_FILE_UNREADABLE") from error
    try:
        return Token(text)
    except InvalidArgument as error:
        message = f"token file {path} is not usable: {error.message}"
        raise InvalidArgument(message, reason=error.reason) from None


def ensure_token(path: Path) -> Token:
    """Returns the token in a file, which is made with a new one when it does not exist, for its owner only.

    Several may do so at once: all get the same.

    Raises:
        FailedPrecondition: The file cannot be made or read (reason ``TOKEN_FILE_UNREADABLE``).
    """
    path = path.expanduser().absolute()
    if path.exists():
        return read_token(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"{PREFIX}{secrets.token_urlsafe(_RANDOM_BYTES)}\n")
                file.flush()
                os.fsync(file.fileno())
            Path(path).hardlink_to(fresh)  # whole, and only when there is none yet
        except FileExistsError:
            pass
        finally:
            Path(fresh).unlink()
    except OSError as error:
        message = f"token file {path} cannot be made: {error.strerror}; choose another place with --file"
        raise FailedPrecondition(message, reason="TOKEN_FILE_UNREADABLE") from error
    return read_token(path)


def is_loopback(host: str) -> bool:
    """Says whether only this machine can reach an address that is listened on."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, token: Token | None, setting: str = "host") -> None:
    """Accepts an address to listen on: one of this machine only, or any when there is a token.

    Args:
        host: The address.
        token: What callers have to show.
        setting: Name of the setting that the address comes from, for the message.

    Raises:
        InvalidArgument: Others could reach the address without showing anything (reason ``TOKEN_REQUIRED``).
    """
    if token is None and not is_loopback(host):
        message = (
            f"{setting} is {host!r}, which others can reach: that needs a token. Make one with `hangar token` and "
            "name its file with HANGAR_TOKEN_FILE (or give it in HANGAR_TOKEN), or listen on 127.0.0.1"
        )
        raise InvalidArgument(message, reason="TOKEN_REQUIRED", field=setting)


def check_authorization(token: Token, header: str | None) -> None:
    """Accepts the value of the header ``authorization`` of somebody who has the token.

    Raises:
        Unauthenticated: There is no token (reason ``TOKEN_MISSING``), or it is another (``TOKEN_WRONG``).
    """
    if not header:
        raise Unauthenticated(
            f"this call needs a token, as `authorization: Bearer TOKEN`: {_WHERE}", reason="TOKEN_MISSING"
        )
    scheme, _, presented = header.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated(
            f"authorization has to be `Bearer TOKEN`, not another scheme: {_WHERE}", reason="TOKEN_MISSING"
        )
    if not token.matches(presented.strip()):
        raise Unauthenticated(
            f"the token is not the one of this installation: {_WHERE}", reason="TOKEN_WRONG"
        )


class TokenInterceptor(CallInterceptor):
    """Demands the token of every call but those of health.

    Args:
        token: The token.
    """

    def __init__(self, token: Token) -> None:
        self._token = token

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: Context) -> AsyncIterator[None]:
        """Returns what refuses one call whose metadata have no token."""
        if not str(details.method).startswith(_OPEN):
            headers = dict(context.invocation_metadata() or ())
            header = headers.get("authorization")
            check_authorization(self._token, header if isinstance(header, str) else None)
        yield

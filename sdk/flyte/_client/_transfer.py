"""Moves bytes to and from signed URLs: of the backend's HTTP port, or of the object store behind it."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from flyte import errors
from flyte._client._client import Client
from flyte._client._retry import Backoff
from hangar.admin.v1 import data_service_pb2

_log = logging.getLogger("flyte")

_TIMEOUT_SECONDS = 60.0
_PATIENCE_SECONDS = 30.0
_PIECE_BYTES = 1024 * 1024
_SHOW_SECONDS = 3.0
"""How often a transfer that takes long says how far it is."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_EXPIRED_STATUS = frozenset({400, 401, 403})
"""What stores say of a signature whose time is over: S3 says 403, some of its kind 400."""
_RENEWALS = 2

_Place = data_service_pb2.Upload


async def upload(
    client: Client, project: str, domain: str, kind: data_service_pb2.UploadKind, content: bytes | Path
) -> str:
    """Stores content by its address, unless the backend has it already.

    A try that fails asks for a new URL, so one that expired or moved meanwhile does no harm.

    Args:
        client: The backend.
        project: Project that it is for.
        domain: Domain that it is for.
        kind: What it is.
        content: The bytes, or a file, which is read piece by piece.

    Returns:
        Its key in the blob store.

    Raises:
        flyte.errors.RuntimeSystemError: When it cannot be stored.
    """
    size, sha256 = await asyncio.to_thread(identity_of, content)
    wanted = data_service_pb2.UploadRequest(kind=kind, sha256=sha256, size=size)
    request = data_service_pb2.CreateUploadsRequest(project=project, domain=domain, uploads=[wanted])

    async def place() -> _Place:
        [found] = (await client.call(client.data.CreateUploads, request)).uploads
        return found

    first = await place()
    if not first.exists:
        await put(first.url, content, lambda: url_of(place))
    return first.key


async def url_of(place: Callable[[], Awaitable[_Place]]) -> str:
    """A new URL, empty when the content is stored already: an answer was lost on its way."""
    found = await place()
    return "" if found.exists else found.url


async def put(url: str, content: bytes | Path, renew: Callable[[], Awaitable[str]] | None = None) -> None:
    """Sends content to a signed URL.

    Args:
        url: The URL.
        content: The bytes, or a file, which is read piece by piece.
        renew: Returns a new URL for the next try, empty when the content is there. None: the same one again.

    Raises:
        flyte.errors.RuntimeSystemError: When it is refused, or nothing answers.
    """
    await _try_again("PUT", url, lambda url: _request("PUT", url, content), renew)


async def get(url: str, renew: Callable[[], Awaitable[str]] | None = None) -> bytes:
    """Reads content from a signed URL.

    Args:
        url: The URL.
        renew: Returns a new one when this one has expired. None: then it fails.

    Raises:
        flyte.errors.RuntimeSystemError: When it is refused, or nothing answers.
    """
    return await _try_again("GET", url, lambda url: _request("GET", url, None), renew)


async def get_range(url: str, start: int, end: int, renew: Callable[[], Awaitable[str]]) -> bytes:
    """As `get`, for the bytes from `start` up to but without `end`, of which there is at least one."""
    headers = {"Range": f"bytes={start}-{end - 1}"}
    return await _try_again("GET", url, lambda url: _request("GET", url, None, headers), renew)


async def get_file(url: str, path: Path, size: int, renew: Callable[[], Awaitable[str]]) -> None:
    """As `get`, into a file, which is not held in memory. A try that broke off goes on where it was.

    Raises:
        flyte.errors.RuntimeSystemError: As `get`.
        OSError: The file cannot be written.
    """
    with path.open("wb"):
        pass
    if size:
        await _try_again("GET", url, lambda url: _request_into(url, path, size), renew)


async def _try_again(
    method: str, url: str, make: Callable[[str], bytes], renew: Callable[[], Awaitable[str]] | None
) -> bytes:
    """Makes a request until it succeeds, is refused for good, or its time is over."""
    backoff = Backoff(_PATIENCE_SECONDS)
    renewals = _RENEWALS if renew is not None else 0
    while True:
        try:
            return await asyncio.to_thread(make, url)
        except urllib.error.HTTPError as error:
            with error:
                detail = error.read(500).decode("utf-8", errors="replace").strip()
            expired = error.code in _EXPIRED_STATUS and renewals > 0
            renewals -= expired
            if not expired and (error.code not in _RETRIED_STATUS or not await backoff.wait()):
                raise _failure(
                    method, url, f"was refused with status {error.code}: {detail or error.reason}"
                ) from None
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            if not await backoff.wait():
                reason = getattr(error, "reason", None) or error
                raise _failure(
                    method,
                    url,
                    f"failed: {reason}. This address, which the backend gave, must be reachable from here.",
                ) from None
        if renew is not None:
            url = await renew()
            if not url:
                return b""


def _failure(method: str, url: str, what: str) -> errors.RuntimeSystemError:
    """The error of a transfer. The query of the URL is left out: it holds the signature."""
    parts = urlsplit(url)
    return errors.RuntimeSystemError(
        "BlobTransferError", f"{method} {parts.scheme}://{parts.netloc}{parts.path} {what}"
    )


def identity_of(content: bytes | Path) -> tuple[int, str]:
    """Size and hex SHA-256."""
    digest = hashlib.sha256()
    size = 0
    for piece in _pieces(content):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def _pieces(content: bytes | Path) -> Iterator[bytes]:
    """The content in pieces."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece
    else:
        for start in range(0, len(content), _PIECE_BYTES):
            yield content[start : start + _PIECE_BYTES]


class _Progress:
    """Says how far a transfer is, when it takes long."""

    def __init__(self, verb: str, size: int) -> None:
        self._verb = verb
        self._size = size
        self._done = 0
        self._next = time.monotonic() + _SHOW_SECONDS

    def add(self, size: int) -> None:
        self._done += size
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SHOW_SECONDS
            whole = f" of {self._size / 1e6:.1f}" if self._size else ""
            _log.info("%s: %.1f%s MB", self._verb, self._done / 1e6, whole)

    def through(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            yield piece
            self.add(len(piece))


def _request(
    method: str, url: str, content: bytes | Path | None, headers: Mapping[str, str] | None = None
) -> bytes:
    with _answer(method, url, content, headers or {}) as answer:
        return _read(answer, int(answer.headers.get("Content-Length") or 0))


def _request_into(url: str, path: Path, size: int) -> bytes:
    """Appends what a file has not got yet."""
    begin = path.stat().st_size
    with (
        _answer("GET", url, None, {"Range": f"bytes={begin}-{size - 1}"}) as answer,
        path.open("r+b") as file,
    ):
        file.seek(begin if answer.status == http.client.PARTIAL_CONTENT else 0)
        progress = _Progress("Downloading", size)
        while piece := answer.read(_PIECE_BYTES):
            file.write(piece)
            progress.add(len(piece))
        if file.tell() != size:
            raise http.client.IncompleteRead(b"", size - file.tell())
    return b""


def _answer(
    method: str, url: str, content: bytes | Path | None, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise errors.RuntimeSystemError("BlobTransferError", f"{parts.scheme}:// is no HTTP address")
    request = urllib.request.Request(url, method=method, headers=dict(headers))  # noqa: S310 - http and https only
    if content is not None:
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        request.data = _Progress("Uploading", size).through(_pieces(content)) if size else b""
        request.add_header("Content-Length", str(size))
        request.add_header("Content-Type", "application/octet-stream")
    handlers = [urllib.request.ProxyHandler({})] if parts.hostname in _LOOPBACK else []
    opener = urllib.request.build_opener(*handlers)
    return opener.open(request, timeout=_TIMEOUT_SECONDS)  # type: ignore[no-any-return]


def _read(answer: http.client.HTTPResponse, size: int) -> bytes:
    progress = _Progress("Downloading", size)
    body = bytearray()
    while piece := answer.read(_PIECE_BYTES):
        body += piece
        progress.add(len(piece))
    if size and len(body) != size:
        raise http.client.IncompleteRead(b"", size - len(body))
    return bytes(body)

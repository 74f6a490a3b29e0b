"""Moves bytes to and from signed URLs."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from flyte import errors
from flyte._client._client import Client
from flyte._client._retry import Backoff
from hangar.admin.v1 import data_service_pb2

_TIMEOUT_SECONDS = 60.0
_PATIENCE_SECONDS = 30.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


async def upload(
    client: Client, project: str, domain: str, kind: data_service_pb2.UploadKind, content: bytes
) -> str:
    """Stores content by its address, unless the backend has it already.

    Returns:
        Its key in the blob store.

    Raises:
        flyte.errors.RuntimeSystemError: When it cannot be stored.
    """
    wanted = data_service_pb2.UploadRequest(
        kind=kind, sha256=hashlib.sha256(content).hexdigest(), size=len(content)
    )
    answer = await client.call(
        client.data.CreateUploads,
        data_service_pb2.CreateUploadsRequest(project=project, domain=domain, uploads=[wanted]),
    )
    [place] = answer.uploads
    if not place.exists:
        await put(place.url, content)
    return place.key


async def put(url: str, content: bytes) -> None:
    """Sends content to a signed URL.

    Raises:
        flyte.errors.RuntimeSystemError: When it is refused, or nothing answers.
    """
    await _transfer("PUT", url, content)


async def get(url: str) -> bytes:
    """Reads content from a signed URL.

    Raises:
        flyte.errors.RuntimeSystemError: When it is refused, or nothing answers.
    """
    return await _transfer("GET", url, None)


async def _transfer(method: str, url: str, content: bytes | None) -> bytes:
    backoff = Backoff(_PATIENCE_SECONDS)
    what = f"{method} {urlsplit(url).netloc}{urlsplit(url).path}"
    while True:
        try:
            return await asyncio.to_thread(_request, method, url, content)
        except urllib.error.HTTPError as error:
            if error.code not in _RETRIED_STATUS or not await backoff.wait():
                detail = error.read(500).decode("utf-8", errors="replace").strip()
                raise errors.RuntimeSystemError(
                    "BlobTransferError",
                    f"{what} was refused with status {error.code}: {detail or error.reason}",
                ) from None
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            if not await backoff.wait():
                reason = getattr(error, "reason", None) or error
                raise errors.RuntimeSystemError(
                    "BlobTransferError",
                    f"{what} failed: {reason}. The backend's HTTP port must be reachable.",
                ) from None


def _request(method: str, url: str, content: bytes | None) -> bytes:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise errors.RuntimeSystemError("BlobTransferError", f"{url} is no HTTP address")
    request = urllib.request.Request(url, data=content, method=method)  # noqa: S310 - http and https only
    if content is not None:
        request.add_header("Content-Type", "application/octet-stream")
    handlers = [urllib.request.ProxyHandler({})] if parts.hostname in _LOOPBACK else []
    opener = urllib.request.build_opener(*handlers)
    with opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
        body: bytes = answer.read()
    return body

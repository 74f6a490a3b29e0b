"""Signed PUT and GET of objects in a local blob directory."""

from __future__ import annotations

import re

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from services.common.blob_urls import PATH, UrlSigner
from services.common.blobs import BlobStore, check_key, sha256_of_key
from services.common.errors import InvalidArgument, ResourceExhausted

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class BlobEndpoints:
    """Objects over HTTP. The bytes stream between the socket and the disk.

    Args:
        blobs: Where they are.
        signer: Knows what was allowed.
        limit: Largest object in bytes.
    """

    def __init__(self, blobs: BlobStore, signer: UrlSigner, limit: int) -> None:
        self._blobs = blobs
        self._signer = signer
        self._limit = limit

    @property
    def routes(self) -> list[Route]:
        """Routes of the endpoints."""
        path = PATH + "{key:path}"
        return [Route(path, self.put, methods=["PUT"]), Route(path, self.get, methods=["GET", "HEAD"])]

    async def put(self, request: Request) -> Response:
        """Stores an object. Content-addressed keys take only the content that they name."""
        key = self._check(request, "PUT")
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._limit:
            message = f"object {key} has {length} bytes: up to {self._limit} are allowed"
            raise ResourceExhausted(message, reason="BLOB_TOO_LARGE")
        try:
            size = await self._blobs.put_stream(
                key, request.stream(), sha256=sha256_of_key(key), max_bytes=self._limit
            )
        except ClientDisconnect:  # nothing was stored, and nobody is there to hear it
            return Response(status_code=400)
        return JSONResponse({"key": key, "size": size}, 201)

    async def get(self, request: Request) -> Response:
        """Returns an object, or the range of it that is asked for."""
        key = self._check(request, "GET")
        size = (await self._blobs.head(key)).size
        start, end = _range(request.headers.get("range", ""), size)
        partial = (start, end) != (0, size)
        headers = {
            "content-length": str(end - start),
            "accept-ranges": "bytes",
            "cache-control": "private, no-store",
            "content-disposition": "attachment",
        }
        if partial:
            headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
        media = "application/json" if key.endswith(".json") else "application/octet-stream"
        status = 206 if partial else 200
        if request.method == "HEAD":
            return Response(None, status, headers, media)
        return StreamingResponse(self._blobs.get_stream(key, start, end), status, headers, media)

    def _check(self, request: Request, method: str) -> str:
        key = check_key(request.path_params["key"])
        query = request.query_params
        self._signer.check(method, key, query.get("expires", ""), query.get("signature", ""))
        return key


def _range(header: str, size: int) -> tuple[int, int]:
    """Returns where a range begins and ends, the whole object when none or several are asked for."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return 0, size
    first, last = match.groups()
    if first:
        start, end = int(first), min(int(last) + 1 if last else size, size)
    else:
        start, end = max(0, size - int(last)), size
    if start >= end:
        raise InvalidArgument(
            f"range {header!r} is outside of the object's {size} bytes", reason="RANGE_INVALID"
        )
    return start, end

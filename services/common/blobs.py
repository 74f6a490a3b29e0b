"""The blob store: bytes below keys, in a local directory or an object store."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import LocalStore, from_url

from services.common.blob_urls import UrlSigner
from services.common.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_CONTENT_ADDRESSED = re.compile(r"(?:code/([0-9a-f]{64})\.tar\.gz|inputs/([0-9a-f]{64})\.json)")
_PIECE = 1024 * 1024


@dataclass(frozen=True)
class Blob:
    """What is known of a stored object."""

    key: str
    """Key below the store's root."""
    size: int
    """Size in bytes."""
    modified_at: datetime
    """When it was last written."""


def check_key(key: str) -> str:
    """Returns a key that is fit to be one.

    Raises:
        InvalidArgument: It is too long, or its parts are not plain file names.
    """
    if len(key) > 1024 or not _KEY.fullmatch(key):
        message = f"blob key {key[:100]!r} is not valid: use letters, digits, '.', '_' and '-', parted by '/'"
        raise InvalidArgument(message, reason="BLOB_KEY_INVALID")
    return key


def sha256_of_key(key: str) -> str:
    """Returns the hex SHA-256 that the content of a content-addressed key must have, empty for other keys."""
    match = _CONTENT_ADDRESSED.fullmatch(key)
    return (match[1] or match[2]) if match else ""


def check_sha256(content: bytes, expected: str) -> None:
    """Accepts content that has a digest.

    Args:
        content: The bytes.
        expected: Hex SHA-256 in lower case.

    Raises:
        InvalidArgument: It has another digest (reason ``DIGEST_MISMATCH``).
    """
    _compare(hashlib.sha256(content).hexdigest(), expected)


class BlobStore:
    """Objects below the root of a URL. A write is seen whole or not at all, and is on disk when it returns.

    Args:
        url: ``file:///directory`` (made when it does not exist) or ``s3://bucket/prefix``. Credentials of
            object stores come from their usual environment variables.
        signer: Makes URLs for a local directory. Object stores sign themselves.

    Raises:
        InvalidArgument: The URL has another scheme.
        FailedPrecondition: The directory cannot be made.
    """

    def __init__(self, url: str, signer: UrlSigner | None = None) -> None:
        scheme = urlsplit(url).scheme
        self._signer = signer
        self._root: Path | None = None
        if scheme == "file":
            self._root = Path(unquote(urlsplit(url).path))
            try:
                self._root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                message = f"blob directory {self._root} cannot be made: {error.strerror}; choose another one"
                raise FailedPrecondition(message, reason="BLOB_STORE_UNUSABLE") from error
            self._store: Any = LocalStore(self._root)
        elif scheme == "s3":
            self._store = from_url(url)
        else:
            message = f"blob store {url!r} is not supported: use file:///directory or s3://bucket/prefix"
            raise InvalidArgument(message, reason="BLOB_STORE_URL_INVALID")

    @property
    def directory(self) -> Path | None:
        """The local directory, None for an object store."""
        return self._root

    async def put(self, key: str, content: bytes) -> None:
        """Stores bytes, over what was there."""
        check_key(key)
        try:
            await obstore.put_async(self._store, key, content)
            await self._sync(key)
        except (obstore.exceptions.BaseError, OSError) as error:
            raise _failure(error, key) from error

    async def put_stream(
        self, key: str, content: AsyncIterator[bytes], *, sha256: str = "", max_bytes: int | None = None
    ) -> int:
        """Stores bytes as they come, without holding them all, and returns how many they were.

        Args:
            key: Where to store.
            content: Pieces of any size.
            sha256: Hex digest that the whole must have, or nothing is stored. Empty: not checked.
            max_bytes: Nothing is stored when there are more.

        Raises:
            InvalidArgument: The digest differs (reason ``DIGEST_MISMATCH``).
            ResourceExhausted: There are more than `max_bytes` (reason ``BLOB_TOO_LARGE``).
        """
        check_key(key)
        digest = hashlib.sha256()
        total = 0
        reading = False  # an error of the source is the caller's own
        try:
            async with obstore.open_writer_async(self._store, key, buffer_size=8 * _PIECE) as writer:
                reading = True
                async for piece in content:
                    reading = False
                    total += len(piece)
                    if max_bytes is not None and total > max_bytes:
                        message = f"object {key} has more than the {max_bytes} bytes that are allowed"
                        raise ResourceExhausted(message, reason="BLOB_TOO_LARGE")
                    digest.update(piece)
                    await writer.write(piece)
                    reading = True
                reading = False
                if sha256:
                    _compare(digest.hexdigest(), sha256)
            await self._sync(key)
        except (obstore.exceptions.BaseError, OSError) as error:
            if reading:
                raise
            raise _failure(error, key) from error
        return total

    async def get(self, key: str) -> bytes:
        """Returns an object.

        Raises:
            NotFound: There is none.
        """
        try:
            result = await obstore.get_async(self._store, check_key(key))
            return bytes(await result.bytes_async())
        except (obstore.exceptions.BaseError, OSError) as error:
            raise _failure(error, key) from error

    async def get_range(self, key: str, start: int, end: int) -> bytes:
        """Returns the bytes from `start` up to but without `end`, fewer when the object is shorter."""
        if start >= end:
            return b""
        try:
            return bytes(await obstore.get_range_async(self._store, check_key(key), start=start, end=end))
        except (obstore.exceptions.BaseError, OSError) as error:
            raise _failure(error, key) from error

    async def get_stream(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yields the bytes from `start` up to but without `end` in pieces of a megabyte."""
        end = (await self.head(key)).size if end is None else end
        for position in range(start, end, _PIECE):
            yield await self.get_range(key, position, min(position + _PIECE, end))

    async def head(self, key: str) -> Blob:
        """Returns what is known of an object.

        Raises:
            NotFound: There is none.
        """
        try:
            meta = await obstore.head_async(self._store, check_key(key))
        except (obstore.exceptions.BaseError, OSError) as error:
            raise _failure(error, key) from error
        return Blob(key, meta["size"], meta["last_modified"])

    async def exists(self, key: str) -> bool:
        """Says whether there is an object."""
        try:
            await self.head(key)
        except NotFound:
            return False
        return True

    async def delete(self, key: str) -> None:
        """Removes an object. To remove one that does not exist is no error."""
        try:
            await obstore.delete_async(self._store, check_key(key))
        except FileNotFoundError:
            return
        except (obstore.exceptions.BaseError, OSError) as error:
            raise _failure(error, key) from error

    async def list(self, prefix: str = "") -> AsyncIterator[Blob]:
        """Yields the objects below a prefix, which ends where a part of a key ends, in no order."""
        async for batch in obstore.list(self._store, prefix=prefix or None):
            for meta in batch:
                yield Blob(meta["path"], meta["size"], meta["last_modified"])

    async def sign_put(self, key: str, expires_in: timedelta) -> str:
        """Returns a URL that allows to PUT an object."""
        return await self._sign("PUT", key, expires_in)

    async def sign_get(self, key: str, expires_in: timedelta) -> str:
        """Returns a URL that allows to GET an object."""
        return await self._sign("GET", key, expires_in)

    async def _sign(self, method: Any, key: str, expires_in: timedelta) -> str:
        check_key(key)
        if self._root is None:
            url: str = await obstore.sign_async(self._store, method, key, expires_in)
            return url
        if self._signer is None:
            raise FailedPrecondition(
                "this blob store makes no URLs: no HTTP port serves it", reason="BLOB_URLS_OFF"
            )
        return self._signer.sign(method, key, expires_in)

    async def _sync(self, key: str) -> None:
        if self._root is not None:
            await asyncio.to_thread(_sync_file, self._root / key, self._root)


def _sync_file(path: Path, root: Path) -> None:
    _sync(path)
    for parent in path.parents:
        _sync(parent)
        if parent == root:
            return


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _compare(digest: str, expected: str) -> None:
    if digest != expected:
        message = f"the content has SHA-256 {digest}, not {expected}: it changed on the way, or before"
        raise InvalidArgument(message, reason="DIGEST_MISMATCH")


def _failure(error: Exception, key: str) -> NotFound | Unavailable:
    if isinstance(error, FileNotFoundError | obstore.exceptions.NotFoundError):
        return NotFound(f"object {key} does not exist in the blob store", reason="BLOB_NOT_FOUND", key=key)
    cause = str(error).split("\n", 1)[0]
    return Unavailable(f"the blob store failed on {key}: {cause}", reason="BLOB_STORE_FAILED", key=key)

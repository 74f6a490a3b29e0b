"""The blob store: bytes below keys, in a local directory or an object store."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
import structlog
from obstore.store import LocalStore

from services.common import disk, object_store
from services.common.blob_urls import UrlSigner
from services.common.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

_log = structlog.get_logger(__name__)

# Names of files of users are parts of keys. What some store or client would change or read in its own way is out:
# control characters, "\\", "#", and names that begin with a dot.
_PART = r"(?!\.)[^/\\#\x00-\x1f\x7f-\x9f\ud800-\udfff]+"
_KEY = re.compile(rf"{_PART}(/{_PART})*")
_CONTENT_ADDRESSED = re.compile(
    r"(?:code/([0-9a-f]{64})\.tar\.gz|inputs/([0-9a-f]{64})\.json|contexts/([0-9a-f]{64})\.tar"
    r"|data/([0-9a-f]{64})/[^/]+)"
)
_PIECE = 4 * 1024 * 1024
_PART_BYTES, _PARTS_AT_ONCE = 5 * 1024 * 1024, 4
"""Of a multipart upload: so much of a stream is in memory, however long it is."""
_MARKER = "_hangar/store.json"


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
    if len(key) > 1024 or not _KEY.fullmatch(key) or len(key.encode()) > 1024:
        message = (
            f"blob key {key[:100]!r} is not valid: use up to 1024 bytes of names parted by '/', which are not "
            "empty, do not begin with '.', and have no control characters, '\\\\' or '#'"
        )
        raise InvalidArgument(message, reason="BLOB_KEY_INVALID")
    return key


def sha256_of_key(key: str) -> str:
    """Returns the hex SHA-256 that the content of a content-addressed key must have, empty for other keys."""
    match = _CONTENT_ADDRESSED.fullmatch(key)
    return next(filter(None, match.groups()), "") if match else ""


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

    Every operation of an object store is tried again for some seconds when it fails; after that it raises
    `Unavailable` with the cause. Nothing that is raised or logged has a credential in it.

    Args:
        url: ``file:///directory`` (made when it does not exist) or ``s3://bucket/prefix``. Credentials and
            address of object stores come from their usual environment variables.
        signer: Makes URLs for a local directory. Object stores sign themselves.
        public_endpoint: Address of the object store as clients see it, such as ``"https://blobs.example.com"``,
            when it is another one. Signed URLs are for it.

    Raises:
        InvalidArgument: The URL has another scheme, or no bucket.
        FailedPrecondition: The directory cannot be made, or a variable is missing.
    """

    def __init__(self, url: str, signer: UrlSigner | None = None, *, public_endpoint: str = "") -> None:
        scheme = urlsplit(url).scheme
        self._signer = signer
        self._root: Path | None = None
        self._remote: object_store.ObjectStore | None = None
        self._store: Any
        if scheme == "file":
            self._root = Path(unquote(urlsplit(url).path))
            try:
                self._root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                message = f"blob directory {self._root} cannot be made: {error.strerror}; choose another one"
                raise FailedPrecondition(message, reason="BLOB_STORE_UNUSABLE") from error
            self._store = LocalStore(self._root)
        elif scheme == "s3":
            self._remote = object_store.open_object_store(url, public_endpoint)
            self._store = self._remote.store
        else:
            message = f"blob store {url!r} is not supported: use file:///directory or s3://bucket/prefix"
            raise InvalidArgument(message, reason="BLOB_STORE_URL_INVALID")

    @property
    def directory(self) -> Path | None:
        """The local directory, None for an object store."""
        return self._root

    def __str__(self) -> str:
        return str(self._remote or f"directory {self._root}")

    async def check(self, *, writes: bool = True) -> None:
        """Finds out whether the store can be used, at the cost of one or two small requests.

        Args:
            writes: Whether it has to be writable, which a small object shows that is made once and stays.

        Raises:
            FailedPrecondition: It cannot: the bucket is missing, the credentials are wrong or not enough, the
                directory is read-only. The message says what to do (reason ``BLOB_STORE_UNUSABLE``).
            Unavailable: It does not answer right now (reason ``BLOB_STORE_FAILED``).
        """
        if self._root is not None:
            if writes and not os.access(self._root, os.W_OK | os.X_OK):
                message = (
                    f"blob directory {self._root} is not writable for this user: change its owner or mode"
                )
                raise FailedPrecondition(message, reason="BLOB_STORE_UNUSABLE")
            return
        try:
            async with contextlib.aclosing(self._listing("", 1)) as listing:
                async for _ in listing:
                    break
            if writes:
                await self.create(_MARKER, b"{}\n")
        except Unavailable as error:
            fix = _FIXES.get(error.reason)
            if fix is None:
                raise
            message = f"{error.message}. {fix}"
            raise FailedPrecondition(message, reason="BLOB_STORE_UNUSABLE") from error

    async def create(self, key: str, content: bytes) -> bool:
        """Stores bytes unless there is an object already, and says whether it did. Of several one succeeds."""
        check_key(key)
        try:
            await obstore.put_async(self._store, key, content, mode="create")
            await self._sync(key)
        except (FileExistsError, obstore.exceptions.AlreadyExistsError):
            return False
        except (obstore.exceptions.BaseError, OSError) as error:
            raise self._failure(error, key, len(content)) from error
        return True

    async def put(self, key: str, content: bytes) -> None:
        """Stores bytes, over what was there."""
        check_key(key)
        try:
            await obstore.put_async(
                self._store, key, content, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
            )
            await self._sync(key)
        except (obstore.exceptions.BaseError, OSError) as error:
            raise self._failure(error, key, len(content)) from error

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
            async with obstore.open_writer_async(
                self._store, key, buffer_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
            ) as writer:
                reading = True
                async for piece in content:
                    reading = False
                    total += len(piece)
                    if max_bytes is not None and total > max_bytes:
                        message = f"object {key} has more than the {max_bytes} bytes that are allowed"
                        raise ResourceExhausted(message, reason="BLOB_TOO_LARGE")
                    if sha256:
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
            raise self._failure(error, key, total) from error
        return total

    async def put_file(self, key: str, path: Path, *, sha256: str = "", max_bytes: int | None = None) -> int:
        """Stores a file without holding it in memory, and returns its size. Otherwise as `put_stream`.

        Raises:
            OSError: The file cannot be read.
        """
        return await self.put_stream(key, _pieces_of(path), sha256=sha256, max_bytes=max_bytes)

    async def get_file(self, key: str, path: Path, *, sha256: str = "") -> int:
        """Writes an object to a new file without holding it in memory, and returns its size.

        What fails leaves no file.

        Args:
            key: The object.
            path: Where to write; its directory exists.
            sha256: Hex digest that the content must have. Empty: not checked.

        Raises:
            NotFound: There is no such object.
            InvalidArgument: It has another digest (reason ``DIGEST_MISMATCH``).
            ResourceExhausted: The disk is full; the message names the directory, what is free and what is needed
                (reason ``DISK_FULL``).
            OSError: The file cannot be written.
        """
        size = (await self.head(key)).size
        if size > disk.free_bytes(path.parent):
            raise _disk_full(path.parent, size, key)
        digest = hashlib.sha256()
        try:
            with await asyncio.to_thread(path.open, "xb") as file:
                async for piece in self.get_stream(key, 0, size):
                    await asyncio.to_thread(file.write, piece)
                    if sha256:
                        await asyncio.to_thread(digest.update, piece)
            if sha256:
                _compare(digest.hexdigest(), sha256)
        except FileExistsError:
            raise
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError) and disk.is_full(error):
                raise _disk_full(path.parent, size, key) from error
            raise
        return size

    async def get(self, key: str) -> bytes:
        """Returns an object. Short ones take one request; long ones are fetched as `get_stream` does.

        Raises:
            NotFound: There is none.
        """
        check_key(key)
        try:
            result = await obstore.get_async(self._store, key, options={"range": (0, _PIECE)})
            pieces = [bytes(await result.bytes_async())]
        except (obstore.exceptions.BaseError, OSError) as error:
            if object_store.is_range_invalid(error):
                return b""  # It is empty.
            raise self._failure(error, key) from error
        size = result.meta["size"]
        if size > len(pieces[0]):
            pieces += [piece async for piece in self.get_stream(key, len(pieces[0]), size)]
        return b"".join(pieces)

    async def get_range(self, key: str, start: int, end: int) -> bytes:
        """Returns the bytes from `start` up to but without `end`, fewer when the object is shorter.

        Raises:
            NotFound: There is no such object.
            InvalidArgument: It begins behind the end of the object (reason ``RANGE_INVALID``).
        """
        check_key(key)
        if start >= end:
            return b""
        try:
            return bytes(await obstore.get_range_async(self._store, key, start=start, end=end))
        except (obstore.exceptions.BaseError, OSError) as error:
            if start == 0 and object_store.is_range_invalid(error):
                return b""
            raise self._failure(error, key) from error

    async def get_stream(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yields the bytes from `start` up to but without `end` in pieces of a few megabytes.

        Each piece is a request of its own, so a connection that breaks costs one piece. A few are on their way at once.
        """
        end = (await self.head(key)).size if end is None else end
        positions = iter(range(start, end, _PIECE))
        ahead: deque[asyncio.Task[bytes]] = deque()
        try:
            while True:
                for position in itertools.islice(positions, _PARTS_AT_ONCE - len(ahead)):
                    ahead.append(
                        asyncio.create_task(self.get_range(key, position, min(position + _PIECE, end)))
                    )
                if not ahead:
                    return
                yield await ahead.popleft()
        finally:
            for piece in ahead:
                piece.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)

    async def head(self, key: str) -> Blob:
        """Returns what is known of an object.

        Raises:
            NotFound: There is none.
        """
        try:
            meta = await obstore.head_async(self._store, check_key(key))
        except (obstore.exceptions.BaseError, OSError) as error:
            raise self._failure(error, key) from error
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
            raise self._failure(error, key) from error

    async def list(self, prefix: str = "") -> AsyncIterator[Blob]:
        """Yields the objects below a prefix, which ends where a part of a key ends, in no order.

        Raises:
            Unavailable: The store failed.
        """
        async with contextlib.aclosing(self._listing(prefix, 1000)) as listing:
            async for blob in listing:
                if blob.key != _MARKER:
                    yield blob

    async def _listing(self, prefix: str, batch_size: int) -> AsyncGenerator[Blob]:
        try:
            async for batch in obstore.list(self._store, prefix=prefix or None, chunk_size=batch_size):
                for meta in batch:
                    yield Blob(meta["path"], meta["size"], meta["last_modified"])
        except (obstore.exceptions.BaseError, OSError) as error:
            raise self._failure(error, prefix) from error

    async def sign_put(self, key: str, expires_in: timedelta) -> str:
        """Returns a URL that allows to PUT an object."""
        return await self._sign("PUT", key, expires_in)

    async def sign_get(self, key: str, expires_in: timedelta) -> str:
        """Returns a URL that allows to GET an object."""
        return await self._sign("GET", key, expires_in)

    async def _sign(self, method: Any, key: str, expires_in: timedelta) -> str:
        check_key(key)
        if self._remote is not None:
            try:
                url: str = await obstore.sign_async(self._remote.signing, method, key, expires_in)
            except (obstore.exceptions.BaseError, OSError) as error:
                raise self._failure(error, key) from error
            return url
        if self._signer is None:
            raise FailedPrecondition(
                "this blob store makes no URLs: no HTTP port serves it", reason="BLOB_URLS_OFF"
            )
        return self._signer.sign(method, key, expires_in)

    async def _sync(self, key: str) -> None:
        if self._root is not None:
            await asyncio.to_thread(_sync_file, self._root / key, self._root)

    def _failure(self, error: Exception, key: str, size: int = 0) -> NotFound | Unavailable | InvalidArgument:
        """Returns what to raise for an error of the store on a key, when `size` bytes were to be written."""
        if self._root is not None and disk.is_full(error):
            message = disk.full_message(self._root, size, f"object {key}")
            return Unavailable(message, reason="BLOB_STORE_FULL", key=key)
        if object_store.is_bucket_missing(error):
            message = f"the blob store, {self}, does not exist"
            return Unavailable(message, reason="BLOB_BUCKET_MISSING", key=key)
        if isinstance(error, FileNotFoundError | obstore.exceptions.NotFoundError):
            message = f"object {key} does not exist in the blob store"
            return NotFound(message, reason="BLOB_NOT_FOUND", key=key)
        cause = object_store.cause_of(error)
        if self._remote is not None and object_store.is_refused(error):
            message = f"the blob store, {self}, refuses access ({cause})"
            return Unavailable(message, reason="BLOB_STORE_REFUSED", key=key)
        if object_store.is_range_invalid(error):
            return InvalidArgument(f"the range begins behind the end of object {key}", reason="RANGE_INVALID")
        on = f" on {key}" if key else ""
        return Unavailable(
            f"the blob store, {self}, failed{on}: {cause}", reason="BLOB_STORE_FAILED", key=key
        )


async def check_at_start(blobs: BlobStore) -> None:
    """Checks the store of a service that starts. One that does not answer yet is logged and waited for later.

    Raises:
        FailedPrecondition: As `BlobStore.check`.
    """
    try:
        await blobs.check()
    except Unavailable as error:
        hint = "the service starts all the same, and uses it as soon as it answers"
        _log.warning("blobs.unavailable", error=error.message, hint=hint)


_FIXES = {
    "BLOB_BUCKET_MISSING": "Make the bucket, or name another one in the service's setting of the blob store",
    "BLOB_STORE_REFUSED": (
        f"Check {object_store.VARIABLES}, and that these credentials may list, read and write the bucket"
    ),
}


async def _pieces_of(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece


def _disk_full(directory: Path, needed: int, key: str) -> ResourceExhausted:
    message = disk.full_message(directory, needed, f"object {key}")
    return ResourceExhausted(message, reason="DISK_FULL", directory=directory, needed=needed)


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

"""Objects of the blob store as files of this host, whatever the store is."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.common.blobs import check_key, sha256_of_key
from services.common.errors import InvalidArgument, NotFound
from services.executor.descriptors import is_open_elsewhere, open_below, opened, sync_directories
from services.executor.object_cache import ObjectCache
from services.executor.payloads import Payloads

Waiting = Callable[[str], None]
_AT_ONCE = 8
"""Files that are stored at the same time for one request."""


class Objects:
    """Opens objects and stores files.

    Args:
        payloads: The blob store, asked until it works.
        root: Directory of the store, None for an object store.
        cache: Directory for objects that were fetched.
        cache_bytes: Most bytes of them.
    """

    def __init__(self, payloads: Payloads, root: Path | None, cache: Path, cache_bytes: int) -> None:
        self._payloads = payloads
        self._root = root
        self._cache = ObjectCache(cache, cache_bytes, self._fetch)

    def start(self) -> None:
        """Gets ready.

        Raises:
            OSError: The directory of the cache cannot be used.
        """
        if self._root is None:
            self._cache.start()

    async def close(self) -> None:
        """Stops fetching."""
        await self._cache.close()

    async def open(self, key: str, waiting: Waiting) -> int:
        """Returns a descriptor of an object that can only be read; the caller closes it.

        Args:
            key: The object.
            waiting: Told why it takes long; told "" when that is over.

        Raises:
            HangarError: There is no such object (`NotFound`), or it cannot be fetched.
            OSError: It cannot be opened.
        """
        check_key(key)
        if self._root is None:
            return await self._cache.open(key, waiting)
        try:
            return await opened(open_below, self._root, key)
        except (FileNotFoundError, NotADirectoryError):
            message = f"object {key} does not exist in the blob store"
            raise NotFound(message, reason="BLOB_NOT_FOUND", key=key) from None

    async def size(self, key: str, waiting: Waiting) -> int:
        """Returns the bytes of an object without fetching it.

        Raises:
            HangarError: There is no such object (`NotFound`), or the store cannot be asked.
        """
        return (await self._payloads.head(check_key(key), waiting)).size

    async def listing(self, prefix: str, waiting: Waiting) -> int:
        """Returns a descriptor of a new file with the objects below a prefix, as a JSON array of key and size in order.

        Raises:
            HangarError: The prefix is none, or the store cannot be asked.
        """
        check_key(prefix.removesuffix("/"))
        found = await self._payloads.list(prefix, waiting)
        entries = sorted((blob.key, blob.size) for blob in found)
        return await opened(_written, json.dumps(entries).encode())

    async def store(self, drafts: Mapping[str, Path], waiting: Waiting) -> None:
        """Stores files under keys and removes them. What was stored before under such a key is replaced.

        Doing that again after it was cut off is harmless. The objects never change afterwards, even when a file is
        still open for writing somewhere: then a copy of what it is now is stored.

        Args:
            drafts: The files, of this executor, by key.
            waiting: Told why it takes long; told "" when that is over.

        Raises:
            NotFound: A file is gone and there is no such object.
            InvalidArgument: In a local store another object is where a directory has to be, or the other way round.
            HangarError: It cannot be stored.
            OSError: A file cannot be read.
        """
        for key, draft in drafts.items():
            check_key(key)
            if not draft.exists():
                await self.size(key, waiting)  # it was stored, and the answer got lost
        left = {key: draft for key, draft in drafts.items() if draft.exists()}
        if self._root is not None:
            moved = await asyncio.to_thread(_move, left, self._root)
            left = {key: draft for key, draft in left.items() if key not in moved}
        gate = asyncio.Semaphore(_AT_ONCE)

        async def put(key: str, draft: Path) -> None:
            async with gate:
                await self._payloads.put_file(key, draft, waiting)
            self._cache.drop(key)
            draft.unlink(missing_ok=True)

        await asyncio.gather(*(put(key, draft) for key, draft in left.items()))

    async def _fetch(self, key: str, path: Path, waiting: Waiting) -> None:
        await self._payloads.get_file(key, path, sha256_of_key(key), waiting)


def _move(drafts: Mapping[str, Path], root: Path) -> set[str]:
    """Moves files into a local store and returns the keys of those that were.

    The others have to be copied: they are being written, or on another disk.
    """
    fit = {key: draft for key, draft in drafts.items() if _is_finished(draft)}
    with ThreadPoolExecutor(min(_AT_ONCE, len(fit) or 1)) as threads:  # the disk takes many of them at once
        list(threads.map(_sync, fit.values()))
    moved = {key for key, draft in fit.items() if _placed(draft, root, key)}
    sync_directories((root / key for key in moved), root)
    return moved


def _is_finished(draft: Path) -> bool:
    descriptor = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return not is_open_elsewhere(descriptor, writing=True)
    finally:
        os.close(descriptor)


def _sync(draft: Path) -> None:
    descriptor = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o644)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _placed(draft: Path, root: Path, key: str) -> bool:
    place = root / key
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.replace(place)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        message = f"object {key} cannot be beside an object whose key is a part of its own, or begins with it and '/'"
        raise InvalidArgument(message, reason="BLOB_KEY_TAKEN", key=key) from error
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
        raise
    return True


def _written(content: bytes) -> int:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return os.dup(file.fileno())

"""Objects of the blob store as files of this host, whatever the store is."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

from services.common.blobs import check_key, sha256_of_key
from services.common.errors import InvalidArgument, NotFound
from services.executor.descriptors import is_open_elsewhere, open_below, opened, sync_directories
from services.executor.object_cache import ObjectCache
from services.executor.payloads import Payloads

Waiting = Callable[[str], None]


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

    async def store(self, key: str, draft: Path, waiting: Waiting) -> None:
        """Stores a file under a key and removes it. What was stored before under that key is replaced.

        Doing that again after it was cut off is harmless. The object never changes afterwards, even when the file is
        still open for writing somewhere: then a copy of what it is now is stored.

        Args:
            key: The object.
            draft: The file, of this executor.
            waiting: Told why it takes long; told "" when that is over.

        Raises:
            NotFound: The file is gone and there is no such object.
            InvalidArgument: In a local store another object is where a directory has to be, or the other way round.
            HangarError: It cannot be stored.
            OSError: The file cannot be read.
        """
        check_key(key)
        if not draft.exists():
            descriptor = await self.open(key, waiting)  # it was stored, and the answer got lost
            os.close(descriptor)
            return
        if self._root is None or not await asyncio.to_thread(_move, draft, self._root, key):
            await self._payloads.put_file(key, draft, waiting)
            self._cache.drop(key)
            draft.unlink(missing_ok=True)

    async def _fetch(self, key: str, path: Path, waiting: Waiting) -> None:
        await self._payloads.get_file(key, path, sha256_of_key(key), waiting)


def _move(draft: Path, root: Path, key: str) -> bool:
    """Moves a file into a local store. False when it has to be copied: it is being written, or on another disk."""
    place = root / key
    descriptor = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if is_open_elsewhere(descriptor, writing=True):
            return False
        os.fchmod(descriptor, 0o644)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
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
    sync_directories(place, root)
    return True

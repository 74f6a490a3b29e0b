"""Objects of an object store on this host: each fetched once, the least recently used ones removed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

from services.executor.descriptors import is_open_elsewhere, opened

_PART = ".part"
Waiting = Callable[[str], None]
Fetch = Callable[[str, Path, Waiting], Awaitable[object]]


class ObjectCache:
    """Files below one directory, one per object.

    Args:
        directory: Where they are; made when it does not exist.
        limit: Most bytes that they take together, those aside that are open.
        fetch: Writes an object to a new file; its third argument is told why it takes long.
    """

    def __init__(self, directory: Path, limit: int, fetch: Fetch) -> None:
        self._directory = directory
        self._limit = limit
        self._fetch = fetch
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._guard = threading.Lock()
        self._fetches: dict[str, tuple[asyncio.Task[None], list[Waiting]]] = {}

    def start(self) -> None:
        """Finds what an earlier process left, and removes what it did not finish.

        Raises:
            OSError: The directory cannot be used.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found: list[tuple[float, str, int]] = []
        for path in self._directory.iterdir():
            if path.suffix == _PART:
                path.unlink(missing_ok=True)
            else:
                info = path.stat()
                found.append((info.st_mtime, path.name, info.st_size))
        self._sizes = OrderedDict((name, size) for _, name, size in sorted(found))
        self._make_room("")

    async def open(self, key: str, waiting: Waiting) -> int:
        """Returns a descriptor of an object, read-only. Callers of one object share one fetch.

        Raises:
            HangarError: It cannot be fetched.
            OSError: It cannot be written or opened.
        """
        name = _name(key)
        while True:
            descriptor = await opened(self._open, name)
            if descriptor >= 0:
                return descriptor
            if name not in self._fetches:
                listeners: list[Waiting] = []
                task = asyncio.create_task(self._bring(key, name, listeners))
                self._fetches[name] = task, listeners
                task.add_done_callback(lambda _: self._fetches.pop(name, None))
            task, listeners = self._fetches[name]
            listeners.append(waiting)
            await asyncio.shield(task)

    def drop(self, key: str) -> None:
        """Removes an object that was written again. Who has it open keeps what it was."""
        with self._guard:
            if self._sizes.pop(_name(key), None) is not None:
                self._path(_name(key)).unlink(missing_ok=True)

    async def close(self) -> None:
        """Stops fetching."""
        tasks = [task for task, _ in self._fetches.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _path(self, name: str) -> Path:
        return self._directory / name

    def _open(self, name: str) -> int:
        """Returns a descriptor, -1 when the object is not here."""
        with self._guard:
            if name not in self._sizes:
                return -1
            try:
                descriptor = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                del self._sizes[name]
                return -1
            os.utime(descriptor)
            self._sizes.move_to_end(name)
            return descriptor

    async def _bring(self, key: str, name: str, listeners: list[Waiting]) -> None:
        def waiting(reason: str) -> None:
            for listener in listeners:
                listener(reason)

        part = self._directory / f"{name}-{uuid.uuid4().hex}{_PART}"
        try:
            await self._fetch(key, part, waiting)
            await asyncio.to_thread(self._add, part, name)
        finally:
            part.unlink(missing_ok=True)

    def _add(self, part: Path, name: str) -> None:
        descriptor = os.open(part, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.fchmod(descriptor, 0o644)  # who was given it may open it again by its number, and nobody else
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        with self._guard:
            part.replace(self._path(name))
            self._sizes[name] = size
            self._sizes.move_to_end(name)
        self._make_room(name)

    def _make_room(self, newest: str) -> None:
        """Removes the least recently used objects until the limit is kept, but none that is open."""
        with self._guard:
            total = sum(self._sizes.values())
            for name in list(self._sizes):
                if total <= self._limit:
                    return
                if name != newest and self._remove_unless_open(name):
                    total -= self._sizes.pop(name)

    def _remove_unless_open(self, name: str) -> bool:
        path = self._path(name)
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if is_open_elsewhere(descriptor, writing=False):
                    return False
                path.unlink()
            finally:
                os.close(descriptor)
        return True


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()

"""The platform's store inside a worker: the executor hands over open files."""

from __future__ import annotations

import io
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar

from flyte.io._copies import copy_file
from flyte.io._names import from_key, to_key
from flyte.io._places import STORE

if TYPE_CHECKING:
    from flyte._runtime.blob_access import LeaseObjects


class LeasePlace:
    """What one attempt can reach.

    Args:
        objects: Asks the executor.
    """

    is_store: ClassVar[bool] = True

    def __init__(self, objects: LeaseObjects) -> None:
        self._objects = objects

    @property
    def base(self) -> str:
        """The location below which the attempt writes, without a slash."""
        return STORE + self._objects.prefix

    def new(self, name: str) -> str:
        """A location that nobody has used before."""
        return f"{self.base}/{uuid.uuid4().hex}/{to_key(name.rstrip('/'))}" + "/" * name.endswith("/")

    def reader(self, location: str, block_size: int | None = None) -> IO[bytes]:
        """Opens an object. The first use on this host may fetch it."""
        file = self._objects.open_object(_key(location))
        return io.BufferedReader(file.detach(), block_size) if block_size else file

    def path(self, location: str) -> str | None:
        """A path under which an object can be read until the attempt ends."""
        return self._objects.keep_open(_key(location)) if Path("/proc/self/fd").is_dir() else None

    def writer(self, location: str) -> IO[bytes]:
        """Opens a new object."""
        return self._objects.create_object(_key(location))

    def size(self, location: str) -> int | None:
        """Bytes of an object, None when there is none."""
        return self._objects.size_of(_key(location))

    def entries(self, location: str) -> list[tuple[str, int]]:
        """The objects below a prefix."""
        prefix = _key(location)
        return [(from_key(key[len(prefix) :]), size) for key, size in self._objects.list_objects(prefix)]

    def send(self, source: Path, location: str | None = None) -> str:
        """Copies a file."""
        location = location or self.new(source.name)
        with source.open("rb") as file, self._objects.create_object(_key(location)) as target:
            copy_file(file, target)
        return location

    def send_all(self, root: Path, names: Sequence[str], location: str | None = None) -> str:
        """Copies files, many to a request."""
        location = location or self.new(f"{root.name or 'directory'}/")
        keys = [_key(location) + to_key(name) for name in names]
        for name, target in zip(names, self._objects.create_objects(keys), strict=True):
            with (root / name).open("rb") as file:
                copy_file(file, target)
        return location

    def fetch(self, location: str, target: Path) -> None:
        """Copies an object."""
        with self.reader(location) as file, target.open("wb") as copy:
            copy_file(file, copy)

    def fetch_all(self, location: str, names: Sequence[str], root: Path) -> None:
        """Copies objects, many to a request."""
        keys = [_key(location) + to_key(name) for name in names]
        for name, file in zip(names, self._objects.open_objects(keys), strict=True):
            with (root / name).open("wb") as copy:
                copy_file(file, copy)


def _key(location: str) -> str:
    return location[len(STORE) :]

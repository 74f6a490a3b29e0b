"""Data on this machine: local mode, and programs without a backend."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import IO, ClassVar

from flyte import errors
from flyte.io._copies import copy_file
from flyte.io._drafts import FileDraft
from flyte.io._places import local_path, raw_data_path


class LocalPlace:
    """Files and directories below one directory, and wherever locations of this machine point.

    Args:
        directory: Where new data goes; where that of the running task goes unless given.
    """

    is_store: ClassVar[bool] = False

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory

    def new(self, name: str) -> str:
        """A location that nobody has used before."""
        path = (self._directory or raw_data_path()) / uuid.uuid4().hex / name.rstrip("/")
        return path.as_uri() + "/" * name.endswith("/")

    def reader(self, location: str, block_size: int | None = None) -> IO[bytes]:
        """Opens a file."""
        try:
            return _path(location).open("rb", buffering=block_size or -1)
        except OSError as error:
            raise missing(location, error) from None

    def path(self, location: str) -> str | None:
        """The path of a file."""
        path = _path(location)
        if not path.is_file():
            raise missing(location, None)
        return str(path)

    def writer(self, location: str) -> IO[bytes]:
        """Opens a new file."""
        return FileDraft(_path(location))

    def size(self, location: str) -> int | None:
        """Bytes of a file, None when there is none."""
        path = _path(location)
        return path.stat().st_size if path.is_file() else None

    def entries(self, location: str) -> list[tuple[str, int]]:
        """The files below a directory."""
        path = _path(location)
        if not path.exists() and path.is_relative_to(self._directory or raw_data_path()):
            return []  # one that nobody has written to
        return files_below(path)

    def send(self, source: Path, location: str | None = None) -> str:
        """Copies a file."""
        location = location or self.new(source.name)
        with source.open("rb") as file, FileDraft(_path(location)) as target:
            copy_file(file, target)
        return location

    def send_all(self, root: Path, names: Sequence[str], location: str | None = None) -> str:
        """Copies files below a directory."""
        location = location or self.new(f"{root.name or 'directory'}/")
        _path(location).mkdir(parents=True, exist_ok=True)
        for name in names:
            self.send(root / name, str(_path(location) / name))
        return location

    def fetch(self, location: str, target: Path) -> None:
        """Copies a file."""
        with self.reader(location) as file, target.open("wb") as copy:
            copy_file(file, copy)

    def fetch_all(self, location: str, names: Sequence[str], root: Path) -> None:
        """Copies files of a directory."""
        for name in names:
            self.fetch(str(_path(location) / name), root / name)


def files_below(root: Path) -> list[tuple[str, int]]:
    """Paths below a directory with sizes, in order. Links are followed.

    Raises:
        RuntimeUserError: There is no such directory ("FileNotFound").
        ValueError: A link leads back to a directory above it.
    """
    if not root.is_dir():
        raise errors.RuntimeUserError("FileNotFound", f"there is no directory {root}")
    found: list[tuple[str, int]] = []
    pending: list[tuple[Path, str, frozenset[str]]] = [(root, "", frozenset([os.path.realpath(root)]))]
    while pending:
        directory, prefix, above = pending.pop()
        with os.scandir(directory) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_dir():
                    real = os.path.realpath(entry.path)
                    if real in above:
                        raise ValueError(f"{entry.path} is a link to {real}, which is above it")
                    pending.append((Path(entry.path), name + "/", above | {real}))
                elif entry.is_file():
                    found.append((name, entry.stat().st_size))
    return sorted(found)


def missing(location: str, error: OSError | None) -> errors.RuntimeUserError:
    """The error of a file of this machine that cannot be opened."""
    reason = f": {error.strerror}" if error is not None and not isinstance(error, FileNotFoundError) else ""
    return errors.RuntimeUserError("FileNotFound", f"there is no file {location}" + reason)


def _path(location: str) -> Path:
    path = local_path(location)
    assert path is not None, location
    return path

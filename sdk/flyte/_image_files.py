"""Local files of images: packed into archives whose bytes depend on names and contents only."""

from __future__ import annotations

import io
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from flyte._dockerignore import Dockerignore

if TYPE_CHECKING:
    import tarfile


_SETTLED = 2_000_000_000
"""Nanoseconds after which a changed file would have another time of its change on any file system."""


class FilesState(NamedTuple):
    """What tells that the files of an archive are as they were.

    Attributes:
        key: Equal only while names, inodes, sizes, modes and times are.
        changed: When one of them changed last, in nanoseconds.
        devices: Numbers of the file systems that they are on.
    """

    key: str
    changed: int
    devices: frozenset[int]


@dataclass(frozen=True)
class Archive:
    """Files of an image. They are read when their digest is needed, and again when they are sent.

    Attributes:
        entries: Name in the archive and file, in the order of the names. Links and empty directories are entries of
            their own.
    """

    entries: tuple[tuple[str, Path], ...]

    @cached_property
    def identity(self) -> tuple[str, int]:
        """Hex SHA-256 and size of the archive, which is not kept.

        Raises:
            ValueError: A file cannot be read.
        """
        from flyte import _image_files_known as known

        began = time.time_ns()
        state = self._state()
        found = known.find(state)
        if found is None:
            sink = _Hashing()
            self.write(sink)  # type: ignore[arg-type]  # tarfile writes to it, and does nothing else
            found = sink.digest.hexdigest(), sink.size
            # What changes from now on has another time of its change, unless a file had changed just before.
            if state.changed < began - _SETTLED and self._state() == state:
                known.keep(state, found, len(self.entries))
        return found

    def _state(self) -> FilesState:
        """What tells that files are as they were, without reading them.

        Raises:
            ValueError: A file does not exist.
        """
        import hashlib

        digest, changed, devices = hashlib.blake2b(digest_size=16), 0, set()
        for name, path in self.entries:
            try:
                status = os.lstat(path)
            except OSError as error:
                raise _unreadable(path, error) from None
            changed = max(changed, status.st_ctime_ns)
            devices.add(status.st_dev)
            fields = (name, status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns)
            digest.update(repr((*fields, status.st_ctime_ns)).encode())
        return FilesState(digest.hexdigest(), changed, frozenset(devices))

    def definition(self) -> dict[str, Any]:
        """What a definition holds of it."""
        sha256, size = self.identity
        return {"sha256": sha256, "size": size}

    def write(self, file: IO[bytes]) -> None:
        """Writes the archive.

        Raises:
            ValueError: A file cannot be read, or changes meanwhile.
        """
        import tarfile

        with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for name, path in self.entries:
                try:
                    _add(archive, name, path)
                except OSError as error:
                    raise _unreadable(path, error) from None


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    import tarfile

    entry = tarfile.TarInfo(name)
    status = path.lstat()
    if stat.S_ISREG(status.st_mode):
        entry.size = status.st_size
        entry.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        with path.open("rb") as content:
            archive.addfile(entry, content)
        return
    entry.mode = 0o755
    if stat.S_ISLNK(status.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
    else:
        entry.type = tarfile.DIRTYPE
    archive.addfile(entry)


def archive_of(files: Iterable[tuple[str, Path]]) -> Archive:
    """An archive of files by the names that they get in it.

    Raises:
        ValueError: Two files get one name.
    """
    found: dict[str, Path] = {}
    for name, path in files:
        if (other := found.setdefault(name, path)) is not path and other != path:
            raise ValueError(f"image: {found[name]} and {path} would both become {name}")
    return Archive(tuple(sorted(found.items())))


def files_below(folder: Path, ignored: Dockerignore, within: str = "") -> Iterator[tuple[str, Path]]:
    """The files, links and empty directories below a directory, by their path in it.

    Links are what they are, wherever they lead, as in `docker build`. Sockets and devices are left out.

    Args:
        folder: The directory.
        ignored: What is left out.
        within: Path of the directory in the one that patterns are relative to.

    Raises:
        ValueError: It is no directory, or one in it cannot be read.
    """
    if not within and not folder.is_dir():
        raise ValueError(f"image: {folder} does not exist or is no directory")
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from None
    for entry in entries:
        name, path = f"{within}{entry.name}", Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            if not ignored.leaves_out_all_below(name):
                below = list(files_below(path, ignored, f"{name}/"))
                yield from below
                if not below and not ignored.leaves_out(name):
                    yield name, path
        elif (entry.is_symlink() or entry.is_file()) and not ignored.leaves_out(name):
            yield name, path


def _unreadable(path: Path, error: OSError) -> ValueError:
    return ValueError(f"image: {path} cannot be read: {error.strerror or error}")


class _Hashing(io.RawIOBase):
    """Counts and hashes what is written to it."""

    def __init__(self) -> None:
        import hashlib

        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self.size += len(data)
        return len(data)

"""Files that a build gets to see: in memory, or below directories of this host."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from hangar.buildkit.v1.buildkit_pb2 import FileStat

_GO_KINDS = ((stat.S_ISDIR, 1 << 31), (stat.S_ISLNK, 1 << 27))
_GO_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))
_FILE, _DIRECTORY = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755
_DAY, _DAY_LENGTH = 946_684_800_000_000_000, 86_400_000_000_000
_PATTERN = frozenset("*?[\\")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory or link.

    Attributes:
        stat: What BuildKit is told of it.
        content: What a file has in it, or where it is; None for what is no file.
    """

    stat: FileStat
    content: bytes | Path | None = None

    @property
    def is_link(self) -> bool:
        """True for a symbolic link."""
        return bool(self.stat.linkname)


@dataclass(frozen=True, slots=True)
class Tree:
    """A build context.

    BuildKit looks at sizes and times, and is sent what has changed since other builds: a file in memory has a time that
    follows from its content, and files of directories need one, too (`stamp`).

    Attributes:
        files: Files by path: their content, or the file of this host.
        directories: Directories of this host by the path that their content is below; "" for the whole.
    """

    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    directories: Mapping[str, Path] = field(default_factory=dict)

    def entries(self, wanted: Sequence[str] = ()) -> list[Entry]:
        """Returns what is in it, each directory before its content and siblings by name.

        Args:
            wanted: Paths that are enough, with what is below them. None, patterns and links make it all of them.

        Raises:
            OSError: A directory cannot be read.
            UnicodeEncodeError: A name is no text.
        """
        found: dict[tuple[str, ...], Entry] = {}
        for path, content in self.files.items():
            _add(found, path, _told(path, content), content)
        for path, directory in self.directories.items():
            if path:
                _add(found, path, _of_host(path, directory.stat()), None)
            for below, entry in _walk(directory, path):
                found[below] = entry
        everything = [found[path] for path in sorted(found)]
        paths = [path.strip("/") for path in wanted]
        if not paths or any(path in {"", "."} or _PATTERN & set(path) for path in paths):
            return everything
        chosen = [entry for entry in everything if _is_wanted(entry.stat.path, paths)]
        return everything if any(entry.is_link for entry in chosen) else chosen


def stamp(directory: Path) -> None:
    """Gives each file below a directory a time that follows from its content."""
    for place, _, names in os.walk(directory):
        for name in names:
            path = Path(place, name)
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    time = time_of(hashlib.file_digest(file, "sha256"))
                os.utime(path, ns=(time, time))


def time_of(digest: hashlib._Hash) -> int:
    """Returns a time on the first day of 2000, in nanoseconds since 1970, that is another one for other content."""
    return _DAY + int.from_bytes(digest.digest()) % _DAY_LENGTH


def _is_wanted(path: str, wanted: Sequence[str]) -> bool:
    return any(f"{path}/".startswith(f"{each}/") or each.startswith(f"{path}/") for each in wanted)


def _add(
    found: dict[tuple[str, ...], Entry], path: str, told: FileStat, content: bytes | Path | None
) -> None:
    parts = tuple(path.split("/"))
    for length in range(1, len(parts)):
        parent = parts[:length]
        if parent not in found:
            found[parent] = Entry(FileStat(path="/".join(parent), mode=_go_mode(_DIRECTORY)))
    found[parts] = Entry(told, content)


def _told(path: str, content: bytes | Path) -> FileStat:
    if isinstance(content, Path):
        return _of_host(path, content.stat())
    return FileStat(path=path, mode=_go_mode(_FILE), size=len(content), mod_time=_time_of_content(content))


@lru_cache(maxsize=32)
def _time_of_content(content: bytes) -> int:
    """Remembered, since the SDK is in every build: hashing it takes a millisecond."""
    return time_of(hashlib.sha256(content))


def _of_host(path: str, status: os.stat_result, linkname: str = "") -> FileStat:
    # Whoever owns it on this host, it is the superuser's in an image, as with `docker build`.
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    for text in (path, linkname):
        text.encode()  # protobuf's own error would not say which name it is
    return FileStat(
        path=path, mode=_go_mode(status.st_mode), size=size, mod_time=status.st_mtime_ns, linkname=linkname
    )


def _walk(directory: Path, prefix: str) -> Iterator[tuple[tuple[str, ...], Entry]]:
    """Iterates over what is below a directory; sockets and devices are left out."""
    with os.scandir(directory) as listing:
        for each in listing:
            path = f"{prefix}/{each.name}" if prefix else each.name
            status, place = each.stat(follow_symlinks=False), Path(each.path)
            parts = tuple(path.split("/"))
            if each.is_symlink():
                yield parts, Entry(_of_host(path, status, str(place.readlink())))
            elif each.is_dir():
                yield parts, Entry(_of_host(path, status))
                yield from _walk(place, path)
            elif each.is_file():
                yield parts, Entry(_of_host(path, status), place)


def _go_mode(mode: int) -> int:
    """Returns kind and permissions in the bits of Go's ``os.FileMode``, which BuildKit speaks."""
    found = stat.S_IMODE(mode) & 0o777
    found |= sum(bit for is_kind, bit in _GO_KINDS if is_kind(mode))
    return found | sum(bit for ours, bit in _GO_BITS if mode & ours)

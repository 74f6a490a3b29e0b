"""Local files of images: packed into archives whose bytes depend on names and contents only."""

from __future__ import annotations

import io
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

_NEVER = ("__pycache__/", "*.py[co]", ".git/", ".DS_Store")
"""What changes without meaning: never copied into images."""


@dataclass(frozen=True)
class Archive:
    """Files of an image. They are read when their digest is needed, and again when they are sent.

    Attributes:
        entries: Name in the archive and file, in the order of the names.
    """

    entries: tuple[tuple[str, Path], ...]

    @cached_property
    def identity(self) -> tuple[str, int]:
        """Hex SHA-256 and size of the archive, which is not kept.

        Raises:
            ValueError: A file cannot be read.
        """
        sink = _Hashing()
        self.write(sink)  # type: ignore[arg-type]  # tarfile writes to it, and does nothing else
        return sink.digest.hexdigest(), sink.size

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
                entry = tarfile.TarInfo(name)
                try:
                    with path.open("rb") as content:
                        status = path.stat()
                        entry.size = status.st_size
                        entry.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
                        archive.addfile(entry, content)
                except OSError as error:
                    raise ValueError(f"image: {path} cannot be read: {error.strerror or error}") from None


def archive_of(files: Iterable[tuple[str, Path]]) -> Archive:
    """An archive of files by the names that they get in it.

    Raises:
        ValueError: Two files get one name.
    """
    found: dict[str, Path] = {}
    for name, path in files:
        if found.setdefault(name, path) != path:
            raise ValueError(f"image: {found[name]} and {path} would both become {name}")
    return Archive(tuple(sorted(found.items())))


def files_below(folder: Path, is_ignored: Callable[[str], bool]) -> Iterator[tuple[str, Path]]:
    """The files below a directory by their path in it, without those that are ignored.

    Raises:
        ValueError: It is no directory.
    """
    if not folder.is_dir():
        raise ValueError(f"image: {folder} does not exist or is no directory")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not is_ignored(name):
            yield name, path


def ignoring(lines: Iterable[str]) -> Callable[[str], bool]:
    """Says which paths are left out: what is no source, and what patterns name as in a `.dockerignore`.

    Args:
        lines: The patterns; a later one wins.
    """
    from pathspec import PathSpec

    patterns = list(_NEVER)
    for raw in lines:
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        kept = line.startswith("!")
        pattern = line[1:].strip() if kept else line
        pattern = pattern.removeprefix("./").strip("/")
        if pattern:  # one without a slash counts at the top only, unlike git's
            patterns.append(f"{'!' if kept else ''}/{pattern}")
    spec = PathSpec.from_lines("gitignore", patterns)
    return spec.match_file


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

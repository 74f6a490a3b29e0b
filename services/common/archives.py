"""Archives of files from outside: unpacked into one directory and nowhere else."""

from __future__ import annotations

import copy
import gzip
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from services.common.errors import InvalidArgument

_DAMAGE = (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, ValueError)
MAX_UNPACKED_BYTES = 4 * 1024**3
"""Largest content of an archive: one that says more is refused."""


def extract(
    archive: IO[bytes],
    directory: Path,
    check_size: Callable[[int], None] = lambda size: None,
    what: str = "the archive",
    *,
    keeps_links: bool = False,
) -> None:
    """Unpacks a tar archive, gzipped or not, of files, directories and links into a directory, and nowhere else.

    Owners and special permission bits are not taken over. Nothing is written through a link that leads outside.

    Args:
        archive: An open file of it.
        directory: An empty directory.
        check_size: Called with the bytes that it will take there, before any is written.
        what: What it is, for people.
        keeps_links: True to take symbolic links as they are, wherever they lead: for what is used in another place.

    Raises:
        InvalidArgument: It is damaged, too large, or has a member that would reach outside or is a device.
    """
    try:
        with tarfile.open(fileobj=archive, mode="r:*") as bundle:
            members = bundle.getmembers()
            absolute = next((member.name for member in members if Path(member.name).is_absolute()), None)
            if absolute is not None:
                raise InvalidArgument(
                    f"{what} is refused: {absolute!r} is an absolute path", reason="BUNDLE_UNSAFE"
                )
            size = sum(member.size for member in members)
            if size > MAX_UNPACKED_BYTES:
                raise InvalidArgument(
                    f"{what} unpacks to more than {MAX_UNPACKED_BYTES} bytes",
                    reason="BUNDLE_TOO_LARGE",
                )
            check_size(size)
            # Checked here: Python 3.11.2, that of Debian 12, has no filters of its own.
            bundle.extraction_filter = staticmethod(lambda member, path: member)
            root = os.path.realpath(directory)
            for member in members:
                bundle.extract(_checked(member, root, what, keeps_links=keeps_links), directory)
    except _DAMAGE as error:
        raise InvalidArgument(f"{what} is damaged: {error}", reason="BUNDLE_DAMAGED") from error


def _checked(member: tarfile.TarInfo, root: str, what: str, *, keeps_links: bool) -> tarfile.TarInfo:
    """Returns a member that is safe to unpack next, of this process's user and without special permission bits.

    Raises:
        InvalidArgument: It reaches outside of the root, through links that are there by now too, or is a device.
    """
    problem = ""
    place = os.path.realpath(os.path.join(root, member.name))  # noqa: PTH118
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        problem = "is neither a file nor a directory nor a link"
    elif not _is_inside(place, root):
        problem = "would be outside of the root"
    elif member.islnk() or (member.issym() and not keeps_links):
        start = os.path.dirname(os.path.join(root, member.name)) if member.issym() else root  # noqa: PTH118, PTH120
        if not _is_inside(os.path.realpath(os.path.join(start, member.linkname)), root):  # noqa: PTH118
            problem = f"is a link to {member.linkname!r}, outside of the root"
    if problem:
        raise InvalidArgument(
            f"{what} is refused: {member.name!r} {problem}; pack files and directories below one root only",
            reason="BUNDLE_UNSAFE",
        )
    safe = copy.copy(member)
    safe.uid, safe.gid, safe.uname, safe.gname = os.getuid(), os.getgid(), "", ""
    safe.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return safe


def _is_inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def unpack(archive: Path, directory: Path, root: Path | None = None) -> None:
    """Unpacks files of an image into a directory that is made unless it is there. Links stay as they are.

    Args:
        archive: The archive.
        directory: Where.
        root: Directory that it must not leave, through links that are there already; itself when not given.

    Raises:
        InvalidArgument: As `extract`; or it leaves the root.
    """
    if root is not None and not _is_inside(os.path.realpath(directory), os.path.realpath(root)):
        raise InvalidArgument(
            f"{directory.relative_to(root)} is refused as a place for files: it leads outside, by '..' or a link",
            reason="BUNDLE_UNSAFE",
        )
    directory.mkdir(parents=True, exist_ok=True)
    with archive.open("rb") as file:
        extract(file, directory, keeps_links=True)

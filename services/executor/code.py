"""Code bundles, fetched and unpacked once per host."""

from __future__ import annotations

import asyncio
import copy
import gzip
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from services.common import disk
from services.common.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from services.executor.file_lock import file_lock, is_locked
from services.executor.payloads import Waiting, unheard

_DIGEST = re.compile(r"[0-9a-f]{64}")
_DRAFT = ".unpacking-"
_DAMAGE = (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, ValueError)
MAX_UNPACKED_BYTES = 4 * 1024**3
"""Largest content of a bundle: an archive that says more is refused."""


class Fetch(Protocol):
    """Writes a stored object to a new file, such as `Payloads.get_file`."""

    async def __call__(self, key: str, path: Path, sha256: str, waiting: Waiting = ..., /) -> int:
        """Returns its size. Raises as `Payloads.get_file`."""
        ...


class CodeStore:
    """Keeps code bundles below one directory, each in a directory named by its digest.

    Args:
        directory: Where they are.
        fetch: Fetches an archive.
    """

    def __init__(self, directory: Path, fetch: Fetch) -> None:
        self._directory = directory
        self._fetch = fetch

    async def ensure(self, digest: str, waiting: Waiting = unheard) -> Path:
        """Returns the directory of a bundle, fetched and unpacked if it is not here yet. What fails leaves nothing.

        Args:
            digest: Hex SHA-256 of the archive.
            waiting: Is told why it cannot be fetched yet.

        Raises:
            InvalidArgument: The digest is not one, or the archive has another, or it is not a safe archive.
            FailedPrecondition: It cannot be written.
            ResourceExhausted: The disk is full (reason ``DISK_FULL``).
            HangarError: It cannot be fetched.
        """
        if not _DIGEST.fullmatch(digest):
            raise InvalidArgument(
                f"code bundle {digest!r} is not named by a hex SHA-256", reason="BUNDLE_INVALID"
            )
        place = self._directory / digest
        if place.is_dir():
            return place
        async with file_lock(self._lock_path(digest)):
            if not place.is_dir():
                await self._make(digest, place, waiting)
        return place

    async def _make(self, digest: str, place: Path, waiting: Waiting) -> None:
        try:
            draft = Path(await asyncio.to_thread(tempfile.mkdtemp, "", f"{_DRAFT}{digest}-", self._directory))
            try:
                archive = draft / "archive.tar.gz"
                key = f"code/{digest}.tar.gz"
                await self._fetch(
                    key,
                    archive,
                    digest,
                    lambda why: waiting(f"the code cannot be fetched yet: {why}" if why else ""),
                )
                await asyncio.to_thread(self._unpack, archive, draft / "content", place)
            finally:
                await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)
        except OSError as error:
            if disk.is_full(error):
                raise self._full(digest, 0) from error
            message = f"code bundle {digest} cannot be written below {self._directory}: {error}"
            raise FailedPrecondition(message, reason="BUNDLE_UNWRITABLE") from error

    def _unpack(self, archive: Path, content: Path, place: Path) -> None:
        content.mkdir()
        with archive.open("rb") as file:
            extract(file, content, lambda size: self._check_room(place.name, size))
        content.chmod(0o755)
        content.replace(place)

    def _check_room(self, digest: str, size: int) -> None:
        if size > disk.free_bytes(self._directory):
            raise self._full(digest, size)

    def _full(self, digest: str, needed: int) -> ResourceExhausted:
        message = disk.full_message(self._directory, needed, f"code bundle {digest}")
        return ResourceExhausted(message, reason="DISK_FULL", directory=self._directory)

    async def clear_leftovers(self) -> None:
        """Removes what processes that died while they unpacked have left behind."""
        await asyncio.to_thread(self._clear)

    def _clear(self) -> None:
        for draft in self._directory.glob(f"{_DRAFT}*"):
            if not is_locked(self._lock_path(draft.name.removeprefix(_DRAFT).partition("-")[0])):
                shutil.rmtree(draft, ignore_errors=True)

    def _lock_path(self, digest: str) -> Path:
        return self._directory / "locks" / f"{digest}.lock"


def extract(
    archive: IO[bytes], directory: Path, check_size: Callable[[int], None] = lambda size: None
) -> None:
    """Unpacks a gzipped tar archive of files, directories and links into a directory, and nowhere else.

    Owners and special permission bits are not taken over.

    Args:
        archive: An open file of it.
        directory: An empty directory.
        check_size: Called with the bytes that it will take there, before any is written.

    Raises:
        InvalidArgument: It is damaged, too large, or has a member that would reach outside or is a device.
    """
    try:
        with tarfile.open(fileobj=archive, mode="r:gz") as bundle:
            members = bundle.getmembers()
            absolute = next((member.name for member in members if Path(member.name).is_absolute()), None)
            if absolute is not None:
                raise InvalidArgument(
                    f"the code bundle is refused: {absolute!r} is an absolute path", reason="BUNDLE_UNSAFE"
                )
            size = sum(member.size for member in members)
            if size > MAX_UNPACKED_BYTES:
                raise InvalidArgument(
                    f"the code bundle unpacks to more than {MAX_UNPACKED_BYTES} bytes",
                    reason="BUNDLE_TOO_LARGE",
                )
            check_size(size)
            # Checked here: Python 3.11.2, that of Debian 12, has no filters of its own.
            bundle.extraction_filter = staticmethod(lambda member, path: member)
            root = os.path.realpath(directory)
            for member in members:
                bundle.extract(_checked(member, root), directory)
    except _DAMAGE as error:
        raise InvalidArgument(f"the code bundle is damaged: {error}", reason="BUNDLE_DAMAGED") from error


def _checked(member: tarfile.TarInfo, root: str) -> tarfile.TarInfo:
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
    elif member.issym() or member.islnk():
        start = os.path.dirname(os.path.join(root, member.name)) if member.issym() else root  # noqa: PTH118, PTH120
        if not _is_inside(os.path.realpath(os.path.join(start, member.linkname)), root):  # noqa: PTH118
            problem = f"is a link to {member.linkname!r}, outside of the root"
    if problem:
        raise InvalidArgument(
            f"the code bundle is refused: {member.name!r} {problem}; pack files and directories below one root only",
            reason="BUNDLE_UNSAFE",
        )
    safe = copy.copy(member)
    safe.uid, safe.gid, safe.uname, safe.gname = os.getuid(), os.getgid(), "", ""
    safe.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return safe


def _is_inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")

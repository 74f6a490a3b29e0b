"""Code bundles, fetched and unpacked once per host."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from services.common import disk
from services.common.archives import extract
from services.common.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from services.executor.file_lock import file_lock, is_locked
from services.executor.payloads import Waiting, unheard

_DIGEST = re.compile(r"[0-9a-f]{64}")
_DRAFT = ".unpacking-"


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
            extract(file, content, lambda size: self._check_room(place.name, size), "the code bundle")
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

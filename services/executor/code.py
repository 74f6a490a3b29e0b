"""Code bundles, fetched and unpacked once per host."""

from __future__ import annotations

import asyncio
import gzip
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path

from services.common.blobs import check_sha256
from services.common.errors import FailedPrecondition, InvalidArgument
from services.executor.file_lock import file_lock, is_locked

_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNPACKING = ".unpacking-"
MAX_UNPACKED_BYTES = 4 * 1024**3
"""Largest content of a bundle: an archive that says more is refused."""


class CodeStore:
    """Keeps code bundles below one directory, each in a directory named by its digest.

    Args:
        directory: Where they are.
        fetch: Returns the archive stored under a blob key, such as `BlobStore.get`.
    """

    def __init__(self, directory: Path, fetch: Callable[[str], Awaitable[bytes]]) -> None:
        self._directory = directory
        self._fetch = fetch

    async def ensure(self, digest: str) -> Path:
        """Returns the directory of a bundle, fetched and unpacked if it is not here yet.

        Args:
            digest: Hex SHA-256 of the archive.

        Raises:
            InvalidArgument: The digest is not one, or the archive has another, or it is not a safe archive.
            FailedPrecondition: It cannot be written.
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
                archive = await self._fetch(f"code/{digest}.tar.gz")
                await asyncio.to_thread(self._unpack, archive, digest, place)
        return place

    async def clear_leftovers(self) -> None:
        """Removes what processes that died while they unpacked have left behind."""
        await asyncio.to_thread(self._clear)

    def _clear(self) -> None:
        for draft in self._directory.glob(f"{_UNPACKING}*"):
            if not is_locked(self._lock_path(draft.name.removeprefix(_UNPACKING).partition("-")[0])):
                shutil.rmtree(draft, ignore_errors=True)

    def _lock_path(self, digest: str) -> Path:
        return self._directory / "locks" / f"{digest}.lock"

    def _unpack(self, archive: bytes, digest: str, place: Path) -> None:
        check_sha256(archive, digest)
        draft = Path(tempfile.mkdtemp(prefix=f"{_UNPACKING}{digest}-", dir=self._directory))
        try:
            extract(archive, draft)
            draft.chmod(0o755)
            draft.replace(place)
        except OSError as error:
            message = f"code bundle {digest} cannot be written below {self._directory}: {error}"
            raise FailedPrecondition(message, reason="BUNDLE_UNWRITABLE") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def extract(archive: bytes, directory: Path) -> None:
    """Unpacks a gzipped tar archive of files, directories and links into a directory, and nowhere else.

    Owners and special permission bits are not taken over.

    Raises:
        InvalidArgument: It is damaged, too large, or has a member that would reach outside or is a device.
    """
    try:
        with tarfile.open(fileobj=BytesIO(archive), mode="r:gz") as bundle:
            members = bundle.getmembers()
            absolute = next((member.name for member in members if Path(member.name).is_absolute()), None)
            if absolute is not None:
                raise InvalidArgument(
                    f"the code bundle is refused: {absolute!r} is an absolute path", reason="BUNDLE_UNSAFE"
                )
            if sum(member.size for member in members) > MAX_UNPACKED_BYTES:
                raise InvalidArgument(
                    f"the code bundle unpacks to more than {MAX_UNPACKED_BYTES} bytes",
                    reason="BUNDLE_TOO_LARGE",
                )
            bundle.extractall(directory, members, filter="data")
    except tarfile.FilterError as error:
        raise InvalidArgument(
            f"the code bundle is refused: {error}; pack files and directories below one root only",
            reason="BUNDLE_UNSAFE",
        ) from error
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise InvalidArgument(f"the code bundle is damaged: {error}", reason="BUNDLE_DAMAGED") from error

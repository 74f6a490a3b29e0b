"""Archives whose bytes depend on names and contents only."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from flyte import errors

WARN_BYTES = 10 * 1024 * 1024
MOST_BYTES = 100 * 1024 * 1024
_SHOWN = 5


def make_archive(root: Path, files: Iterable[Path], made: Mapping[str, bytes] | None = None) -> bytes:
    """A gzip-compressed tar archive: without times, owners or the names of this machine, in the order given.

    Args:
        root: Directory that names are relative to.
        files: Files below it.
        made: Further files by their names, which are not on disk.

    Raises:
        flyte.errors.CodeBundleError: When a file cannot be read.
    """
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=6, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in files:
            try:
                content = path.read_bytes()
                executable = path.stat().st_mode & stat.S_IXUSR
            except OSError as error:
                raise errors.CodeBundleError(f"{path} cannot be bundled: {error.strerror}") from None
            entry = tarfile.TarInfo(path.relative_to(root).as_posix())
            entry.size = len(content)
            entry.mode = 0o755 if executable else 0o644
            archive.addfile(entry, io.BytesIO(content))
        for name, content in sorted((made or {}).items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def check_size(sizes: dict[str, int], root: Path) -> str | None:
    """Refuses bundles above 100 MiB.

    Args:
        sizes: Size in bytes of each file.
        root: The root, for the message.

    Returns:
        A warning for bundles above 10 MiB, else None.

    Raises:
        flyte.errors.CodeBundleError: When they are too large; names the largest files.
    """
    total = sum(sizes.values())
    if total <= WARN_BYTES:
        return None
    largest = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
    names = ", ".join(f"{name} ({_mebibytes(size)})" for name, size in largest)
    advice = (
        f"Largest: {names}. Leave files out with a .flyteignore in {root}, or use "
        "copy_style='loaded_modules'."
    )
    if total > MOST_BYTES:
        raise errors.CodeBundleError(
            f"The code bundle is {_mebibytes(total)}, more than {_mebibytes(MOST_BYTES)}. {advice}"
        )
    return f"The code bundle is {_mebibytes(total)}. {advice}"


def _mebibytes(size: int) -> str:
    return f"{size / 1024 / 1024:.1f} MiB"

"""Makes code bundles."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flyte._bundle._archive import check_size, make_archive
from flyte._bundle._root import check_root
from flyte._bundle._select import CopyStyle, select_files

_log = logging.getLogger("flyte")


@dataclass(frozen=True)
class Bundle:
    """Code, packed.

    Attributes:
        digest: Hex SHA-256 of the archive: its identity.
        archive: The gzip-compressed tar archive.
        names: Its files, relative to the root.
    """

    digest: str
    archive: bytes
    names: tuple[str, ...]


_Key = tuple[Path, tuple[tuple[str, int, int, int], ...], tuple[tuple[str, bytes], ...]]
_last: tuple[_Key, Bundle] | None = None


def make_bundle(
    root: Path, style: CopyStyle, include: Iterable[Path] = (), made: Mapping[str, bytes] | None = None
) -> Bundle:
    """Packs code. Repeating it in one process costs no packing while no file has changed.

    Args:
        root: Directory that holds the code.
        style: "loaded_modules" for the imported modules, "all" for everything that is not ignored, "none" for no
            code.
        include: Further files and directories below the root.
        made: Further files, by the name that they get, that are not on disk.

    Raises:
        flyte.errors.CodeBundleError: When the root may not be bundled, or a file is unreadable or too large.
    """
    global _last  # noqa: PLW0603 - a cache with one place
    made = made or {}
    files = [] if style == "none" else select_files(check_root(root), style, include)
    stats = [(path.relative_to(root).as_posix(), path.stat()) for path in files]
    key = (
        root,
        tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_mode) for name, stat in stats),
        tuple(sorted(made.items())),
    )
    if _last is not None and _last[0] == key:
        return _last[1]
    warning = check_size({name: stat.st_size for name, stat in stats}, root)
    if warning:
        _log.warning(warning)
    archive = make_archive(root, files, made)
    bundle = Bundle(hashlib.sha256(archive).hexdigest(), archive, tuple(name for name, _ in stats))
    _last = (key, bundle)
    return bundle

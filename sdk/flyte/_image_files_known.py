"""Digests of images' local files by the state that the files were in, for this command and for later ones.

Names, inodes, sizes, modes and times of modification and of change tell whether files are as they were. That holds on
file systems of this machine, whose clock is the one that says what has settled: on others, such as NFS, where another
machine may write and what is known of files lags behind, digests are kept for one command only.
"""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flyte._image_files import FilesState

_FORMAT = 1
"""Goes up when archives of equal files get other bytes."""
_LOCAL = frozenset({"bcachefs", "ext2", "ext3", "ext4", "f2fs", "xfs", "zfs"})
"""Not tmpfs, nor overlays, which may be on one: there a shared memory map is written to without a change of times."""
_WORTHWHILE_FILES, _WORTHWHILE_BYTES = 500, 16 << 20
"""Less is read again sooner than the record is worth its place."""
_KEPT_SECONDS = 30 * 86400
_RECORD = re.compile(r"([0-9a-f]{64}) ([0-9]+)\n")
_known: dict[str, tuple[str, int]] = {}


def find(state: FilesState) -> tuple[str, int] | None:
    """Digest and size of the archive of files in a state, None when they are not known."""
    if state.key in _known:
        return _known[state.key]
    record = None
    with suppress(OSError, UnicodeError):  # not known, or not to be read: then it is found out anew
        path = _path(state)
        record = _RECORD.fullmatch(path.read_text("ascii"))
        os.utime(path)
    if record is None or not _are_local(state.devices):
        return None
    _known[state.key] = record[1], int(record[2])
    return _known[state.key]


def keep(state: FilesState, found: tuple[str, int], files: int) -> None:
    """Keeps digest and size of the archive of files that have been in one state for long enough.

    Args:
        state: The state, before and after the files were read.
        found: Digest and size.
        files: Number of files.
    """
    _known[state.key] = found
    if (files < _WORTHWHILE_FILES and found[1] < _WORTHWHILE_BYTES) or not _are_local(state.devices):
        return
    path = _path(state)
    draft = path.with_name(f".{path.name}-{os.getpid()}-{time.monotonic_ns()}")
    with suppress(OSError):  # who cannot write there reads files again
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for other in path.parent.iterdir():
            if other.stat().st_mtime < time.time() - _KEPT_SECONDS:
                other.unlink(missing_ok=True)
        draft.write_text(f"{found[0]} {found[1]}\n", "ascii")
        draft.replace(path)


def _path(state: FilesState) -> Path:
    from flyte._client._addresses import data_directory

    # Python's tarfile makes the bytes.
    python = ".".join(map(str, sys.version_info[:3]))
    return data_directory() / "image-files" / f"{_FORMAT}-{python}-{state.key}"


def _are_local(devices: frozenset[int]) -> bool:
    """Whether files are on file systems that only this machine writes to, as far as the kernel tells."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return False
    local = set()
    for line in lines:
        fields, _, kind = line.partition(" - ")
        if kind.partition(" ")[0] in _LOCAL:
            local.add(fields.split(" ", 3)[2])
    return all(f"{os.major(device)}:{os.minor(device)}" in local for device in devices)

"""Disks that are full: told apart from other errors, and said so that people can act."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_WORDS = ("No space left on device", "Disk quota exceeded", "disk is full")


def is_full(error: BaseException) -> bool:
    """Says whether an error, or what a library made of one, means that a disk is full."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(word in str(error) for word in _WORDS)


def free_bytes(directory: Path) -> int:
    """Returns what is free on the disk of a directory, or of the nearest one above it that exists."""
    for place in (directory, *directory.parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
    return 0


def full_message(directory: Path, needed: int, what: str) -> str:
    """Returns the message for a full disk: where, how much is free, how much is needed.

    Args:
        directory: Where something was to be written.
        needed: Its size in bytes, 0 when that is not known.
        what: What it is, such as ``"code bundle ab12…"``.
    """
    needs = f"{what} needs {needed}" if needed else f"{what} does not fit"
    return (
        f"the disk of {directory} is full: {free_bytes(directory)} bytes are free, {needs}: make room there"
    )

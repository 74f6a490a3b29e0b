"""Copies bytes between open files without holding them."""

from __future__ import annotations

import os
from typing import IO

_PIECE = 4 * 1024 * 1024
_KERNEL_PIECE = 1 << 30


def copy_file(source: IO[bytes], target: IO[bytes]) -> int:
    """Copies all of a file of this machine from its beginning; the kernel does it where it can.

    Args:
        source: Open for reading, at its beginning.
        target: Open for writing, at its beginning.

    Returns:
        The bytes.
    """
    size = os.fstat(source.fileno()).st_size
    done = 0
    if hasattr(os, "copy_file_range"):
        try:
            while done < size:
                copied = os.copy_file_range(
                    source.fileno(), target.fileno(), min(size - done, _KERNEL_PIECE), done, done
                )
                if not copied:
                    break
                done += copied
        except OSError:  # not between these two file systems
            pass
    source.seek(done)
    target.seek(done)
    return done + copy_pieces(source, target)


def copy_pieces(source: IO[bytes], target: IO[bytes]) -> int:
    """Copies from where both stand to the end of the source, and returns the bytes."""
    done = 0
    while piece := source.read(_PIECE):
        view = memoryview(piece)
        while view:
            written = target.write(view)
            view = view[written:]
        done += len(piece)
    return done

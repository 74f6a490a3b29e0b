"""The data directory: made when it does not exist, refused when it cannot be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from services.common.errors import FailedPrecondition


def prepare_directory(path: Path) -> Path:
    """Makes a directory, for its owner only, and finds out whether files can be written in it.

    Returns:
        Its absolute path.

    Raises:
        FailedPrecondition: It cannot be made or written (reason ``DATA_DIRECTORY_UNUSABLE``).
    """
    path = path.expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".probe-"):
            pass
    except OSError as error:
        raise FailedPrecondition(
            f"data directory {path} cannot be used: {error.strerror or error}; "
            "make it writable for this user, or choose another one with --data-dir or HANGAR_DATA_DIR",
            reason="DATA_DIRECTORY_UNUSABLE",
            path=path,
        ) from error
    return path


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Writes a small file so that readers see the old or the new content, and a crash keeps one of them."""
    descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(fresh).chmod(mode)
        Path(fresh).replace(path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

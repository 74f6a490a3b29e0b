"""Files in the directory of a worker, which user code can replace by anything."""

import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_plain(path: Path) -> BinaryIO:
    """Opens a file for reading if it is one: no link is followed, and no pipe waited for.

    User code owns the directory of its worker, and the executor may read what user code may not.

    Raises:
        OSError: It is not there, or is not a plain file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a plain file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise

"""Unix sockets below paths of any length."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_LONGEST_PATH = 100


def connect(path: str) -> socket.socket:
    """Connects to a unix socket, without blocking.

    A path that is too long for a socket address is reached through its directory's descriptor.

    Raises:
        OSError: Nobody listens there, or its queue is full.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = -1
    try:
        connection.setblocking(False)
        if len(os.fsencode(path)) > _LONGEST_PATH:
            directory = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
            path = f"/proc/self/fd/{directory}/{Path(path).name}"
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    finally:
        if directory >= 0:
            os.close(directory)
    return connection

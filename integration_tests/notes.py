"""What tasks tell tests, and what tests tell tasks: files on the host, also from containers that do not see them.

This file is copied beside the scripts of tests and imported there. On a host where the file's directory is there it is
used as it is; in a container each call goes through a socket that `NotesServer` puts beside this file.
"""

import json
import os
import socket
import time
from pathlib import Path


def note(path: str, text: str) -> None:
    """Adds a line to a file in one write: whole, whoever else writes. It is on the host when this returns."""
    _do("note", path, text)


def exists(path: str) -> bool:
    """Says whether a file is there."""
    return bool(_do("exists", path))


def read(path: str) -> list[str]:
    """Lines of a file; none when it is not there."""
    found = _do("read", path)
    assert isinstance(found, list)
    return found


def worker() -> str:
    """Name of the worker that this runs in: its process id, or the host name of its container."""
    name = socket.gethostname()
    return name if name.startswith("worker-") else str(os.getpid())


def perform(do: str, path: str, text: str = "") -> object:
    """Does one of the above on this machine."""
    if do == "note":
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(file, f"{text}\n".encode())
        os.close(file)
        return None
    if do == "exists":
        return Path(path).exists()
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _do(do: str, path: str, text: str = "") -> object:
    if Path(path).parent.is_dir():
        return perform(do, path, text)
    directory = os.open(Path(__file__).parent, os.O_RDONLY)
    try:
        with _connect(f"/proc/self/fd/{directory}/notes.sock") as connection:
            connection.sendall(json.dumps([do, path, text]).encode() + b"\n")
            return json.loads(connection.makefile().readline())
    finally:
        os.close(directory)


def _connect(path: str) -> socket.socket:
    """The name of the socket itself may be too long for a socket, so it is reached through a descriptor."""
    deadline = time.monotonic() + 30
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            return connection
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)

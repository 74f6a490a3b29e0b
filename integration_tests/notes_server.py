"""Answers `notes.py` in containers: through a socket in each code bundle, which containers see read-only."""

from __future__ import annotations

import contextlib
import json
import os
import socketserver
import threading
from pathlib import Path

from integration_tests.notes import perform

_LOOK_SECONDS = 0.02


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Does what one line asks for, below the tests' own directory only."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it was killed
            line = self.rfile.readline()
            if line:
                do, path, text = json.loads(line)
                assert Path(path).resolve().is_relative_to(self.server.root), path
                self.wfile.write(json.dumps(perform(do, path, text)).encode() + b"\n")


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, directory: Path, root: Path) -> None:
        self.root = root.resolve()
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            super().__init__(f"/proc/self/fd/{descriptor}/notes.sock", _Handler)
        finally:
            os.close(descriptor)
        (directory / "notes.sock").chmod(0o666)


class NotesServer:
    """Serves every code bundle that appears, until it is closed.

    Args:
        code: Directory where an executor unpacks code bundles.
        root: Directory that tasks may write to and read from.
    """

    def __init__(self, code: Path, root: Path) -> None:
        self._code = code
        self._root = root
        self._servers: dict[Path, _Server] = {}
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()
        self._start(self._look)

    def _start(self, target: object) -> None:
        thread = threading.Thread(target=target, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _look(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            for bundle in self._code.glob("*"):
                if bundle not in self._servers and (bundle / "notes.py").exists() and bundle.name[0] != ".":
                    server = self._servers[bundle] = _Server(bundle, self._root)
                    self._start(lambda server=server: server.serve_forever(0.05))

    def close(self) -> None:
        """Stops serving."""
        self._closed.set()
        self._threads[0].join()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

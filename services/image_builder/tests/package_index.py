"""A package index with a password, on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

USER, PASSWORD = "reader", "open-sesame-4711"


def _entry(wheel: Path) -> dict[str, Any]:
    """What the index says of a wheel; it was uploaded when its file was changed."""
    content, changed = wheel.read_bytes(), datetime.fromtimestamp(wheel.stat().st_mtime, UTC)
    return {
        "filename": wheel.name,
        "url": f"/files/{wheel.name}",
        "hashes": {"sha256": hashlib.sha256(content).hexdigest()},
        "size": len(content),
        "upload-time": f"{changed:%Y-%m-%dT%H:%M:%S.%fZ}",
    }


@contextmanager
def serve_index(directory: Path, password: str = PASSWORD) -> Iterator[str]:
    """Serves the wheels of a directory to who knows the password; yields the address with it."""
    wanted = "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != wanted:
                self._answer(401, b"")
                return
            parts = self.path.strip("/").split("/")
            if parts[0] == "files":
                self._answer(200, (directory / parts[1]).read_bytes())
                return
            found = sorted(directory.glob(f"{parts[-1].replace('-', '_')}-*.whl"))
            page = {"meta": {"api-version": "1.1"}, "name": parts[-1], "files": [*map(_entry, found)]}
            self._answer(200 if found else 404, json.dumps(page).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{USER}:{password}@127.0.0.1:{server.server_address[1]}/simple"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""Uploads and downloads over signed URLs: streamed, retried, renewed."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flyte import errors
from flyte._client import _transfer
from flyte._client._transfer import get, put, upload
from hangar.admin.v1 import data_service_pb2

CODE = data_service_pb2.UPLOAD_KIND_CODE_BUNDLE


class Store:
    """An HTTP server that keeps what is PUT, refuses signatures that it does not know, and fails as told."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.good = {"good"}
        self.answers: list[int] = []
        """Statuses of the next requests; 0 closes the connection in the middle."""
        self.requests: list[str] = []
        self.ranges: list[str] = []
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                length = int(self.headers["Content-Length"])
                if store._fails(self, length):
                    return
                store.objects[self.path.partition("?")[0]] = self.rfile.read(length)
                self._answer(200)

            def do_GET(self) -> None:
                body = store.objects.get(self.path.partition("?")[0], b"")
                begin, end = store._range(self.headers.get("Range", ""), len(body))
                if not store._fails(self, 0, body[begin:end]):
                    self._answer(206 if (begin, end) != (0, len(body)) else 200, body[begin:end])

            def _answer(self, status: int, body: bytes = b"") -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def _range(self, header: str, size: int) -> tuple[int, int]:
        self.ranges.append(header)
        first, _, last = header.removeprefix("bytes=").partition("-")
        return (int(first), int(last) + 1) if header else (0, size)

    def _fails(self, handler: Any, length: int, body: bytes = b"") -> bool:
        signature = handler.path.partition("?")[2]
        self.requests.append(signature)
        status = self.answers.pop(0) if self.answers else (200 if signature in self.good else 403)
        if status == 200:
            return False
        if status == 0:
            handler.rfile.read(length // 2)
            if body:
                handler.send_response(206 if handler.headers.get("Range") else 200)
                handler.send_header("Content-Length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body[: len(body) // 2])
            handler.close_connection = True
            handler.connection.close()
            return True
        handler.rfile.read(length)
        handler._answer(status, b"<Error>reason</Error>")
        return True

    def url(self, key: str, signature: str = "good") -> str:
        """The URL of an object."""
        return f"http://127.0.0.1:{self.server.server_port}/{key}?{signature}"


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty store."""
    made = Store()
    yield made
    made.server.shutdown()
    made.server.server_close()
    made.thread.join()


class Backend:
    """The part of a client that uploads need; its URLs have the signatures of a list, one by one."""

    def __init__(self, store: Store, *signatures: str) -> None:
        self.data = SimpleNamespace(CreateUploads="CreateUploads")
        self.asked = 0
        self._store = store
        self._signatures = list(signatures)

    async def call(self, method: Any, request: Any) -> Any:
        self.asked += 1
        [wanted] = request.uploads
        key = f"code/{wanted.sha256}"
        exists = len(self._store.objects.get(f"/{key}", b"")) == wanted.size
        signature = self._signatures.pop(0) if self._signatures else "good"
        place = data_service_pb2.Upload(key=key, exists=exists, url=self._store.url(key, signature))
        return data_service_pb2.CreateUploadsResponse(uploads=[place])


async def send(backend: Any, content: bytes | Path) -> str:
    """Uploads."""
    return await upload(backend, "default", "development", CODE, content)


@pytest.mark.parametrize("as_file", [False, True])
async def test_content_is_stored_once(store: Store, tmp_path: Path, as_file: bool) -> None:
    """Bytes and files arrive as they are, and what is stored is not sent again."""
    content = bytes(range(256)) * 20_000
    (tmp_path / "file").write_bytes(content)
    backend = Backend(store)
    key = await send(backend, tmp_path / "file" if as_file else content)
    assert key == f"code/{hashlib.sha256(content).hexdigest()}"
    assert store.objects == {f"/{key}": content}
    assert await send(backend, content) == key
    assert len(store.requests) == 1
    assert await get(store.url(key)) == content


async def test_nothing_is_something_to_send(store: Store) -> None:
    """Empty content is stored and read."""
    await put(store.url("empty"), b"")
    assert store.objects == {"/empty": b""}
    assert await get(store.url("empty")) == b""


@pytest.mark.parametrize("failures", [[500], [503, 502], [0], [0, 429]])
async def test_passing_failures_are_tried_again(store: Store, failures: list[int]) -> None:
    """Errors of the server and connections that break in the middle, both ways."""
    content = b"x" * 3_000_000
    store.answers = list(failures)
    key = await send(Backend(store), content)
    assert store.objects == {f"/{key}": content}
    store.answers = list(failures)
    assert await get(store.url(key)) == content


async def test_an_expired_url_is_renewed(store: Store) -> None:
    """The first URL is refused; the transfer goes on with a new one, both ways."""
    backend = Backend(store, "old")
    key = await send(backend, b"content")
    assert (backend.asked, store.requests) == (2, ["old", "good"])

    async def renew() -> str:
        return store.url(key)

    assert await get(store.url(key, "old"), renew) == b"content"


async def test_an_answer_that_was_lost_costs_no_second_transfer(store: Store) -> None:
    """When the content turns out to be stored after a failure, that is success."""
    content = b"content"
    store.answers = [500]
    backend = Backend(store)
    call = backend.call

    async def stored_meanwhile(method: Any, request: Any) -> Any:
        if backend.asked:
            store.objects[f"/code/{hashlib.sha256(content).hexdigest()}"] = content
        return await call(method, request)

    backend.call = stored_meanwhile  # type: ignore[method-assign]
    await send(backend, content)
    assert len(store.requests) == 1


@pytest.mark.parametrize("status", [403, 404, 413])
async def test_a_refusal_is_an_error_without_the_signature(store: Store, status: int) -> None:
    """Status, address and reason are named; the signature, which is a secret, is not."""
    store.answers = [status] * 5
    with pytest.raises(errors.RuntimeSystemError) as caught:
        await send(Backend(store, *["secret"] * 5), b"content")
    message = str(caught.value)
    assert f"PUT http://127.0.0.1:{store.server.server_port}/code/" in message
    assert f"status {status}" in message
    assert "<Error>reason</Error>" in message
    assert "secret" not in message
    assert len(store.requests) == (3 if status == 403 else 1)


async def test_a_store_that_is_gone_is_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a bounded time the address that must be reachable is named."""
    monkeypatch.setattr(_transfer, "_PATIENCE_SECONDS", 0.3)
    url = store.url("a", "secret")
    store.server.shutdown()
    store.server.server_close()
    with pytest.raises(errors.RuntimeSystemError, match=r"/a failed: .*must be reachable") as caught:
        await put(url, b"x")
    assert "secret" not in str(caught.value)


async def test_long_transfers_say_how_far_they_are(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once they take longer than a moment."""
    monkeypatch.setattr(_transfer, "_SHOW_SECONDS", 0.0)
    caplog.set_level("INFO", logger="flyte")
    await put(store.url("a"), b"x" * 2_500_000)
    await get(store.url("a"))
    shown = [record.getMessage() for record in caplog.records]
    assert "Uploading: 2.5 of 2.5 MB" in shown
    assert "Downloading: 2.5 of 2.5 MB" in shown


async def test_a_download_goes_on_where_it_was(store: Store, tmp_path: Path) -> None:
    """A connection that breaks costs the rest of the file, not the whole, and an expired URL is replaced meanwhile."""
    content = bytes(range(256)) * 20_000
    store.objects["/a"] = content
    store.answers = [0, 403]

    async def renew() -> str:
        return store.url("a")

    target = tmp_path / "a"
    target.write_bytes(b"of before")
    await _transfer.get_file(store.url("a"), target, len(content), renew)
    assert target.read_bytes() == content
    begins = [int(each.removeprefix("bytes=").partition("-")[0]) for each in store.ranges]
    assert begins[0] == 0 < begins[1] == begins[2] <= len(content) // 2
    await _transfer.get_file(store.url("none"), target, 0, renew)
    assert target.read_bytes() == b""
    assert await _transfer.get_range(store.url("a"), 5, 8, renew) == content[5:8]

"""Objects inside a worker: one short-lived connection per request, made again until it is answered."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flyte import errors
from flyte._runtime.blob_access import BlobAccess, LeaseObjects
from flyte._runtime.frames import Decoder, Frame, Header, encode

RUN: Header = {
    "lease": 7,
    "run": {"project": "p", "domain": "d", "name": "r1"},
    "action": "a0",
    "attempt": 2,
}
Answer = Callable[[socket.socket, Header], None]


class Executor:
    """Listens on a socket and answers each request with the next of its answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[Header] = []
        self.answers: list[Answer] = []
        self._listening: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve)

    def start(self) -> None:
        """Begins to listen."""
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.path))
        self._listening.listen()
        self._thread.start()

    def _serve(self) -> None:
        assert self._listening is not None
        while self.answers:
            connection, _ = self._listening.accept()
            with connection:
                decoder = Decoder()
                frames: list[Frame] = []
                while len(frames) < 2:
                    frames += decoder.feed(connection.recv(1 << 16))
                assert frames[0][0] == {"type": "hello", "role": "blob", "worker": 3, "token": "t"}
                self.requests.append(frames[1][0])
                self.answers.pop(0)(connection, frames[1][0])

    def close(self) -> None:
        """Waits until every answer is given, and stops listening."""
        if self._listening is not None:
            self._thread.join(30)
            assert not self._thread.is_alive()
            self._listening.close()


def gives(path: Path, flags: int = os.O_RDONLY, pieces: int = 1) -> Answer:
    """Hands over a file, with an answer that is cut in pieces."""

    def answer(connection: socket.socket, request: Header) -> None:
        data = encode({"type": "blob", "id": request["id"]})
        descriptor = os.open(path, flags, 0o600)
        socket.send_fds(connection, [data[:pieces]], [descriptor])
        os.close(descriptor)
        connection.sendall(data[pieces:])

    return answer


def says(**error: str) -> Answer:
    """Answers without a file."""

    def answer(connection: socket.socket, request: Header) -> None:
        connection.sendall(
            encode({"type": "blob", "id": request["id"], **({"error": error} if error else {})})
        )

    return answer


def hangs_up(connection: socket.socket, request: Header) -> None:
    """Gives no answer."""


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[Executor]:
    """An executor that does not listen yet."""
    made = Executor(tmp_path / "s")
    yield made
    made.close()


@pytest.fixture
def objects(executor: Executor) -> LeaseObjects:
    """The objects of an attempt."""
    return LeaseObjects(BlobAccess(str(executor.path), 3, "t"), RUN)


def test_requests_are_made_until_they_are_answered(
    executor: Executor, objects: LeaseObjects, tmp_path: Path
) -> None:
    """Before the executor listens, when it hangs up, when an answer comes in pieces: in the end the file is there."""
    (tmp_path / "f").write_bytes(b"content")
    executor.answers = [hangs_up, hangs_up, gives(tmp_path / "f", pieces=3), gives(tmp_path / "f")]
    threading.Timer(0.05, executor.start).start()
    with objects.open_object("k") as file:
        assert file.read() == b"content"
        assert not os.get_inheritable(file.fileno())
    assert asyncio.run(_read(objects)) == b"content"
    assert [(each["method"], each["key"], each["lease"]) for each in executor.requests] == [
        ("get", "k", 7)
    ] * 4
    assert len({each["id"] for each in executor.requests}) == 2, "the same one is made again"


async def _read(objects: LeaseObjects) -> bytes:
    with await objects.open_object_async("k") as file:
        return file.read()


@pytest.mark.parametrize(
    ("code", "kind"),
    [("NotInReach", errors.RuntimeUserError), ("ObjectNotFound", errors.RuntimeUserError),
     ("ObjectUnavailable", errors.RuntimeSystemError)],
)  # fmt: skip
def test_refusals(executor: Executor, objects: LeaseObjects, code: str, kind: type[Exception]) -> None:
    """A refusal is an error with the executor's code and words; whose fault it is says the class."""
    executor.answers = [says(code=code, message="no, because")]
    executor.start()
    with pytest.raises(kind, match="no, because") as caught:
        objects.open_object("k")
    assert getattr(caught.value, "code", "") == code


def test_writing(executor: Executor, objects: LeaseObjects, tmp_path: Path) -> None:
    """A writer stores once, when it is closed; its key is below the attempt's own prefix."""
    assert objects.prefix == "runs/p/d/r1/a0/2/data"
    executor.answers = [gives(tmp_path / "f", os.O_RDWR | os.O_CREAT), hangs_up, says()]
    executor.start()
    with objects.create_object(f"{objects.prefix}/x") as file:
        file.write(b"0123")
        file.seek(1)
        file.write(b"x")
    file.close()
    assert (tmp_path / "f").read_bytes() == b"0x23"
    assert [each["method"] for each in executor.requests] == ["put", "store", "store"]
    assert len({each["id"] for each in executor.requests}) == 1


def test_what_fails_is_discarded(executor: Executor, objects: LeaseObjects, tmp_path: Path) -> None:
    """A block that raises discards its file, a writer that is forgotten empties it; neither stores."""
    path = tmp_path / "f"
    flags = os.O_RDWR | os.O_CREAT
    executor.answers = [gives(path, flags), says(), gives(path, flags)]
    executor.start()
    with pytest.raises(KeyError):
        _fail_inside(objects)
    assert path.stat().st_size == 0
    writer: Any = objects.create_object("k")
    writer.write(b"y" * 100_000)
    writer.flush()
    del writer
    gc.collect()
    assert path.stat().st_size == 0
    assert [each["method"] for each in executor.requests] == ["put", "discard", "put"]


def _fail_inside(objects: LeaseObjects) -> None:
    with objects.create_object("k") as file:
        file.write(b"x" * 100_000)
        raise KeyError


def test_cancelled_requests(executor: Executor, objects: LeaseObjects) -> None:
    """A coroutine that is cancelled while it waits leaves no socket and no descriptor."""

    async def ask() -> None:
        before = set(Path("/proc/self/fd").iterdir())
        waiting = [asyncio.create_task(objects.open_object_async("k")) for _ in range(4)]
        await asyncio.sleep(0)
        for each in waiting:
            each.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in results)
        async with asyncio.timeout(30):  # threads of other tests open and close files, too
            while not set(Path("/proc/self/fd").iterdir()) <= before:  # noqa: ASYNC110 - of the kernel
                await asyncio.sleep(0.01)

    asyncio.run(ask())

"""Objects of the blob store inside a worker: the executor opens them and hands the files over.

The worker has neither a credential nor a path of the store. Each request is a short-lived connection to the executor's
socket with one frame and one answer, so any thread and any event loop can make one, and one that is cut off by a
restart of the executor is simply made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple

from flyte import errors
from flyte._runtime.frames import Decoder, Frame, FrameError, Header, encode
from flyte._runtime.sockets import connect

_ANSWER_BYTES = 1 << 16
_MOST_DESCRIPTORS = 128
BATCH = 64
"""Most objects of one request."""
_BATCH_BYTES = 40 * 1024
"""Most bytes of their keys: a request is short."""
_FIRST_PAUSE_SECONDS = 0.01
_LAST_PAUSE_SECONDS = 1.0
_POLL_SECONDS = 1.0
_USER_CODES = frozenset(
    {"NotInReach", "ObjectNotFound", "InvalidArgument", "DiskLimitExceeded", "ReportTooLarge"}
)


class BlobAccess:
    """Asks the executor for objects. May be used from any thread.

    Args:
        path: The executor's socket.
        worker: The worker's number.
        token: What it proves itself with.
    """

    def __init__(self, path: str, worker: int, token: str) -> None:
        self._path = path
        self._hello: Header = {"type": "hello", "role": "blob", "worker": worker, "token": token}

    def ask(self, lease: int, method: str, key: str, draft: str) -> int:
        """Makes a request and blocks until it is answered, however often the executor is restarted meanwhile.

        Returns:
            The descriptor that came with the answer, -1 for none. The caller closes it.

        Raises:
            RuntimeUserError: The object is out of reach or does not exist.
            RuntimeSystemError: The executor could not do it.
        """
        return self.ask_many(lease, method, [(draft, key)]).descriptor

    def ask_many(self, lease: int, method: str, objects: Sequence[tuple[str, str]]) -> Reply:
        """As `ask`, for up to `BATCH` objects at once: either all of it is done or an error says what was not.

        Args:
            lease: The lease.
            method: What to do.
            objects: Identity of the file and key of each.
        """
        data = self._data(lease, method, objects)
        for pause in _pauses():
            try:
                return self._ask_once(data)
            except OSError:
                time.sleep(pause)
        raise AssertionError  # it goes on for ever

    async def ask_async(self, lease: int, method: str, key: str, draft: str) -> int:
        """As `ask`, on any event loop. When it is cancelled nothing stays open."""
        data = self._data(lease, method, [(draft, key)])
        for pause in _pauses():
            try:
                with connect(self._path) as connection:
                    await asyncio.get_running_loop().sock_sendall(connection, data)
                    return (await _receive_async(connection)).descriptor
            except OSError:
                await asyncio.sleep(pause)
        raise AssertionError  # it goes on for ever

    def try_once(self, lease: int, method: str, key: str, draft: str) -> None:
        """Makes a request whose outcome does not matter: one that fails is not made again."""
        with contextlib.suppress(OSError, errors.BaseRuntimeError):
            self._ask_once(self._data(lease, method, [(draft, key)]), _POLL_SECONDS)

    def _data(self, lease: int, method: str, objects: Sequence[tuple[str, str]]) -> bytes:
        (draft, key), *more = objects
        request: Header = {"type": "blob", "id": draft, "lease": lease, "method": method, "key": key}
        if more:
            request["more"] = more
        return encode(self._hello) + encode(request)

    def _ask_once(self, data: bytes, patience: float = float("inf")) -> Reply:
        with connect(self._path) as connection:
            # Now and then this runs Python code, in which a sync task can be stopped.
            connection.settimeout(min(_POLL_SECONDS, patience))
            connection.sendall(data)
            answer = _Answer()
            try:
                while not answer.is_complete:
                    try:
                        answer.receive(connection)
                    except TimeoutError:
                        if patience <= _POLL_SECONDS:
                            raise
            except BaseException:
                answer.close()
                raise
        return answer.take()


class Reply(NamedTuple):
    """What the executor answered."""

    header: Header
    descriptors: list[int]
    """Open files, which the caller closes."""

    @property
    def descriptor(self) -> int:
        """The first one, -1 for none."""
        return self.descriptors[0] if self.descriptors else -1


class _Answer:
    """The one frame that the executor sends, with the descriptor that comes with it."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._frames: list[Frame] = []
        self._descriptors: list[int] = []

    @property
    def is_complete(self) -> bool:
        """Whether all of it has come."""
        return bool(self._frames)

    def receive(self, connection: socket.socket) -> None:
        """Takes what has come.

        Raises:
            OSError: The connection has ended, or is not ready.
        """
        data, descriptors, _, _ = socket.recv_fds(connection, _ANSWER_BYTES, _MOST_DESCRIPTORS)
        self._descriptors += descriptors
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        if not data:
            raise ConnectionResetError("the executor closed the connection without an answer")
        try:
            self._frames += self._decoder.feed(data)
        except FrameError as error:
            raise ConnectionResetError(f"the executor sent what is no answer: {error}") from error

    def take(self) -> Reply:
        """All of it.

        Raises:
            BaseRuntimeError: The executor refused.
        """
        error: dict[str, Any] | None = self._frames[0][0].get("error")
        if error is None:
            return Reply(self._frames[0][0], self._descriptors)
        self.close()
        code, message = str(error.get("code")), str(error.get("message"))
        if code in _USER_CODES:
            raise errors.RuntimeUserError(code, message)
        raise errors.RuntimeSystemError(code, message)

    def close(self) -> None:
        """Closes what came."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


async def _receive_async(connection: socket.socket) -> Reply:
    loop = asyncio.get_running_loop()
    answer = _Answer()
    try:
        while not answer.is_complete:
            readable: asyncio.Future[None] = loop.create_future()
            loop.add_reader(connection, _settle, readable)
            try:
                await readable
            finally:
                loop.remove_reader(connection)
            with contextlib.suppress(BlockingIOError):
                answer.receive(connection)
    except BaseException:
        answer.close()
        raise
    return answer.take()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(pause * 2, _LAST_PAUSE_SECONDS)


class LeaseObjects:
    """The objects in reach of one attempt: what its inputs and its children's results refer to, and its own.

    Args:
        access: Asks the executor.
        run: The `run` frame of the attempt.
    """

    def __init__(self, access: BlobAccess, run: Header) -> None:
        self._access = access
        self._lease = int(run["lease"])
        names = run.get("run") or {}
        parts = ("runs", names.get("project"), names.get("domain"), names.get("name"), run.get("action"))
        action, attempt = "/".join(map(str, parts)), int(run.get("attempt") or 0)
        own = f"{action}/{attempt}"
        self.prefix = f"{own}/data"
        """Where the attempt may create objects: keys begin with this and a slash."""
        self.report_key = f"{own}/report.html"
        """Another object that it may create, again and again: its report."""
        self.checkpoint_keys = [f"{action}/{number}/checkpoint" for number in range(attempt, -1, -1)]
        """Its checkpoint, which it may create again and again, and those of earlier attempts, the newest first."""
        self._kept: list[int] = []
        self.frames: dict[int, Any] = {}
        """Data frames that were read, by identity: what they are and where they came from."""

    def close(self) -> None:
        """Closes the files that were opened for the time of the attempt."""
        kept, self._kept = self._kept, []
        for descriptor in kept:
            os.close(descriptor)

    def keep_open(self, key: str) -> str:
        """A path under which libraries can read an object until the attempt ends.

        Raises:
            BaseRuntimeError: As `open_object`.
        """
        descriptor = self._access.ask(self._lease, "get", key, uuid.uuid4().hex)
        self._kept.append(descriptor)
        return f"/proc/self/fd/{descriptor}"

    def size_of(self, key: str) -> int | None:
        """Bytes of an object, None when there is none. It is not fetched.

        Raises:
            BaseRuntimeError: It is out of reach ("NotInReach"), or the store cannot be asked.
        """
        try:
            reply = self._access.ask_many(self._lease, "head", [(uuid.uuid4().hex, key)])
        except errors.RuntimeUserError as error:
            if error.code == "ObjectNotFound":
                return None
            raise
        return int(reply.header["size"])

    def list_objects(self, prefix: str) -> list[tuple[str, int]]:
        """Keys and sizes of the objects below a prefix that ends with a slash, in the order of their keys.

        Raises:
            BaseRuntimeError: It is out of reach ("NotInReach"), or the store cannot be asked.
        """
        descriptor = self._access.ask(self._lease, "list", prefix, uuid.uuid4().hex)
        with os.fdopen(descriptor, "rb") as file:
            file.seek(0)
            return [(str(key), int(size)) for key, size in json.load(file)]

    def open_objects(self, keys: Sequence[str]) -> Iterator[io.BufferedReader]:
        """Opens objects in the order of their keys, many to a request. Each is closed when the next one is asked for.

        Raises:
            BaseRuntimeError: As `open_object`.
        """
        for batch in _batches(keys):
            objects = [(uuid.uuid4().hex, key) for key in batch]
            descriptors = self._access.ask_many(self._lease, "get", objects).descriptors
            try:
                while descriptors:
                    with os.fdopen(descriptors.pop(0), "rb") as file:
                        yield file
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def create_objects(self, keys: Sequence[str]) -> Iterator[io.FileIO]:
        """Opens new objects for writing, many to a request, and stores those of a request once all were asked for.

        What was asked for before an error may be stored or not.

        Raises:
            BaseRuntimeError: As `create_object`.
        """
        for batch in _batches(keys):
            objects = [(uuid.uuid4().hex, key) for key in batch]
            descriptors = self._access.ask_many(self._lease, "put", objects).descriptors
            try:
                while descriptors:
                    with os.fdopen(descriptors.pop(0), "r+b", buffering=0) as file:
                        yield file
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            self._access.ask_many(self._lease, "store", objects)

    def open_object(self, key: str) -> io.BufferedReader:
        """Opens an object for reading. Blocks until it is on this host.

        Raises:
            RuntimeUserError: It is out of reach ("NotInReach") or does not exist ("ObjectNotFound").
            RuntimeSystemError: It cannot be had.
        """
        return os.fdopen(self._access.ask(self._lease, "get", key, uuid.uuid4().hex), "rb")

    async def open_object_async(self, key: str) -> io.BufferedReader:
        """As `open_object`, without blocking the event loop."""
        return os.fdopen(await self._access.ask_async(self._lease, "get", key, uuid.uuid4().hex), "rb")

    def create_object(self, key: str) -> ObjectWriter:
        """Opens a new object for writing. It is stored by `close`; a `with` block that fails stores nothing.

        Args:
            key: Its key: below `prefix`, or `report_key`.

        Raises:
            RuntimeUserError: The key is out of reach ("NotInReach").
            RuntimeSystemError: It cannot be had.
        """
        draft = uuid.uuid4().hex
        return ObjectWriter(
            self._access.ask(self._lease, "put", key, draft), self._access, self._lease, key, draft
        )

    async def create_object_async(self, key: str) -> ObjectWriter:
        """As `create_object`, without blocking the event loop. Store it with `await writer.close_async()`."""
        draft = uuid.uuid4().hex
        descriptor = await self._access.ask_async(self._lease, "put", key, draft)
        return ObjectWriter(descriptor, self._access, self._lease, key, draft)


def _batches(keys: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for key in keys:
        length = len(key.encode())
        if batch and (len(batch) == BATCH or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(key)
        size += length
    if batch:
        yield batch


class ObjectWriter(io.BufferedRandom):
    """A file that becomes an object when it is closed. It can be read and written at any position.

    Example:
        ```python
        with objects.create_object(f"{objects.prefix}/model.bin") as file:
            file.write(b"...")
        ```
    """

    def __init__(self, descriptor: int, access: BlobAccess, lease: int, key: str, draft: str) -> None:
        super().__init__(io.FileIO(descriptor, "r+"))
        self._access = access
        self._request = (lease, key, draft)

    def close(self) -> None:
        """Stores the object, and blocks until that is done.

        Raises:
            RuntimeUserError: The task wrote more than its disk limit ("DiskLimitExceeded").
            RuntimeSystemError: It cannot be stored.
        """
        if not self.closed:
            super().close()
            lease, key, draft = self._request
            self._access.ask(lease, "store", key, draft)

    async def close_async(self) -> None:
        """As `close`, without blocking the event loop."""
        if not self.closed:
            super().close()
            lease, key, draft = self._request
            await self._access.ask_async(lease, "store", key, draft)

    def discard(self) -> None:
        """Closes the file and stores nothing."""
        if not self.closed:
            self._drop()
            lease, key, draft = self._request
            self._access.try_once(lease, "discard", key, draft)

    def _drop(self) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self.fileno(), 0)
            self.raw.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        # Whoever forgot to close it has not finished it.
        if not self.closed:
            self._drop()

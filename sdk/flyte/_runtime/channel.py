"""The worker's connection to its executor: reconnects for ever, writes once per turn of the loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from flyte._runtime.frames import Decoder, Frame, FrameError, Header, encode
from flyte._runtime.sockets import connect

_READ_BYTES = 1 << 18
_FIRST_RETRY_SECONDS = 0.01
_LAST_RETRY_SECONDS = 1.0
_JOINED_WRITE_BYTES = 1 << 20


class Channel:
    """Frames to and from `executor.sock`.

    What is queued is written by `flush`, which the owner calls once per iteration of the loop: everything
    that one iteration has to say leaves in one write. Frames queued while there is no connection are
    dropped, because the owner says everything that is unanswered again when `on_connect` is called.
    """

    def __init__(
        self,
        path: str,
        loop: asyncio.AbstractEventLoop,
        on_connect: Callable[[], None],
        on_frame: Callable[[Frame], None],
    ) -> None:
        self._path = path
        self._loop = loop
        self._on_connect = on_connect
        self._on_frame = on_frame
        self._socket: socket.socket | None = None
        self._decoder = Decoder()
        self._queue: list[bytes] = []
        self._writing = False
        self._retry_seconds = _FIRST_RETRY_SECONDS
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._socket is not None

    @property
    def empty(self) -> bool:
        """Whether everything that was queued is written."""
        return not self._queue

    def connect(self) -> None:
        """Connects now, or keeps trying."""
        if self._closed:
            return
        try:
            connection = connect(self._path)
        except OSError:
            self._loop.call_later(self._retry_seconds, self.connect)
            self._retry_seconds = min(self._retry_seconds * 2, _LAST_RETRY_SECONDS)
            return
        self._socket = connection
        self._decoder = Decoder()
        self._queue.clear()
        self._retry_seconds = _FIRST_RETRY_SECONDS
        self._loop.add_reader(connection, self._read)
        self._on_connect()

    def send(self, header: Header, body: bytes = b"") -> None:
        """Queues a frame. Dropped when there is no connection.

        Raises:
            FrameError: The frame is longer than the protocol allows.
        """
        data = encode(header, body)
        if self._socket is not None:
            self._queue.append(data)

    def flush(self) -> None:
        """Writes what is queued, as far as the connection takes it."""
        while self._queue and self._socket is not None and not self._writing:
            data = self._queue[0] if len(self._queue) == 1 else self._joined()
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self._lost()
                return
            if sent == len(data):
                self._queue.pop(0)
            else:
                self._queue[0] = data[sent:]
                self._writing = True
                self._loop.add_writer(self._socket, self._writable)

    def close(self) -> None:
        """Ends the connection for good."""
        self._closed = True
        if self._socket is not None:
            self._drop()

    def _joined(self) -> bytes:
        size = count = 0
        for data in self._queue:
            size += len(data)
            count += 1
            if size >= _JOINED_WRITE_BYTES:
                break
        joined = b"".join(self._queue[:count])
        self._queue[:count] = [joined]
        return joined

    def _writable(self) -> None:
        if self._socket is not None:
            self._loop.remove_writer(self._socket)
        self._writing = False
        self.flush()

    def _read(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        try:
            frames = self._decoder.feed(data)
        except FrameError:
            self._lost()
            return
        for frame in frames:
            self._on_frame(frame)

    def _lost(self) -> None:
        self._drop()
        self._loop.call_later(self._retry_seconds, self.connect)

    def _drop(self) -> None:
        connection, self._socket = self._socket, None
        if connection is None:
            return
        self._loop.remove_reader(connection)
        if self._writing:
            self._loop.remove_writer(connection)
            self._writing = False
        self._queue.clear()
        connection.close()

"""The executor's side of the worker protocol: a unix socket in the directory of each worker.

Frames are handled in the callback that read them, and frames to send are collected for one turn of the event
loop: there is no task, queue or buffer copy per message.
"""

import asyncio
import hmac
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import structlog

from services.executor import frames
from services.executor.frames import (
    MAX_HELLO_BYTES,
    MAX_REQUEST_BYTES,
    Frame,
    FrameDecoder,
    FrameError,
)

log = structlog.get_logger(__name__)

SOCKET_NAME = "executor.sock"
_LONGEST_SOCKET_PATH = 100
_READ_LIMIT = 256 * 1024
_ROLES = frozenset({"worker", "supervisor", "blob"})
_MOST_CONNECTIONS = 256
"""Of one worker: no task may use up the descriptors of the executor."""


class WorkerListener(Protocol):
    """Who learns what workers say."""

    def worker_connected(self, worker_id: int, connection: "WorkerConnection", hello: dict[str, Any]) -> None:
        """A worker connected, for the first time or again, and proved itself."""
        ...

    def supervisor_connected(self, worker_id: int, hello: dict[str, Any]) -> None:
        """The supervisor of a worker connected."""
        ...

    def worker_frame(self, worker_id: int, connection: "WorkerConnection", frame: Frame) -> None:
        """A worker sent a frame."""
        ...

    def worker_disconnected(self, worker_id: int, connection: "WorkerConnection") -> None:
        """A connection of a worker ended; all that it had sent was delivered before."""
        ...

    def blob_requested(self, worker_id: int, connection: "WorkerConnection", frame: Frame) -> None:
        """A worker asks for an object over a connection of its own."""
        ...

    def blob_disconnected(self, connection: "WorkerConnection") -> None:
        """A connection for an object ended."""
        ...


class WorkerConnection(asyncio.Protocol):
    """One connection of a worker or of its supervisor."""

    def __init__(self, endpoint: "_Endpoint") -> None:
        self._endpoint = endpoint
        self._decoder = FrameDecoder(MAX_HELLO_BYTES)
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[bytes] = []
        self.role = ""
        """ "worker", "supervisor" or "blob", empty until it said so."""
        self.specs: dict[str, Any] = {}
        """What the listener keeps for the time of the connection, by the keys of the worker."""
        self.closed = asyncio.get_running_loop().create_future()
        """Done when the connection has ended."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._endpoint.connections.add(self)
        if len(self._endpoint.connections) > _MOST_CONNECTIONS:
            log.warning("worker.too_many_connections", worker=self._endpoint.worker_id)
            transport.abort()
            return
        # A worker's replies are bounded by its leases, so the loop may buffer what it reads in large pieces.
        if hasattr(transport, "max_size"):
            transport.max_size = _READ_LIMIT

    def data_received(self, data: bytes) -> None:
        """Handles the frames that are complete."""
        try:
            received = self._decoder.feed(data)
            for frame in received:
                if self.role:
                    if self.role == "worker":
                        self._endpoint.listener.worker_frame(self._endpoint.worker_id, self, frame)
                    elif self.role == "blob":
                        self._endpoint.listener.blob_requested(self._endpoint.worker_id, self, frame)
                else:
                    self._introduce(frame)
        except FrameError as error:
            log.warning("worker.bad_frame", worker=self._endpoint.worker_id, error=str(error))
            self.close()

    def _introduce(self, frame: Frame) -> None:
        header = frame.header
        if header["type"] != "hello" or header.get("role") not in _ROLES:
            raise FrameError(
                f"the first frame of a connection has to be a hello with one of the roles {sorted(_ROLES)}"
            )
        token = str(header.get("token", ""))
        if not hmac.compare_digest(token.encode(), self._endpoint.token.encode()):
            raise FrameError("the hello of a connection has the wrong token")
        if int(header.get("worker", self._endpoint.worker_id)) != self._endpoint.worker_id:
            raise FrameError(
                f"worker {header['worker']} connected to the socket of {self._endpoint.worker_id}"
            )
        self.role = str(header["role"])
        if self.role == "blob":
            self._decoder.restrict(MAX_REQUEST_BYTES)
            return  # The one answer that it gets carries a descriptor: nothing may be queued before it.
        if self.role == "worker":
            # A worker has one connection, so that what it makes this process keep is bounded.
            for other in list(self._endpoint.connections):
                if other is not self and other.role == "worker":
                    other.close()
        self.send({"type": "welcome", "worker": self._endpoint.worker_id})
        if self.role == "worker":
            self._endpoint.listener.worker_connected(self._endpoint.worker_id, self, header)
        else:
            # Its exit frames need no ear: the engine reports exits, from the supervisor's own record.
            self._endpoint.listener.supervisor_connected(self._endpoint.worker_id, header)

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Sends a frame at the end of this turn of the loop. What is sent to an ended connection is gone."""
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(frames.encode(header, body))

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(outgoing))

    def send_descriptors(self, header: dict[str, Any], descriptors: Sequence[int]) -> None:
        """Sends a frame together with open files, at once: the first and only one of its connection.

        Args:
            header: The frame; it is short.
            descriptors: The files, which the caller keeps and closes.
        """
        if self._transport is None or self._transport.is_closing():
            return
        data = frames.encode(header)
        # The transport cannot send descriptors; it has sent nothing yet, so that nothing is out of order.
        with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as connection:
            try:
                sent = socket.send_fds(connection, [data], descriptors)
            except OSError as error:
                log.warning("worker.descriptor_not_sent", worker=self._endpoint.worker_id, error=str(error))
                sent = 0
        if sent < len(data):
            self._transport.abort()  # The worker asks again.

    def close(self) -> None:
        """Ends the connection after what was sent."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells the listener."""
        self._transport = None
        self._endpoint.connections.discard(self)
        if not self.closed.done():
            self.closed.set_result(None)
        if self.role == "worker":
            self._endpoint.listener.worker_disconnected(self._endpoint.worker_id, self)
        elif self.role == "blob":
            self._endpoint.listener.blob_disconnected(self)


class _Endpoint:
    """The socket of one worker."""

    def __init__(self, worker_id: int, token: str, listener: WorkerListener) -> None:
        self.worker_id = worker_id
        self.token = token
        self.listener = listener
        self.connections: set[WorkerConnection] = set()
        self.server: asyncio.Server | None = None


class WorkerServer:
    """Listens for workers, each on the socket in its own directory.

    Args:
        listener: Told what workers say.
    """

    def __init__(self, listener: WorkerListener) -> None:
        self._listener = listener
        self._endpoints: dict[int, _Endpoint] = {}

    async def listen(self, worker_id: int, directory: Path, token: str) -> None:
        """Opens the socket of a worker, in place of one that an earlier executor left behind.

        Raises:
            OSError: When the socket cannot be made.
        """
        if worker_id in self._endpoints:
            return
        endpoint = self._endpoints[worker_id] = _Endpoint(worker_id, token, self._listener)
        try:
            listening = _bind(directory / SOCKET_NAME)
            endpoint.server = await asyncio.get_running_loop().create_unix_server(
                lambda: WorkerConnection(endpoint), sock=listening
            )
        except OSError:
            del self._endpoints[worker_id]
            raise

    async def unlisten(self, worker_id: int) -> None:
        """Closes the socket of a worker and its connections."""
        endpoint = self._endpoints.pop(worker_id, None)
        if endpoint is None:
            return
        if endpoint.server is not None:
            endpoint.server.close()
        for connection in list(endpoint.connections):
            connection.close()

    async def close(self) -> None:
        """Closes all sockets; workers notice and try to connect again."""
        for worker_id in list(self._endpoints):
            await self.unlisten(worker_id)


def _bind(path: Path) -> socket.socket:
    """Returns a listening socket.

    Paths that are too long for a socket are reached through the directory's handle.
    """
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = -1
    try:
        if len(os.fsencode(path)) < _LONGEST_SOCKET_PATH:
            listening.bind(str(path))
        else:
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            listening.bind(f"/proc/self/fd/{directory}/{path.name}")
        # Never through a link: a worker in a container owns the directory, and could put one there.
        owner = path.parent.stat()
        if owner.st_uid == os.geteuid():
            path.chmod(0o600)
        else:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    except OSError:
        listening.close()
        raise
    finally:
        if directory >= 0:
            os.close(directory)
    listening.setblocking(False)
    return listening

"""Ships what leases print: cuts their log files into chunks, stores these and registers them."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from hangar.core.v1.payload_pb2 import BlobReference
from hangar.scheduler.v1.node_service_pb2 import LogChunk, LogChunkKey
from services.executor.holdings import Holdings
from services.executor.journal import Journal
from services.executor.leases import Lease, LeaseState
from services.executor.outbox import ChunkRow
from services.executor.outgoing import Outgoing
from services.executor.payloads import Payloads
from services.executor.worker_files import open_plain

CHUNKS_AT_ONCE = 8
"""Chunks in memory at a time: while the store is slow or down, what leases print stays in their files."""


class LogShipper:
    """Follows the log file of every lease that runs.

    Args:
        holdings: The leases.
        journal: Remembers chunks until they are acknowledged, and how far each file is shipped.
        outgoing: Registers chunks.
        payloads: Stores chunks.
        path_of: Says where the log of a lease is.
        interval: Longest time in seconds that a line waits.
        chunk_bytes: Most bytes of a file in one chunk.
    """

    def __init__(
        self,
        holdings: Holdings,
        journal: Journal,
        outgoing: Outgoing,
        payloads: Payloads,
        path_of: Callable[[Lease], str],
        interval: float,
        chunk_bytes: int,
    ) -> None:
        self._holdings = holdings
        self._journal = journal
        self._outgoing = outgoing
        self._payloads = payloads
        self._path_of = path_of
        self._interval = interval
        self._chunk_bytes = chunk_bytes
        self._shipping: dict[int, asyncio.Task[None]] = {}
        self._at_once = asyncio.Semaphore(CHUNKS_AT_ONCE)

    @property
    def chunks_in_memory(self) -> int:
        """Chunks that are being stored right now, or wait for the store. All else is in files."""
        return CHUNKS_AT_ONCE - self._at_once._value  # the one way to see it

    async def run(self) -> None:
        """Ships new lines of running leases at every interval, until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            for lease in list(self._holdings.leases.values()):
                # A parked lease prints nothing; what it printed before was shipped when it parked.
                if lease.state is LeaseState.RUNNING and self.has_rest(lease):
                    self.ship(lease)

    def has_rest(self, lease: Lease) -> bool:
        """Says whether a log has bytes that are not in a chunk yet. A lease without output has no file."""
        try:
            return os.lstat(self._path_of(lease)).st_size > lease.log_offset
        except OSError:
            return False

    def ship(self, lease: Lease) -> asyncio.Task[None]:
        """Ships what the log has now; once the lease has ended, to its last byte."""
        task = self._shipping.get(lease.lease_id)
        if task is None:
            task = self._shipping[lease.lease_id] = asyncio.create_task(self._ship(lease))
            task.add_done_callback(lambda _: self._shipping.pop(lease.lease_id, None))
        return task

    async def _ship(self, lease: Lease) -> None:
        path = Path(self._path_of(lease))
        while True:
            async with self._at_once:
                ended = lease.is_ended
                taken, text, lines = self._cut(path, lease.log_offset, whole=not ended)
                if taken:
                    await self._store(lease, taken, text, lines)
            if taken:
                continue
            if ended or not lease.is_ended:
                return

    def _cut(self, path: Path, offset: int, *, whole: bool) -> tuple[int, bytes, int]:
        """Returns how many bytes the next chunk takes from the file, its content, and its lines.

        Args:
            path: The log.
            offset: Where to begin.
            whole: Take whole lines only: a line that is being printed waits for its end, unless it fills a
                chunk.
        """
        try:
            with open_plain(path) as file:
                file.seek(offset)
                data = file.read(self._chunk_bytes)
        except OSError:
            return 0, b"", 0
        end = data.rfind(b"\n") + 1
        if end and (whole or len(data) == self._chunk_bytes):
            data = data[:end]
        elif whole and len(data) < self._chunk_bytes:
            return 0, b"", 0
        if not data:
            return 0, b"", 0
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        lines = data.decode(errors="replace").removesuffix("\n").split("\n")
        return len(data), "".join(f"{now} {line}\n" for line in lines).encode(), len(lines)

    async def _store(self, lease: Lease, taken: int, text: bytes, lines: int) -> None:
        index = lease.log_index
        key = f"{lease.prefix}/logs/{index}.log"
        at = time.time_ns()
        await self._payloads.put(key, text)
        if lease.dropped:
            return
        chunk = LogChunk(
            key=LogChunkKey(lease_id=lease.lease_id, index=index),
            blob=BlobReference(key=key, size=len(text)),
            lines=lines,
        )
        chunk.first_at.FromNanoseconds(at)
        lease.log_index, lease.log_offset = index + 1, lease.log_offset + taken
        pending = self._journal.pending
        pending.chunks.append(ChunkRow(lease.lease_id, index, chunk.SerializeToString()))
        pending.log_positions.append((lease.log_index, lease.log_offset, lease.lease_id))
        self._holdings.chunks[lease.lease_id, index] = chunk
        committed = asyncio.Event()
        self._journal.commit_soon(lambda: self._register(chunk, committed))
        await committed.wait()

    def _register(self, chunk: LogChunk, committed: asyncio.Event) -> None:
        self._outgoing.log(chunk)
        committed.set()

    def remove(self, lease: Lease) -> None:
        """Removes the file of a log that nobody needs any more.

        The directory of the worker may outlive it by far.
        """
        if lease.log_offset and lease.is_shared:
            with contextlib.suppress(OSError):
                Path(self._path_of(lease)).unlink(missing_ok=True)

    def acknowledged(self, key: LogChunkKey) -> None:
        """The scheduler has a chunk."""
        self._holdings.chunks.pop((key.lease_id, key.index), None)
        self._journal.pending.forgotten_chunks.append((key.lease_id, key.index))
        self._journal.commit_soon()

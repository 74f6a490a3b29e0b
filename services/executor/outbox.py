"""What an executor must not forget when it is killed: leases, results and log chunks on their way.

SQLite in WAL mode with `synchronous=NORMAL`: a commit survives the end of this process by any signal. The
loss of the machine may cost the last commits; the scheduler's ledger makes up for them, since a host that
restarts has lost its workers anyway.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from services.common import disk
from services.common.errors import FailedPrecondition

SCHEMA_VERSION = 2

_SCHEMA = """
CREATE TABLE spec (digest TEXT PRIMARY KEY, spec BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE worker (worker_id INTEGER PRIMARY KEY, start BLOB NOT NULL);
CREATE TABLE lease (
  lease_id INTEGER PRIMARY KEY, assignment BLOB NOT NULL, worker_id INTEGER NOT NULL,
  started_at INTEGER NOT NULL, log_index INTEGER NOT NULL, log_offset INTEGER NOT NULL, result BLOB
);
CREATE TABLE chunk (
  lease_id INTEGER, chunk_index INTEGER, chunk BLOB NOT NULL, PRIMARY KEY (lease_id, chunk_index)
) WITHOUT ROWID;
CREATE TABLE fence (generation INTEGER NOT NULL);
INSERT INTO fence VALUES (0);
"""
_TRACES = """
CREATE TABLE trace (
  lease_id INTEGER, trace_key TEXT, spec BLOB NOT NULL, result BLOB NOT NULL, PRIMARY KEY (lease_id, trace_key)
) WITHOUT ROWID;
"""


class LeaseRow(NamedTuple):
    """A lease as journaled when its assignment came."""

    lease_id: int
    assignment: bytes
    """Serialised `Assignment`."""
    worker_id: int
    """Worker that may have received it, 0 for none."""
    started_at: int = 0
    """When user code started in nanoseconds since the epoch, 0 when it has not."""
    log_index: int = 0
    """Log chunks cut so far."""
    log_offset: int = 0
    """Bytes of the log file in those chunks."""
    result: bytes | None = None
    """Serialised `LeaseResult`, once it ended."""


class ChunkRow(NamedTuple):
    """A stored log chunk that the scheduler has not acknowledged."""

    lease_id: int
    position: int
    """Position among the chunks of the lease, from 0."""
    chunk: bytes
    """Serialised `LogChunk`."""


class TraceRow(NamedTuple):
    """A traced call that ended and that the scheduler has not acknowledged."""

    lease_id: int
    key: str
    spec: bytes
    """Serialised `TaskSpec`: the worker that could say it again may be gone."""
    result: bytes
    """Serialised `TraceResult`."""


@dataclass(slots=True)
class Batch:
    """Changes that are committed together. Additions are applied before removals."""

    specs: list[tuple[str, bytes]] = field(default_factory=list)
    """Digest and serialised `TaskSpec`."""
    workers: list[tuple[int, bytes]] = field(default_factory=list)
    """Identity and serialised `WorkerStart` of workers of pools."""
    leases: list[LeaseRow] = field(default_factory=list)
    placed: list[tuple[int, int]] = field(default_factory=list)
    """Worker and the lease that it is about to receive."""
    started: list[tuple[int, int]] = field(default_factory=list)
    """Time and lease."""
    results: list[tuple[bytes, int]] = field(default_factory=list)
    """Serialised `LeaseResult` and the lease. The first result of a lease stands."""
    traces: list[TraceRow] = field(default_factory=list)
    chunks: list[ChunkRow] = field(default_factory=list)
    log_positions: list[tuple[int, int, int]] = field(default_factory=list)
    """Chunks cut, bytes in them, and the lease."""
    forgotten_chunks: list[tuple[int, int]] = field(default_factory=list)
    """Lease and position of chunks that are acknowledged."""
    forgotten_traces: list[tuple[int, str]] = field(default_factory=list)
    """Lease and key of traced calls that are acknowledged."""
    forgotten_leases: list[tuple[int]] = field(default_factory=list)
    """Leases whose result is acknowledged and whose log is shipped, or that are dropped."""
    forgotten_workers: list[tuple[int]] = field(default_factory=list)
    generations: list[tuple[int]] = field(default_factory=list)
    """Generation of the scheduler that was welcomed."""

    def __bool__(self) -> bool:
        return any(getattr(self, f.name) for f in fields(self))


_STATEMENTS: Sequence[tuple[Callable[[Batch], Iterable[tuple[Any, ...]]], str]] = (
    (lambda b: b.specs, "INSERT OR IGNORE INTO spec VALUES (?, ?)"),
    (lambda b: b.workers, "INSERT OR IGNORE INTO worker VALUES (?, ?)"),
    (lambda b: b.leases, "INSERT OR IGNORE INTO lease VALUES (?, ?, ?, ?, ?, ?, ?)"),
    (lambda b: b.placed, "UPDATE lease SET worker_id = ? WHERE lease_id = ?"),
    (lambda b: b.started, "UPDATE lease SET started_at = ? WHERE lease_id = ?"),
    (lambda b: b.results, "UPDATE lease SET result = ? WHERE lease_id = ? AND result IS NULL"),
    (lambda b: b.traces, "INSERT OR REPLACE INTO trace VALUES (?, ?, ?, ?)"),
    (lambda b: b.chunks, "INSERT OR IGNORE INTO chunk VALUES (?, ?, ?)"),
    (lambda b: b.log_positions, "UPDATE lease SET log_index = ?, log_offset = ? WHERE lease_id = ?"),
    (lambda b: b.forgotten_chunks, "DELETE FROM chunk WHERE lease_id = ? AND chunk_index = ?"),
    (lambda b: b.forgotten_traces, "DELETE FROM trace WHERE lease_id = ? AND trace_key = ?"),
    (lambda b: b.forgotten_leases, "DELETE FROM trace WHERE lease_id = ?"),
    (lambda b: b.forgotten_leases, "DELETE FROM lease WHERE lease_id = ?"),
    (lambda b: b.forgotten_workers, "DELETE FROM worker WHERE worker_id = ?"),
    (lambda b: b.generations, "UPDATE fence SET generation = max(generation, ?)"),
)


@dataclass(frozen=True, slots=True)
class Restored:
    """What an outbox held when it was opened."""

    specs: dict[str, bytes]
    workers: dict[int, bytes]
    leases: list[LeaseRow]
    chunks: list[ChunkRow]
    traces: list[TraceRow]
    generation: int


class Outbox:
    """The journal of one executor in one SQLite file. Used from one thread, except for `checkpoint`.

    Args:
        path: The file; made when it is missing.

    Raises:
        FailedPrecondition: When the file is damaged, of a newer version, in use, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._connect()
            self._prepare()
        except (sqlite3.Error, OSError) as error:
            if disk.is_full(error):
                message = disk.full_message(path.parent, 0, "the executor's outbox")
                raise FailedPrecondition(f"{message}, and start again", reason="DISK_FULL") from error
            raise FailedPrecondition(
                f"the executor's outbox {path} cannot be used: {error}. When the file is damaged, move it "
                "away and start again: leases that ran on this host are then retried by the scheduler"
            ) from error

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA wal_autocheckpoint=0")
        return db

    def _prepare(self) -> None:
        (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.executescript(f"BEGIN;{_SCHEMA}{_TRACES}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
        elif version == 1:
            self._db.executescript(f"BEGIN;{_TRACES}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
        elif version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError(
                f"its version is {version}, that of this program {SCHEMA_VERSION}: use the newer program"
            )

    def load(self) -> Restored:
        """Returns all that is held."""
        (generation,) = self._db.execute("SELECT generation FROM fence").fetchone()
        return Restored(
            specs=dict(self._db.execute("SELECT digest, spec FROM spec")),
            workers=dict(self._db.execute("SELECT worker_id, start FROM worker")),
            leases=[LeaseRow(*row) for row in self._db.execute("SELECT * FROM lease ORDER BY lease_id")],
            chunks=[
                ChunkRow(*row)
                for row in self._db.execute("SELECT * FROM chunk ORDER BY lease_id, chunk_index")
            ],
            traces=[TraceRow(*row) for row in self._db.execute("SELECT * FROM trace")],
            generation=generation,
        )

    def forget_specs(self, digests: Iterable[str]) -> None:
        """Removes definitions that no held lease or worker names."""
        self._db.executemany("DELETE FROM spec WHERE digest = ?", [(digest,) for digest in digests])

    def commit(self, batch: Batch) -> None:
        """Makes all changes of a batch durable, or none.

        Raises:
            sqlite3.Error: When the file cannot be written, for instance because the disk is full.
        """
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            for rows, statement in _STATEMENTS:
                changes = rows(batch)
                if changes:
                    db.executemany(statement, changes)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def log_bytes(self) -> int:
        """Returns the size of the write-ahead log, which a checkpoint makes small again."""
        try:
            return Path(f"{self._path}-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def checkpoint(self, *, truncate: bool) -> None:
        """Moves the write-ahead log into the main file, on any thread; beside commits unless it truncates."""
        db = self._connect()
        try:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)" if truncate else "PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            db.close()

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

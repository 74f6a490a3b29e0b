"""The local store: an SQLite file that recorded local runs are kept in, and that others read while they go on."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyte import errors

if TYPE_CHECKING:
    from flyte._local._action import LocalAction
    from flyte._local._attempt import LocalAttempt

_VERSION = 1
_BUSY_SECONDS = 10.0
_BUSY_POLL_SECONDS = 0.01
_TABLES = """
CREATE TABLE run (
  name TEXT PRIMARY KEY, task TEXT NOT NULL, labels TEXT NOT NULL, path TEXT NOT NULL, created_at TEXT NOT NULL,
  process TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX run_created_at ON run (created_at);
CREATE TABLE action (
  run TEXT NOT NULL, name TEXT NOT NULL, position INTEGER NOT NULL, kind TEXT NOT NULL, task TEXT NOT NULL,
  short_name TEXT NOT NULL, parent TEXT, groups TEXT NOT NULL, phase TEXT NOT NULL, cache_status TEXT NOT NULL,
  created_at TEXT NOT NULL, started_at TEXT, ended_at TEXT, inputs BLOB NOT NULL, outputs BLOB, failure TEXT,
  attempts TEXT NOT NULL, PRIMARY KEY (run, name)
) WITHOUT ROWID;
"""
_ACTION = """
INSERT INTO action VALUES (:run, :name, :position, :kind, :task, :short_name, :parent, :groups, :phase, :cache_status,
  :created_at, :started_at, :ended_at, :inputs, :outputs, :failure, :attempts)
ON CONFLICT (run, name) DO UPDATE SET phase = :phase, cache_status = :cache_status, started_at = :started_at,
  ended_at = :ended_at, outputs = :outputs, failure = :failure, attempts = :attempts
"""


class LocalStore:
    """Recorded local runs, in a directory that all processes of the user share.

    Args:
        directory: The directory; made when the first run is recorded.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "runs.db"

    def log_directory(self, run: str) -> Path:
        """Where the logs of a run are, by action."""
        return self.directory / "logs" / run

    def create(self, root: LocalAction, labels: Mapping[str, str], path: Path) -> None:
        """Takes note of a new run, which this process carries out, with its root action: no run is without one.

        Raises:
            RuntimeUserError: One of that name is recorded (code "RunAlreadyExistsError").
            RuntimeSystemError: The store cannot be used.
        """
        row = (
            root.run_name,
            root.task_name,
            json.dumps(dict(labels)),
            str(path),
            root.created_at.isoformat(),
            json.dumps(_this_process()),
        )
        try:
            with self.connection(create=True) as connection:
                connection.execute("INSERT INTO run VALUES (?, ?, ?, ?, ?, ?)", row)
                connection.execute(_ACTION, _action_row(0, root))
        except sqlite3.IntegrityError:
            raise errors.RuntimeUserError(
                "RunAlreadyExistsError",
                f"there is a local run named {root.run_name!r} already: choose another name",
            ) from None

    def write(self, actions: Iterable[tuple[int, LocalAction]]) -> None:
        """Keeps the state of actions, each with its position in the order of calls.

        Raises:
            RuntimeSystemError: The store cannot be used.
        """
        rows = [_action_row(position, action) for position, action in actions]
        with self.connection(create=True) as connection:
            connection.executemany(_ACTION, rows)

    def stamp(self) -> tuple[object, ...]:
        """Equal as long as nobody has written."""
        stamps: list[object] = []
        for suffix in ("", "-wal"):
            try:
                status = Path(f"{self.path}{suffix}").stat()
            except FileNotFoundError:
                stamps.append(None)
            else:
                stamps.append((status.st_mtime_ns, status.st_size))
        return tuple(stamps)

    def query(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        """Rows of a query; none when nothing was ever recorded.

        Raises:
            RuntimeSystemError: The store cannot be used.
        """
        if not self.path.is_file():
            return []
        with self.connection() as connection:
            return connection.execute(statement, values).fetchall()

    @contextmanager
    def connection(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection and a transaction.

        Raises:
            RuntimeSystemError: The store cannot be used.
        """
        try:
            if create:
                self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS)) as connection:
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA synchronous = NORMAL")
                _prepare(connection)
                with connection:
                    yield connection
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.Error, OSError) as error:
            raise errors.RuntimeSystemError(
                "LocalStoreError",
                f"the store of local runs {self.path} cannot be used: {error}. Delete the file, or switch "
                "local.persistence off",
            ) from error


def default_store() -> LocalStore:
    """The store of this user: `local/` of the embedded backend's data directory, so that its pages show it too."""
    from flyte._client._addresses import data_directory

    return LocalStore(data_directory() / "local")


def is_alive(process: Mapping[str, Any]) -> bool:
    """Whether the process that carries out a run exists; of another host's that is not known, and assumed."""
    if process["host"] != socket.gethostname():
        return True
    try:
        os.kill(process["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return bool(process["started"] == _start_of(process["pid"]))


def _prepare(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > _VERSION:
        raise sqlite3.DatabaseError("a newer version of the SDK made it")
    if version == _VERSION:
        return
    _write_ahead(connection)
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:  # no other process was faster
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_VERSION}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """SQLite does not wait here for another process that does the same to a new file, whatever the timeout is."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_BUSY_POLL_SECONDS)
        else:
            return


def _action_row(position: int, action: LocalAction) -> dict[str, Any]:
    return {
        "run": action.run_name,
        "name": action.name,
        "position": position,
        "kind": action.kind,
        "task": action.task_name,
        "short_name": action.short_name,
        "parent": action.parent,
        "groups": action.group,
        "phase": action.phase.value,
        "cache_status": action.cache_status,
        "created_at": action.created_at.isoformat(),
        "started_at": _time(action.start_time),
        "ended_at": _time(action.end_time),
        "inputs": action.inputs_document,
        "outputs": action.outputs_document,
        "failure": json.dumps(action.failure) if action.failure else None,
        "attempts": json.dumps([_attempt(attempt) for attempt in list(action.attempt_list)]),
    }


def _attempt(attempt: LocalAttempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "phase": attempt.phase.value,
        "started_at": _time(attempt.start_time),
        "ended_at": _time(attempt.end_time),
        "failure": attempt.failure,
        "output_path": str(attempt.output_path),
        "progress": asdict(attempt.progress) if attempt.progress else None,
    }


def _time(time: datetime | None) -> str | None:
    return time.isoformat() if time is not None else None


def _this_process() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _start_of(os.getpid())}


def _start_of(pid: int) -> str:
    """When a process started, as the kernel counts; empty where that cannot be told."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""

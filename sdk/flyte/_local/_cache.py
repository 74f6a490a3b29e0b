"""The cache of local mode: results in an SQLite file, and who computes what others in this process wait for."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from flyte import errors
from flyte._cache import cache_key
from flyte._logging import logger
from flyte._types import digest

if TYPE_CHECKING:
    import sqlite3

    from flyte._local._action import LocalAction

_HIT = "an equal call succeeded before: same task, version of results and inputs that count"
_MISS = "nothing is kept for this task with this version of results and these inputs"
_OFF = ("0", "false", "no", "off")
_BUSY_SECONDS = 10.0
_CREATE = (
    "CREATE TABLE IF NOT EXISTS result "
    "(key TEXT PRIMARY KEY, task TEXT NOT NULL, outputs BLOB NOT NULL, stored_at TEXT NOT NULL) WITHOUT ROWID"
)


class LocalCache:
    """Outputs documents by cache key, in an SQLite file that all processes of the user share.

    Args:
        path: The file; made with its directory when something is first stored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, key: str) -> bytes | None:
        """The outputs document that is kept under a key, None when there is none.

        Raises:
            RuntimeSystemError: The file cannot be read.
        """
        if not self.path.exists():
            return None
        row = self._execute("SELECT outputs FROM result WHERE key = ?", key)
        return bytes(row[0]) if row is not None else None

    def store(self, key: str, task: str, document: bytes) -> None:
        """Keeps an outputs document, in place of one that is kept already.

        Raises:
            RuntimeSystemError: The file cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        now = datetime.now(timezone.utc).isoformat()
        self._execute("INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?)", key, task, document, now)

    def _execute(self, statement: str, *values: str | bytes) -> sqlite3.Row | None:
        import sqlite3
        from contextlib import closing

        try:
            with closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS)) as connection, connection:
                connection.execute(_CREATE)
                found: sqlite3.Row | None = connection.execute(statement, values).fetchone()
                return found
        except sqlite3.Error as error:
            raise errors.RuntimeSystemError(
                "LocalCacheError",
                f"the local cache {self.path} cannot be used: {error}. Delete the file, or set "
                "FLYTE_LOCAL_CACHE_ENABLED=false",
            ) from error


def local_cache() -> LocalCache | None:
    """The cache of local runs, None when `FLYTE_LOCAL_CACHE_ENABLED` switches it off.

    It is beside the configuration file that holds here, else in `~/.flyte`.
    """
    if os.environ.get("FLYTE_LOCAL_CACHE_ENABLED", "").lower() in _OFF:
        return None
    from flyte.config._search import find_file

    configuration = find_file()
    directory = configuration.parent if configuration is not None else Path.home() / ".flyte"
    return LocalCache(directory / "local-cache" / "cache.db")


class Turn:
    """What one action has to do with the cache.

    Args:
        action: The action; its task keeps results.
        cache: Where they are kept.
        key: What its result is kept under.
    """

    _computing: dict[str, tuple[LocalAction, Future[None]]] = {}  # noqa: RUF012 - shared by the process on purpose
    _lock = threading.Lock()

    def __init__(self, action: LocalAction, cache: LocalCache, key: str) -> None:
        self._action = action
        self._cache = cache
        self._key = key
        self._ended: Future[None] | None = None

    def look_up(self) -> bytes | None:
        """The result that is kept, None when the action has to run. Says on the action which it was."""
        action = self._action
        if action.state.overwrite_cache:
            action.cache_status = "overwritten"
            action.cache_reason = "the run computes anew what is kept"
            return None
        document = self._cache.find(self._key)
        action.cache_status = "miss" if document is None else "hit"
        action.cache_reason = _MISS if document is None else _HIT
        return document

    def reserve(self) -> Future[None] | None:
        """Takes the right to compute, for tasks of which one call computes for all. Comes before `look_up`.

        Returns:
            What to wait for before asking again: another action computes. None: this one may look, and run.
        """
        if not self._action.task.cache.serialize or self._action.state.overwrite_cache:
            return None
        with self._lock:
            computing = self._computing.get(self._key)
            if computing is not None:
                owner, ended = computing
                return None if self._is_part_of(owner) else ended
            self._ended = Future()
            self._computing[self._key] = self._action, self._ended
            return None

    def store(self, document: bytes) -> None:
        """Keeps the result of the action. It stands also when that does not work, which is said."""
        try:
            self._cache.store(self._key, self._action.task_name, document)
        except (errors.RuntimeSystemError, OSError) as error:
            logger.warning("the result of %s is not kept: %s", self._action.task_name, error)

    def release(self) -> None:
        """Lets those go on that wait for the action, however it ended."""
        if self._ended is not None:
            with self._lock:
                del self._computing[self._key]
            self._ended.set_result(None)

    def _is_part_of(self, owner: LocalAction) -> bool:
        """Whether waiting for `owner` would be waiting for oneself."""
        above: LocalAction | None = self._action
        while above is not None and above is not owner:
            above = above.parent_action
        return above is owner


def turn_of(action: LocalAction) -> Turn | None:
    """What an action has to do with the cache, None for nothing.

    Raises:
        ValueError: The version of the task's results cannot be told.
    """
    if not action.task.cache.is_enabled:
        return None
    if action.state.disable_cache:
        action.cache_reason = "the run neither uses nor keeps results"
        return None
    cache = local_cache()
    if cache is None:
        action.cache_reason = "FLYTE_LOCAL_CACHE_ENABLED switches the local cache off"
        return None
    from flyte._task_spec import cacheable_spec

    document = action.inputs_document
    return Turn(action, cache, cache_key(cacheable_spec(action.task), document, digest(document)))

"""Reading the ledger without holding up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import ProgrammingError

from services.common.db import unavailable_while_away
from services.common.errors import Unavailable

T = TypeVar("T")
_THREADS = 4
_HINT = "try again; is its database running, and was a scheduler started with it?"


class LedgerReader:
    """Runs read-only queries in threads. Everything that one call reads is of one snapshot.

    Args:
        engine: An engine that cannot write.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="ledger")

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Returns what a query returns.

        Raises:
            Unavailable: The ledger cannot be read (reason ``LEDGER_UNAVAILABLE``).
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, query)

    def close(self) -> None:
        """Closes the connections."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._engine.dispose()

    def _run(self, query: Callable[[Connection], T]) -> T:
        try:
            with (
                unavailable_while_away("the ledger", "LEDGER_UNAVAILABLE", _HINT),
                self._engine.connect() as connection,
            ):
                return query(connection)
        except ProgrammingError as error:  # PostgreSQL's word for a table that is not there
            message = f"the ledger cannot be read: {error.orig}; {_HINT}"
            raise Unavailable(message, reason="LEDGER_UNAVAILABLE") from error

"""The right to write the ledger: taken, renewed and given back. Blocking; call it from a thread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import Connection, literal_column, select, text

from services.common.db import migrate, writer_engine
from services.common.errors import FailedPrecondition
from services.ledger import migrations
from services.ledger.tables import GENERATION, WRITER

SESSIONS = "hangar ledger writer"
"""What the sessions that write the ledger are called in PostgreSQL."""
NEXT_IDS = ("next_run_id", "next_action_id", "next_lease_id", "next_worker_id", "next_cursor")
"""Columns of `generation` with the identities to hand out next."""

_NOW = {
    "postgresql": "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)",
}
# What an earlier writer has begun and not finished is rolled back with its session: it may be paused, or the
# network may hide that it is gone, and its locks would hold up its successor.
_END_SESSIONS = text(
    "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE datname = current_database() "
    "AND usename = current_user AND application_name = :name AND pid <> pg_backend_pid()"
)


class Superseded(FailedPrecondition):
    """A newer writer has taken the ledger over: this one may write nothing any more."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the right to write."""

    generation: int
    address: str
    """Where it answers, empty when it does not say."""
    lapsed: bool
    """True when another one may take over."""

    def __str__(self) -> str:
        return f"the one at {self.address}" if self.address else f"generation {self.generation}"


class WriterLease:
    """The right of one process to write the ledger. Times are those of the database.

    Args:
        where: Path or URL of the database.
        address: Where this process answers, for who asks another one.
        seconds: How long it may go without renewing before another one takes over.
    """

    def __init__(self, where: str | Path, address: str = "", seconds: float = 0.0) -> None:
        self._engine = writer_engine(where, name="hangar scheduler")
        self._sqlite = self._engine.dialect.name == "sqlite"
        # Nothing may hold the row's lock while this process is paused: one statement, one transaction.
        at_once = {} if self._sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._at_once = self._engine.execution_options(**at_once)
        self._now: Any = literal_column(_NOW[self._engine.dialect.name])
        self._address = address
        self._changing = Lock()
        self._millis = round(seconds * 1000)
        self.generation = 0
        """Number of this writer; 0 before it took the ledger."""

    def migrate(self) -> None:
        """Brings the ledger to this version.

        Raises:
            FailedPrecondition: The database cannot be used.
        """
        migrate(self._engine, migrations)

    def holder(self) -> Holder:
        """Returns who has the right now, be it this process or another one."""
        c = WRITER.c
        with self._engine.connect() as connection:
            row = connection.execute(select(c.generation, c.address, self._lapsed()).where(c.id == 1)).one()
        return Holder(row[0], row[1], bool(row[2]))

    def take(self, now: int, *, only_if_lapsed: bool) -> bool:
        """Makes this process the writer: commits of earlier ones fail from now on.

        Args:
            now: Current time in microseconds, to be written down.
            only_if_lapsed: Leave it to who has it while that is alive.

        Returns:
            False when another one has it.
        """
        with self._changing:
            return self._take(now, only_if_lapsed=only_if_lapsed)

    def _take(self, now: int, *, only_if_lapsed: bool) -> bool:
        c = WRITER.c
        statement = WRITER.update().where(c.id == 1, *([self._lapsed()] if only_if_lapsed else []))
        with self._engine.begin() as connection:
            taken = connection.execute(
                statement.values(
                    generation=c.generation + 1,
                    address=self._address,
                    lease_millis=self._millis,
                    renewed_at=self._now,
                )
            )
            if taken.rowcount != 1:
                return False
            number: int = connection.execute(select(c.generation).where(c.id == 1)).scalar_one()
            if not self._sqlite:
                connection.execute(_END_SESSIONS, {"name": SESSIONS})
            _begin_generation(connection, number, now)
        self.generation = number
        return True

    def renew(self) -> None:
        """Says that this process is alive.

        Raises:
            Superseded: Another one has taken over.
            sqlalchemy.exc.DBAPIError: The database cannot be reached.
        """
        self._stamp(self._now)

    def release(self) -> None:
        """Gives the right back: another one may take over at once. Nothing may be written after it.

        Raises:
            Superseded: Another one has taken over already.
            sqlalchemy.exc.DBAPIError: The database cannot be reached.
        """
        with self._changing:
            if self.generation:
                self._stamp(0)
                self.generation = 0

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def _lapsed(self) -> Any:
        """The condition that the right may be taken: too old, or of a clock that was set back since."""
        c = WRITER.c
        lasts = c.lease_millis * 1000
        return (c.renewed_at + lasts <= self._now) | (c.renewed_at - lasts > self._now)

    def _stamp(self, moment: Any) -> None:
        c = WRITER.c
        statement = WRITER.update().where(c.id == 1, c.generation == self.generation)
        with self._at_once.begin() as connection:
            if connection.execute(statement.values(renewed_at=moment)).rowcount == 1:
                return
        raise superseded(self.generation, self.holder())


def _begin_generation(connection: Connection, number: int, now: int) -> None:
    c = GENERATION.c
    values: dict[str, Any] = {"number": number, "batch": 0, "started_at": now}
    if connection.execute(GENERATION.update().where(c.id == 1).values(values)).rowcount == 0:
        connection.execute(GENERATION.insert().values(id=1, **values, **dict.fromkeys(NEXT_IDS, 1)))


def superseded(mine: int, holder: Holder) -> Superseded:
    """Returns the error of a writer that is none any more."""
    return Superseded(
        f"another scheduler took the ledger over: this one is generation {mine}, "
        f"the ledger is at {holder.generation}"
        + (f", written by the scheduler at {holder.address}" if holder.address else "")
        + "; this one wrote nothing since and ends"
    )

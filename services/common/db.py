"""Databases: engines for writers and readers, and migrations."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from services.common.errors import FailedPrecondition, InvalidArgument, Unavailable
from services.common.schema import check_schema

_BUSY_MILLIS = 10_000
_BUSY_POLL_SECONDS = 0.01
_WRITE_AHEAD = "journal_mode=WAL"
_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
_NETWORK = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""How soon a server that is gone is noticed. What the URL says wins."""
_WRITER_SESSION = {
    "synchronous_commit": "on",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
}
"""A writer that is stopped in the middle of a transaction must not hold its locks for ever."""
_PASSING_CLASSES = ("08", "40", "53", "57", "58")
_PASSING_STATES = ("25006", "55P03", "55006")


def database_url(where: str | Path) -> URL:
    """Returns the URL of a database, with the driver that is used here.

    Args:
        where: Path of an SQLite file, or a URL: ``sqlite:///path``, ``postgresql://…``.

    Raises:
        InvalidArgument: It is no URL, or one of another database or driver (reason ``DATABASE_URL_INVALID``).
    """
    if isinstance(where, Path) or "://" not in where:
        return URL.create("sqlite", database=str(where))
    try:
        url = make_url(where)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        message = "the database URL cannot be read: use sqlite:///path or postgresql://user@host:5432/name"
        raise InvalidArgument(message, reason="DATABASE_URL_INVALID") from error
    if url.drivername in _POSTGRESQL:
        return url.set(drivername="postgresql+psycopg")
    if url.drivername == "sqlite":
        return url
    message = f"database {url.render_as_string()} is not supported: use sqlite:///path or postgresql://…"
    raise InvalidArgument(message, reason="DATABASE_URL_INVALID")


def is_sqlite(where: str | Path) -> bool:
    """Says whether a database is an SQLite file, which one machine only can use."""
    return database_url(where).get_backend_name() == "sqlite"


def writer_engine(where: str | Path, *, name: str = "hangar writer") -> Engine:
    """Returns an engine for the one service that owns a database.

    On SQLite: WAL, full sync, foreign keys; a transaction takes the write lock when it begins. On PostgreSQL:
    synchronous commit; a lock is waited for 5 s, and a transaction may be idle for 10 s.

    Args:
        where: Path or URL of the database.
        name: What its sessions are called in PostgreSQL's ``pg_stat_activity``.
    """
    url = database_url(where)
    if url.get_backend_name() != "sqlite":
        return _postgresql_engine(url, name, _WRITER_SESSION)
    engine = sqlalchemy.create_engine(url, hide_parameters=True)
    pragmas = (f"busy_timeout={_BUSY_MILLIS}", _WRITE_AHEAD, "synchronous=FULL", "foreign_keys=ON")
    _prepare_sqlite(engine, pragmas, "BEGIN IMMEDIATE")
    return engine


def reader_engine(where: str | Path, *, name: str = "hangar reader", seconds: float | None = 60.0) -> Engine:
    """Returns an engine that cannot write. A transaction sees one snapshot of the database.

    Args:
        where: Path or URL of the database.
        name: What its sessions are called in PostgreSQL's ``pg_stat_activity``.
        seconds: How long one query may take on PostgreSQL, None for as long as it takes.
    """
    url = database_url(where)
    if url.get_backend_name() != "sqlite":
        session = {} if seconds is None else {"statement_timeout": f"{round(seconds * 1000)}ms"}
        return _postgresql_engine(
            url,
            name,
            session,
            isolation_level="REPEATABLE READ",
            execution_options={"postgresql_readonly": True},
        )
    path = Path(url.database or "").absolute()
    engine = sqlalchemy.create_engine(
        URL.create("sqlite", database=path.as_uri(), query={"mode": "ro", "uri": "true"}),
        hide_parameters=True,
    )
    _prepare_sqlite(engine, ("query_only=ON", f"busy_timeout={_BUSY_MILLIS}"), "BEGIN")
    return engine


def is_passing(error: DBAPIError) -> bool:
    """Whether a database is away, busy or full for now, rather than against what it was told."""
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state[:2] in _PASSING_CLASSES or state in _PASSING_STATES
    return isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated


@contextmanager
def unavailable_while_away(what: str, reason: str, hint: str = "try again") -> Iterator[None]:
    """Says in the platform's own words that a database cannot be reached.

    Args:
        what: The database, as in "the ledger".
        reason: Reason of the error.
        hint: What to do or to ask oneself.

    Raises:
        Unavailable: It is away, busy or full for now.
    """
    try:
        yield
    except DBAPIError as error:
        if not is_passing(error):
            raise
        raise Unavailable(f"{what} cannot be reached: {_cause(error)}; {hint}", reason=reason) from error


def _postgresql_engine(url: URL, name: str, session: dict[str, str], **options: Any) -> Engine:
    from services.common.postgresql import TextDumper, copy_rows  # noqa: PLC0415  # loaded when it is used

    given = url.normalized_query.get("options", ())
    options_given = " ".join([*(f"-c {key}={value}" for key, value in session.items()), *given])
    query = {
        **_NETWORK,
        "application_name": name,
        **url.query,
        "options": options_given,
        "client_encoding": "utf8",
    }
    engine = sqlalchemy.create_engine(
        url.set(query=query), pool_pre_ping=True, hide_parameters=True, **options
    )

    def connect(connection: Any, _record: Any) -> None:
        connection.adapters.register_dumper(str, TextDumper)

    event.listen(engine, "connect", connect)
    event.listen(engine, "do_executemany", copy_rows)
    return engine


def _prepare_sqlite(engine: Engine, pragmas: tuple[str, ...], begin: str) -> None:
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where SQLAlchemy says so, reads included
        for pragma in pragmas:
            _set(connection, pragma)

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))


def migrate(engine: Engine, migrations: ModuleType) -> None:
    """Brings a database to the newest revision that this version of the program knows, and looks at its tables.

    Safe when several processes do it at once: one of them does it, the others wait. On PostgreSQL several packages
    of migrations may share one database.

    Args:
        engine: A writer's engine.
        migrations: Package with Alembic's revisions in its directory ``versions``, and what they make in ``TABLES``.

    Raises:
        FailedPrecondition: The database is newer than the program (reason ``DATABASE_TOO_NEW``), cannot be opened
            or changed (reason ``DATABASE_UNUSABLE``), or has other tables than the newest revision makes (reason
            ``DATABASE_DIFFERS``).
    """
    directory = Path(next(iter(migrations.__path__)))
    known = _revisions(directory)
    heads = set(known) - set(known.values())
    name = engine.url.set(query={}).render_as_string()
    table = version_table(engine, migrations)
    with _opened(engine, name) as connection:
        current = _current(connection, table)
    unknown = current - set(known)
    if unknown:
        raise FailedPrecondition(
            f"database {name} is at revision {', '.join(sorted(unknown))}, "
            "which this version of hangar does not know; upgrade hangar, or use another database",
            reason="DATABASE_TOO_NEW",
        )
    if current != heads:
        try:
            upgrade(engine, migrations)
        except DBAPIError as error:
            message = (
                f"database {name} cannot be brought up to date: {_cause(error)}; nothing was changed. "
                "Its user must be allowed to create and alter tables, and nothing may lock them"
            )
            raise FailedPrecondition(message, reason="DATABASE_UNUSABLE") from error
    with _opened(engine, name) as connection:
        check_schema(connection, migrations.TABLES)


def version_table(engine: Engine, migrations: ModuleType) -> str:
    """Returns the name of the table that holds the revision of a package of migrations.

    An SQLite file has one owner; a PostgreSQL database may be shared by services, each with a table of its own.
    """
    if engine.dialect.name == "sqlite":
        return "alembic_version"
    return f"hangar_{migrations.__name__.split('.')[-2]}_revision"


def upgrade(engine: Engine, migrations: ModuleType, revision: str = "head") -> None:
    """Upgrades a database to a revision, in one transaction, while no other process does.

    Args:
        engine: A writer's engine.
        migrations: Package with Alembic's revisions in its directory ``versions``.
        revision: Where to stop.
    """
    # Alembic is imported only when there is something to migrate: services have to start fast.
    from alembic.operations import Operations  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    scripts = ScriptDirectory(str(next(iter(migrations.__path__))))
    table = version_table(engine, migrations)
    with engine.begin() as connection:  # on SQLite this takes the write lock
        if connection.dialect.name == "postgresql":
            # Whoever migrates may take long: the time for waiting begins when it is this process's turn.
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.execute(
                sqlalchemy.text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": table}
            )
            connection.exec_driver_sql("SET LOCAL lock_timeout = '30s'")
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '60s'")
        context = MigrationContext.configure(
            connection,
            opts={
                "fn": lambda current, _context: scripts._upgrade_revs(revision, current),
                "render_as_batch": True,
                "transactional_ddl": True,
                "version_table": table,
            },
        )
        with Operations.context(context):
            context.run_migrations()


@contextmanager
def _opened(engine: Engine, name: str) -> Iterator[Connection]:
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        message = f"database {name} cannot be opened: {_cause(error)}"
        raise FailedPrecondition(message, reason="DATABASE_UNUSABLE") from error


def _set(connection: sqlite3.Connection, pragma: str) -> None:
    deadline = time.monotonic() + _BUSY_MILLIS / 1000
    while True:
        try:
            connection.execute(f"PRAGMA {pragma}").close()
        except sqlite3.OperationalError as error:
            # While another process makes the same new file write ahead, SQLite does not wait, whatever busy_timeout is.
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or pragma != _WRITE_AHEAD or time.monotonic() > deadline:
                raise
            time.sleep(_BUSY_POLL_SECONDS)
        else:
            return


def _current(connection: Connection, table: str) -> set[str]:
    if not sqlalchemy.inspect(connection).has_table(table):
        return set()
    return set(connection.scalars(sqlalchemy.text(f"SELECT version_num FROM {table}")))  # noqa: S608  # ours


def _revisions(directory: Path) -> dict[str, str | None]:
    """Returns the revision before each one, read from the files: importing Alembic takes too long."""
    found = {}
    for path in sorted((directory / "versions").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        revision = re.search(r"^revision\b[^=\n]*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE)
        before = re.search(r"^down_revision\b[^=\n]*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE)
        if revision:
            found[revision[1]] = before[1] if before else None
    return found


def _cause(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())

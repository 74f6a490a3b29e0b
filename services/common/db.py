"""Databases: engines for writers and readers, and migrations."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import sqlalchemy
from sqlalchemy import Engine, event
from sqlalchemy.engine import URL, make_url

from services.common.errors import FailedPrecondition, InvalidArgument

_BUSY_MILLIS = 10_000


def database_url(where: str | Path) -> URL:
    """Returns the URL of a database.

    Args:
        where: Path of an SQLite file, or a URL: ``sqlite:///path``, ``postgresql://…``.

    Raises:
        InvalidArgument: It is a URL of another database.
    """
    if isinstance(where, Path) or "://" not in where:
        return URL.create("sqlite", database=str(where))
    url = make_url(where)
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        message = f"database {url.render_as_string()} is not supported: use sqlite:///path or postgresql://…"
        raise InvalidArgument(message, reason="DATABASE_URL_INVALID")
    return url


def writer_engine(where: str | Path) -> Engine:
    """Returns an engine for the one service that owns a database.

    On SQLite: WAL, full sync, foreign keys; a transaction takes the write lock when it begins.
    """
    url = database_url(where)
    if url.get_backend_name() != "sqlite":
        return sqlalchemy.create_engine(url, pool_pre_ping=True, hide_parameters=True)
    engine = sqlalchemy.create_engine(url, hide_parameters=True)
    pragmas = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_MILLIS}")
    _prepare_sqlite(engine, pragmas, "BEGIN IMMEDIATE")
    return engine


def reader_engine(where: str | Path) -> Engine:
    """Returns an engine that cannot write. A transaction sees one snapshot of the database."""
    url = database_url(where)
    if url.get_backend_name() != "sqlite":
        engine = sqlalchemy.create_engine(
            url, pool_pre_ping=True, isolation_level="REPEATABLE READ", hide_parameters=True
        )
        event.listen(
            engine, "begin", lambda connection: connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        )
        return engine
    path = Path(url.database or "").absolute()
    engine = sqlalchemy.create_engine(
        URL.create("sqlite", database=path.as_uri(), query={"mode": "ro", "uri": "true"}),
        hide_parameters=True,
    )
    _prepare_sqlite(engine, ("query_only=ON", f"busy_timeout={_BUSY_MILLIS}"), "BEGIN")
    return engine


def _prepare_sqlite(engine: Engine, pragmas: tuple[str, ...], begin: str) -> None:
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where SQLAlchemy says so, reads included
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))


def migrate(engine: Engine, migrations: ModuleType) -> None:
    """Brings a database to the newest revision that this version of the program knows.

    Args:
        engine: A writer's engine.
        migrations: Package with Alembic's revisions in its directory ``versions``.

    Raises:
        FailedPrecondition: The database is newer than the program (reason ``DATABASE_TOO_NEW``) or cannot be
            opened (reason ``DATABASE_UNUSABLE``).
    """
    directory = Path(next(iter(migrations.__path__)))
    known = _revisions(directory)
    heads = set(known) - set(known.values())
    name = engine.url.render_as_string()
    try:
        with engine.connect() as connection:
            current = _current(connection)
    except sqlalchemy.exc.DBAPIError as error:
        message = f"database {name} cannot be opened: {error.orig}"
        raise FailedPrecondition(message, reason="DATABASE_UNUSABLE") from error
    unknown = current - set(known)
    if unknown:
        raise FailedPrecondition(
            f"database {name} is at revision {', '.join(sorted(unknown))}, "
            "which this version of hangar does not know; upgrade hangar, or use another data directory",
            reason="DATABASE_TOO_NEW",
        )
    if current != heads:
        _upgrade(engine, directory)


def _current(connection: sqlalchemy.Connection) -> set[str]:
    if not sqlalchemy.inspect(connection).has_table("alembic_version"):
        return set()
    return set(connection.scalars(sqlalchemy.text("SELECT version_num FROM alembic_version")))


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


def _upgrade(engine: Engine, directory: Path) -> None:
    # Alembic is imported only when there is something to migrate: services have to start fast.
    from alembic.operations import Operations  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    scripts = ScriptDirectory(str(directory))
    with engine.begin() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "fn": lambda current, _context: scripts._upgrade_revs("head", current),
                "render_as_batch": True,
                "transactional_ddl": True,
            },
        )
        with Operations.context(context):
            context.run_migrations()

"""The schema: what the migrations make is what the tables say, on both databases and from every revision."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from services.common.db import migrate, reader_engine, upgrade, version_table, writer_engine
from services.ledger import migrations
from services.ledger.queries import events
from services.ledger.tables import GENERATION, LINEAGE, RUN, TASK_VERSION, WRITER, LedgerModel

RELEASED = ["base", "0001", "0002", "0003", "0004"]
"""Every revision that a database may be at."""
MIGRATE = """
import sys
from services.common.db import migrate, writer_engine
from services.ledger import migrations
engine = writer_engine(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
migrate(engine, migrations)
"""


@pytest.fixture
def writer(database_url):
    """An engine that may write, of an empty database."""
    engine = writer_engine(database_url)
    yield engine
    engine.dispose()


def assert_current(engine: sa.Engine) -> None:
    """Checks that the database is what the table classes say."""
    with engine.connect() as connection:
        opts = {"compare_type": True, "version_table": version_table(engine, migrations)}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, LedgerModel.metadata) == []
        made = {
            (table, index["name"])
            for table in LedgerModel.metadata.tables
            for index in sa.inspect(connection).get_indexes(table)
        }
    assert made == {(t.name, i.name) for t in LedgerModel.metadata.sorted_tables for i in t.indexes}


@pytest.mark.parametrize("revision", RELEASED)
def test_migrations_make_the_tables_from_every_revision(writer, revision):
    """From nothing and from every revision a database gets to what the table classes say, and keeps its rows."""
    upgrade(writer, migrations, revision)
    generation = {"id": 1, "number": 7, "started_at": 5, "batch": 3}
    following = {f"next_{name}": 9 for name in ("run_id", "action_id", "lease_id", "worker_id", "cursor")}
    if revision != "base":
        with writer.begin() as connection:
            connection.execute(GENERATION.insert().values(**generation, **following))
            if revision == "0001":
                connection.execute(LINEAGE.insert().values(action_id=1, input="x", source="B"))
    migrate(writer, migrations)
    assert_current(writer)
    with writer.connect() as connection:
        number = connection.execute(sa.select(WRITER.c.generation, WRITER.c.renewed_at)).one()
        if revision != "base":
            assert connection.execute(sa.select(GENERATION.c.number, GENERATION.c.batch)).one() == (7, 3)
        assert number == ((7, 0) if revision == "0001" else (0, 0)), "nobody holds it; its number goes on"
        if revision == "0001":
            assert connection.execute(sa.select(LINEAGE.c.source)).scalar_one() == "B"


def test_every_revision_is_tried(writer):
    """A new revision is added to those that databases are migrated from."""
    upgrade(writer, migrations)
    with writer.connect() as connection:
        table = version_table(writer, migrations)
        assert connection.scalar(sa.text(f"SELECT version_num FROM {table}")) == RELEASED[-1]


def test_migrating_twice_changes_nothing(writer):
    """A database at the newest revision is left as it is, with its rows."""
    migrate(writer, migrations)
    with writer.begin() as connection:
        connection.execute(GENERATION.insert().values(id=1, number=7, started_at=0))
    migrate(writer, migrations)
    with writer.connect() as connection:
        assert connection.execute(sa.select(GENERATION.c.number)).scalar_one() == 7


def test_services_that_start_at_once_migrate_once(database_url, writer):
    """Of processes that find an old database at the same moment one migrates it, and all go on."""
    command = [sys.executable, "-c", MIGRATE, database_url]
    starting = [
        subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    for process in starting:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in starting:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in starting:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert_current(writer)


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=lambda each: each.name)
def test_every_table_exists_on_both_databases(dialect):
    """Tables and indexes compile for SQLite and PostgreSQL, with 64-bit identities on both."""
    tables = LedgerModel.metadata.sorted_tables
    texts = [str(CreateTable(table).compile(dialect=dialect)) for table in tables]
    texts += [str(CreateIndex(index).compile(dialect=dialect)) for table in tables for index in table.indexes]
    assert len(texts) >= 33
    identity = "id BIGINT NOT NULL" if dialect.name == "postgresql" else "id INTEGER NOT NULL"
    assert any(text.strip().startswith("CREATE TABLE action (") and identity in text for text in texts)
    assert not any("SERIAL" in text for text in texts)


def test_readers_cannot_write(database_url, writer):
    """What admin reads with refuses to change anything."""
    migrate(writer, migrations)
    engine = reader_engine(database_url)
    with engine.connect() as connection:
        assert events.last_cursor(connection) == 0
        with pytest.raises(sa.exc.DBAPIError, match=r"readonly|read-only"):
            connection.execute(RUN.delete())
    engine.dispose()


def test_pages_go_by_bytes_whatever_the_collation_is(postgres):
    """In a database with the collation of a language, keys are ordered as SQLite orders them."""
    url = postgres.url("collation")
    plain = writer_engine(url)
    name = f"{plain.url.database}_icu"
    with plain.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(
            f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
        )
    plain.dispose()
    collated = plain.url.set(database=name).render_as_string(hide_password=False)
    engine = writer_engine(collated)
    names = ["B", "_", "a", "a-b", "aB", "ab", "z", "\u00e9"]
    with engine.connect() as connection:
        ordered = sa.text("SELECT x FROM unnest(CAST(:names AS text[])) AS x ORDER BY x")
        assert list(connection.scalars(ordered, {"names": names})) != names, "the collation is another one"
    migrate(engine, migrations)
    with engine.begin() as connection:
        common = {"project": "p", "domain": "d", "version": "1", "spec_digest": "", "created_at": 0}
        rows = [{"name": each, "id": number, **common} for number, each in enumerate(names)]
        connection.execute(TASK_VERSION.insert(), rows)
        c = TASK_VERSION.c
        assert list(connection.scalars(sa.select(c.name).order_by(c.name))) == names
        assert list(connection.scalars(sa.select(c.name).where(c.name > "a").order_by(c.name))) == names[3:]
    engine.dispose()
    postgres.drop(url.rpartition("/")[0] + f"/{name}")
    postgres.drop(url)

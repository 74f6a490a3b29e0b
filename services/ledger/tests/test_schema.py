"""The schema: what the migrations make is what the tables say."""

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from services.common.db import migrate, reader_engine, writer_engine
from services.ledger import migrations
from services.ledger.queries import events
from services.ledger.tables import GENERATION, RUN, LedgerModel


@pytest.fixture
def path(tmp_path):
    """A migrated database."""
    path = tmp_path / "ledger.db"
    engine = writer_engine(path)
    migrate(engine, migrations)
    engine.dispose()
    return path


def test_migrations_make_the_tables(path):
    """A database that was migrated from nothing differs in nothing from the table classes."""
    engine = writer_engine(path)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, LedgerModel.metadata) == []
        made = {
            (table, index["name"])
            for table in sa.inspect(connection).get_table_names()
            for index in sa.inspect(connection).get_indexes(table)
        }
    engine.dispose()
    assert made == {(t.name, i.name) for t in LedgerModel.metadata.sorted_tables for i in t.indexes}


def test_migrating_twice_changes_nothing(path):
    """A database at the newest revision is left as it is, with its rows."""
    engine = writer_engine(path)
    with engine.begin() as connection:
        connection.execute(GENERATION.insert().values(id=1, number=7, started_at=0))
    migrate(engine, migrations)
    with engine.connect() as connection:
        assert connection.execute(sa.select(GENERATION.c.number)).scalar_one() == 7
    engine.dispose()


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=lambda each: each.name)
def test_every_table_exists_on_both_databases(dialect):
    """Tables and indexes compile for SQLite and PostgreSQL, with 64-bit identities on both."""
    tables = LedgerModel.metadata.sorted_tables
    texts = [str(CreateTable(table).compile(dialect=dialect)) for table in tables]
    texts += [str(CreateIndex(index).compile(dialect=dialect)) for table in tables for index in table.indexes]
    assert len(texts) == 31
    identity = "id BIGINT NOT NULL" if dialect.name == "postgresql" else "id INTEGER NOT NULL"
    assert any(text.strip().startswith("CREATE TABLE action (") and identity in text for text in texts)
    assert not any("SERIAL" in text for text in texts)


def test_readers_cannot_write(path):
    """What admin reads with refuses to change anything."""
    engine = reader_engine(path)
    with engine.connect() as connection:
        assert events.last_cursor(connection) == 0
        with pytest.raises(sa.exc.OperationalError, match="readonly"):
            connection.execute(RUN.delete())
    engine.dispose()

import os
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import OperationalError

from services.common.data_directory import prepare_directory, write_atomically
from services.common.db import (
    database_url,
    is_passing,
    is_sqlite,
    migrate,
    reader_engine,
    unavailable_while_away,
    version_table,
    writer_engine,
)
from services.common.errors import FailedPrecondition, InvalidArgument, Unavailable
from services.common.tests import example_migrations


@pytest.fixture
def path(tmp_path):
    """Where the database is; the name has to be quoted in URLs."""
    return tmp_path / "it is.db"


@pytest.fixture
def writer(path):
    """An engine that may write."""
    engine = writer_engine(path)
    yield engine
    engine.dispose()


@pytest.fixture
def reader(path):
    """An engine that may not."""
    engine = reader_engine(path)
    yield engine
    engine.dispose()


def test_a_writer_is_durable_and_checks_keys(writer):
    """Writers use WAL, full sync and foreign keys."""
    migrate(writer, example_migrations)
    with writer.connect() as connection:
        found = [
            connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]
    with pytest.raises(sqlalchemy.exc.IntegrityError), writer.begin() as connection:
        connection.execute(text("INSERT INTO child VALUES (1, 99)"))


class Locked(sqlite3.Connection):
    """A connection to a file that somebody else makes write ahead at the same time: SQLite does not wait for that."""

    left = 2

    def execute(self, statement, *values):
        """Fails at first, as SQLite does then."""
        if "journal_mode" in statement and self.left:
            self.left -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        return super().execute(statement, *values)


def test_a_writer_waits_where_sqlite_does_not(path):
    """Services that find a new file at the same moment all get to use it."""
    engine = writer_engine(path)
    event.listen(
        engine,
        "do_connect",
        lambda _dialect, _record, args, options: sqlite3.connect(*args, factory=Locked, **options),
    )
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        locked = connection.connection.driver_connection
        assert isinstance(locked, Locked)
        assert locked.left == 0
    engine.dispose()


def test_a_reader_cannot_write_and_sees_one_snapshot(writer, reader):
    """Within a transaction a reader sees what was committed when it first read; it can change nothing."""
    migrate(writer, example_migrations)
    with reader.connect() as reading:
        assert reading.scalar(text("SELECT count(*) FROM parent")) == 0
        with writer.begin() as connection:
            connection.execute(text("INSERT INTO parent VALUES (1)"))
        assert reading.scalar(text("SELECT count(*) FROM parent")) == 0
        with pytest.raises(sqlalchemy.exc.OperationalError, match="readonly"):
            reading.execute(text("INSERT INTO parent VALUES (2)"))
    with reader.connect() as reading:
        assert reading.scalar(text("SELECT count(*) FROM parent")) == 1


def test_migrations_run_once_and_from_any_revision(writer):
    """A new database and an older one get to the newest revision; one that is there is left alone."""
    for _ in range(2):
        migrate(writer, example_migrations)
    assert {"parent", "child"} <= set(sqlalchemy.inspect(writer).get_table_names())
    with writer.begin() as connection:
        connection.execute(text("DROP TABLE child"))
        connection.execute(text("UPDATE alembic_version SET version_num = 'r0001'"))
    migrate(writer, example_migrations)
    assert "child" in sqlalchemy.inspect(writer).get_table_names()


def test_a_newer_database_is_refused_untouched(writer, path):
    """A revision that the program does not know is named, with what to do, and nothing is changed."""
    migrate(writer, example_migrations)
    with writer.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'r9999'"))
    with pytest.raises(
        FailedPrecondition, match=r"at revision r9999, which .* does not know; upgrade hangar"
    ) as caught:
        migrate(writer, example_migrations)
    assert path.name in caught.value.message
    assert caught.value.reason == "DATABASE_TOO_NEW"
    with writer.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "r9999"


def test_a_database_of_other_tables_is_refused(database_url):
    """What is missing or unknown at the newest revision is named, with the way out; tables of others do not count."""
    with engine_of(writer_engine, database_url) as engine:
        migrate(engine, example_migrations)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE of_others (id integer)")
        migrate(engine, example_migrations)
        for statement, difference in (
            ("ALTER TABLE child ADD COLUMN colour text", "table child has an unknown column colour"),
            ("ALTER TABLE child RENAME COLUMN colour TO shape", "table child has an unknown column shape"),
            (
                "ALTER TABLE parent RENAME TO ancestor",
                "unknown column shape, there is no table parent. An unreleased",
            ),
            ("ALTER TABLE ancestor RENAME TO parent", "table child has an unknown"),
            (
                "ALTER TABLE parent RENAME COLUMN id TO number",
                "parent has no column id, table parent has an unk",
            ),
        ):
            with engine.begin() as connection:
                connection.exec_driver_sql(statement)
            with pytest.raises(FailedPrecondition, match=difference) as caught:
                migrate(engine, example_migrations)
            assert caught.value.reason == "DATABASE_DIFFERS"
            assert engine.url.database in caught.value.message
        way_out = "use an empty database" if engine.dialect.name == "postgresql" else "move the directory /"
        assert way_out in caught.value.message


def test_a_file_that_is_no_database_is_refused(tmp_path):
    """A file of something else is refused with its path, without a traceback of the driver."""
    path = tmp_path / "notes.db"
    path.write_text("these are notes, and no database at all " * 100)
    engine = writer_engine(path)
    with pytest.raises(FailedPrecondition, match=r"notes\.db cannot be opened: file is not a database"):
        migrate(engine, example_migrations)
    engine.dispose()


def test_urls_of_databases():
    """Paths are SQLite, PostgreSQL URLs are accepted, others are refused by name without the password."""
    assert database_url(Path("/a/b c.db")).database == "/a/b c.db"
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        assert database_url(f"{scheme}://u:p@h/db").drivername == "postgresql+psycopg"
    for scheme in ("mysql", "postgresql+psycopg2", "sqlite+aiosqlite"):
        with pytest.raises(InvalidArgument) as caught:
            database_url(f"{scheme}://u:hidden@h/db")
        assert f"{scheme}://u:***@h/db" in caught.value.message
    with pytest.raises(InvalidArgument, match="cannot be read: use sqlite"):
        database_url("://")
    assert is_sqlite("a.db")
    assert not is_sqlite("postgres://h/db")


@pytest.fixture
def url(postgres):
    """A fresh PostgreSQL database."""
    url = postgres.url("common")
    yield url
    postgres.drop(url)


@contextmanager
def engine_of(make, *args, **kwargs):
    """An engine that is disposed of."""
    engine = make(*args, **kwargs)
    try:
        yield engine
    finally:
        engine.dispose()


def test_sessions_of_postgresql(url):
    """Writers commit durably and do not wait for ever; readers see one snapshot, cannot write, and take turns."""
    names = ("synchronous_commit", "lock_timeout", "idle_in_transaction_session_timeout", "application_name")
    with engine_of(writer_engine, url, name="someone") as engine, engine.connect() as connection:
        found = [connection.scalar(text(f"SHOW {name}")) for name in names]
    assert found == ["on", "5s", "10s", "someone"]
    with engine_of(reader_engine, url, seconds=0.2) as engine, engine.connect() as connection:
        assert connection.scalar(text("SHOW transaction_isolation")) == "repeatable read"
        assert connection.scalar(text("SHOW transaction_read_only")) == "on"
        with pytest.raises(OperationalError, match="statement timeout") as caught:
            connection.execute(text("SELECT pg_sleep(5)"))
        assert is_passing(caught.value)


def test_what_the_url_says_of_a_session_wins(url):
    """Options of the operator are kept beside those of the platform, and win."""
    given = url + "?application_name=mine&options=-c%20lock_timeout%3D1s"
    with engine_of(writer_engine, given) as engine, engine.connect() as connection:
        assert connection.scalar(text("SHOW lock_timeout")) == "1s"
        assert connection.scalar(text("SHOW synchronous_commit")) == "on"
        assert connection.scalar(text("SHOW application_name")) == "mine"


def test_text_with_nul_characters_is_kept_readable(url):
    """PostgreSQL has no NUL in text: it becomes the replacement character, in rows, copies and questions."""
    with engine_of(writer_engine, url) as engine, engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE words (id bigint, word text)")
        connection.execute(text("INSERT INTO words VALUES (1, :word)"), {"word": "a\0b"})
        rows = [{"id": 2, "word": "\0\0"}, {"id": 3, "word": "tab\t\\N"}, {"id": 4, "word": None}]
        connection.exec_driver_sql('COPY words ("id", "word") FROM STDIN', rows)
        found = connection.scalars(text("SELECT word FROM words ORDER BY id")).all()
        assert found == ["a\ufffdb", "\ufffd\ufffd", "tab\t\\N", None]
        same = text("SELECT count(*) FROM words WHERE word = :word")
        assert connection.scalar(same, {"word": "a\0b"}) == 1


def test_two_packages_of_migrations_share_a_postgresql_database(url, tmp_path):
    """Each has a table of its own for its revision."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "r0001.py").write_text(
        "from alembic import op\nimport sqlalchemy as sa\nrevision = 'r0001'\ndown_revision = None\n"
        "def upgrade():\n    op.create_table('elsewhere', sa.Column('id', sa.Integer))\n"
    )
    other = ModuleType("services.other.migrations")
    other.__path__ = [str(tmp_path)]
    made = vars(other)["TABLES"] = sqlalchemy.MetaData()
    sqlalchemy.Table("elsewhere", made, sqlalchemy.Column("id", sqlalchemy.Integer))
    with engine_of(writer_engine, url) as engine:
        for package in (example_migrations, other, example_migrations, other):
            migrate(engine, package)
        tables = set(sqlalchemy.inspect(engine).get_table_names())
        assert {"parent", "child", "elsewhere", "hangar_other_revision"} <= tables
        assert version_table(engine, example_migrations) != version_table(engine, other)


def test_who_may_not_create_tables_is_told_so(postgres, url):
    """Without the right to create tables the error names the database and what is needed, and not the password."""
    with engine_of(writer_engine, url) as engine, engine.begin() as connection:
        connection.exec_driver_sql("CREATE ROLE guest LOGIN PASSWORD 'hidden'")
    name = make_url(url).set(username="guest", password="hidden").render_as_string(hide_password=False)
    try:
        with (
            engine_of(writer_engine, name) as engine,
            pytest.raises(
                FailedPrecondition, match=r"permission denied.*must be allowed to create"
            ) as caught,
        ):
            migrate(engine, example_migrations)
        assert "hidden" not in caught.value.message
    finally:
        with engine_of(writer_engine, url) as engine, engine.begin() as connection:
            connection.exec_driver_sql("DROP ROLE guest")


def test_a_database_that_is_away_is_named(postgres_own):
    """Who cannot connect is told which database, and why."""
    url = postgres_own.url("away")
    postgres_own.stop()
    with (
        engine_of(writer_engine, url) as engine,
        pytest.raises(
            FailedPrecondition, match=r"postgresql\+psycopg://hangar:\*\*\*@.* cannot be opened"
        ) as caught,
    ):
        migrate(engine, example_migrations)
    assert "refused" in caught.value.message
    with engine_of(reader_engine, url) as engine:
        with (
            pytest.raises(Unavailable, match=r"the ledger cannot be reached: .*refused.*; try again") as away,
            unavailable_while_away("the ledger", "LEDGER_UNAVAILABLE"),
            engine.connect(),
        ):
            pass
        assert away.value.reason == "LEDGER_UNAVAILABLE"
        postgres_own.start()
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT 1")) == 1


def test_data_directories_are_made_private(tmp_path):
    """A data directory is made with its parents, for its owner only."""
    made = prepare_directory(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    write_atomically(made / "x.json", "{}")
    write_atomically(made / "x.json", "[]")
    assert [each.name for each in made.iterdir()] == ["x.json"]
    assert (made / "x.json").read_text() == "[]"


def test_a_data_directory_that_cannot_be_written_is_refused(tmp_path):
    """A place that cannot be a directory, or cannot be written, is named with what to do."""
    (tmp_path / "file").touch()
    places = [tmp_path / "file", Path("/proc/hangar")]
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        places.append(tmp_path / "locked")
    for place in places:
        with pytest.raises(FailedPrecondition, match=r"cannot be used: .*--data-dir"):
            prepare_directory(place)

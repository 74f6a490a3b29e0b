import os
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import text

from services.common.data_directory import prepare_directory, write_atomically
from services.common.db import database_url, migrate, reader_engine, writer_engine
from services.common.errors import FailedPrecondition, InvalidArgument
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
    assert database_url("postgresql://u:p@h/db").get_backend_name() == "postgresql"
    with pytest.raises(InvalidArgument) as caught:
        database_url("mysql://u:hidden@h/db")
    assert "mysql://u:***@h/db" in caught.value.message


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

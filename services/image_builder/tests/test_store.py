"""The record of builds is what the migrations make, and reads back what was written, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from services.common.clock import ManualClock
from services.common.db import migrate, upgrade, version_table, writer_engine
from services.image_builder import migrations
from services.image_builder.builds import Build, Image, State
from services.image_builder.dockerfile import Step
from services.image_builder.failures import BuildError
from services.image_builder.store import BuilderModel, Store

LIMIT = 100


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """An engine that may write, of an empty database."""
    engine = writer_engine(database_url)
    yield engine
    engine.dispose()


def build_of(name: str, clock: ManualClock) -> Build:
    """A build that nobody has asked for yet."""
    return Build(Image(name, f"hangar/{name}", "d" * 32, "python:3.11", "linux/amd64"), 0, clock.now(), LIMIT)


@pytest.mark.parametrize("revision", ["base", "0001"])
def test_migrations_make_the_tables(engine: sa.Engine, revision: str) -> None:
    """From nothing and from every revision a database gets to what the table classes say, and keeps its builds."""
    upgrade(engine, migrations, revision)
    clock = ManualClock()
    if revision != "base":
        Store(engine, LIMIT).begin(build_of("a" * 32, clock), "{}", fresh=False)
    migrate(engine, migrations)
    with engine.connect() as connection:
        opts = {"compare_type": True, "version_table": version_table(engine, migrations)}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, BuilderModel.metadata) == []
    assert Store(engine, LIMIT).names() == ({"a" * 32} if revision != "base" else set())


def test_builds_read_back_as_they_were_written(engine: sa.Engine) -> None:
    """Queued, failed with its step and log, built with what is in it; a later build takes the place of an earlier."""
    migrate(engine, migrations)
    store, clock = Store(engine, LIMIT), ManualClock()
    first, second = build_of("a" * 32, clock), build_of("b" * 32, clock)
    store.begin(first, '{"layers":[]}', fresh=True)
    store.begin(second, "{}", fresh=False)
    assert [(each.build.image, each.definition_json, each.fresh) for each in store.unfinished()] == [
        (first.image, '{"layers":[]}', True),
        (second.image, "{}", False),
    ]
    step = Step("layer 0: run false", 0)
    first.begin(clock.now())
    first.say("oh \N{SNOWMAN} no", step, clock.now())
    first.fail(BuildError("ImageBuildError", "it broke", step=step, exit_code=3), clock.now())
    store.end(first)
    second.begin(clock.now())
    second.succeed(7_000_000_000, "sha256:" + "0" * 64, "sha256:" + "1" * 64, clock.now())
    store.end(second, '{"made": "so"}')
    store.describe(second, '{"components": []}')
    assert store.unfinished() == []
    failed = Store(engine, LIMIT).get(first.image.name)
    assert failed is not None
    assert failed.error is not None
    assert (failed.state, failed.error.code, failed.error.step, failed.error.exit_code) == (
        State.FAILED,
        "ImageBuildError",
        step,
        3,
    )
    assert failed.lines(0, LIMIT) == first.lines(0, LIMIT)
    done = store.get(second.image.name)
    assert done is not None
    assert (done.state, done.size_bytes, done.image_digest, done.image_id, done.finished_at) == (
        State.SUCCEEDED,
        7_000_000_000,
        second.image_digest,
        second.image_id,
        second.finished_at,
    )
    assert store.attestation(second.image.name) == ('{"components": []}', '{"made": "so"}')
    assert [each.image.name for each in store.newest(None, 5)] == ["b" * 32, "a" * 32]
    assert [each.image.name for each in store.newest(second.number, 5)] == ["a" * 32]
    again = replace(second, number=0)
    store.begin(again, "{}", fresh=False)
    store.describe(second, "late")
    assert (again.number, store.attestation(again.image.name)) == (3, ("", ""))
    store.touch(first.image.name, clock.now() + timedelta(days=1))
    assert store.unasked_since(clock.now()) == {again.image.name}
    store.delete(again.image.name)
    assert store.names() == {first.image.name}

"""Fixtures of the components, for the tests of every package: a plug-in of pytest that the root conftest loads.

Nothing is started before a test asks for it, and everything is stopped and removed when the tests end, on failures and
Ctrl-C as well. What the machine lacks is skipped with a reason, and fails when the variable CI is set.
"""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # imported when a test asks for them: most tests need none
    from integration_tests.components.hosts import Hosts
    from integration_tests.components.postgres import Postgres
    from integration_tests.components.registry import Registry
    from integration_tests.components.seaweedfs import SeaweedFs
    from integration_tests.leaks import Leaks

HOSTS = 3


def pytest_configure(config: pytest.Config) -> None:
    """Makes the end by a signal an orderly one, so that what was started is stopped."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, end)


@pytest.fixture(scope="session")
def leaks() -> Iterator[Leaks]:
    """The check, when all tests are over, that nothing is left of what they started."""
    from integration_tests.components.engine import engine_url
    from integration_tests.leaks import Leaks

    found = Leaks(engine_url())
    yield found
    found.check()


@pytest.fixture(scope="session")
def docker_url(leaks: Leaks) -> str:
    """URL of a real Docker engine with the base images in it."""
    from integration_tests.components.engine import find_engine

    return find_engine()


@pytest.fixture(scope="session")
def arm64_image(docker_url: str) -> Iterator[str]:
    """Name of a Python image for arm64 in an engine whose kernel runs it."""
    from integration_tests.components.emulation import emulation
    from integration_tests.components.engine import connect
    from integration_tests.components.images import ARM64_PYTHON, provide

    client = connect(docker_url)
    try:
        provide(client, ARM64_PYTHON)
    finally:
        client.close()
    with emulation():
        yield ARM64_PYTHON


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a real browser."""
    from integration_tests.components.lacking import lacking

    return shutil.which("chromium") or lacking("chromium is not installed")


@pytest.fixture(scope="session")
def postgres(leaks: Leaks) -> Iterator[Postgres]:
    """A PostgreSQL server that all tests share: `url(name)` makes a fresh database."""
    yield from _postgres(leaks, durable=False)


@pytest.fixture(scope="session")
def fragile_postgres(leaks: Leaks) -> Iterator[Postgres]:
    """The PostgreSQL server of `postgres_own`, for what outlasts a test."""
    yield from _postgres(leaks, durable=True)


@pytest.fixture
def postgres_own(fragile_postgres: Postgres) -> Iterator[Postgres]:
    """A PostgreSQL server that no other test uses at the same time, to be stopped and started."""
    yield fragile_postgres
    if not fragile_postgres.is_running:
        fragile_postgres.start()


def _postgres(leaks: Leaks, *, durable: bool) -> Iterator[Postgres]:
    from integration_tests.components.postgres import Postgres, find_binaries

    server = Postgres(find_binaries(), durable=durable)
    leaks.own(str(server.home))
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a fresh database: each test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.url(re.sub(r"\[.*", "", request.node.name))
    yield url
    server.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a ledger without rows, once on SQLite and once on PostgreSQL, there with admin's tables beside it."""
    made: str = request.getfixturevalue(f"{request.param}_ledger")
    if request.param == "sqlite":
        path = tmp_path / "test.db"
        shutil.copyfile(made.removeprefix("sqlite:///"), path)
        yield f"sqlite:///{path}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.url(re.sub(r"\[.*", "", request.node.name), like=made)
    yield url
    server.drop(url)


@pytest.fixture(scope="session")
def sqlite_ledger(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of the ledger that those of tests are copies of: to migrate takes longer than most tests."""
    from services.ledger import migrations

    url = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}"
    _migrate(url, migrations)
    return url


@pytest.fixture(scope="session")
def postgresql_ledger(postgres: Postgres) -> str:
    """The same on PostgreSQL, with admin's tables in it."""
    from services.admin import migrations as of_admin
    from services.ledger import migrations

    url = postgres.url("ledger")
    _migrate(url, migrations, of_admin)
    return url


def _migrate(url: str, *packages: ModuleType) -> None:
    from services.common.db import migrate, writer_engine

    engine = writer_engine(url)
    try:
        for package in packages:
            migrate(engine, package)
    finally:
        engine.dispose()


@pytest.fixture(scope="session")
def s3(leaks: Leaks) -> Iterator[SeaweedFs]:
    """An S3 store that all tests share: `bucket(name)` makes a fresh bucket."""
    yield from _s3(leaks)


@pytest.fixture
def s3_own(leaks: Leaks) -> Iterator[SeaweedFs]:
    """An S3 store of one test, to be stopped and started."""
    yield from _s3(leaks)


def _s3(leaks: Leaks) -> Iterator[SeaweedFs]:
    from integration_tests.components.seaweedfs import SeaweedFs, find_binary

    store = SeaweedFs(find_binary())
    leaks.own(str(store.home))
    try:
        yield store
    finally:
        store.close()


@pytest.fixture(scope="session")
def registry(leaks: Leaks) -> Iterator[Registry]:
    """An image registry on loopback."""
    from integration_tests.components.registry import Registry, find_program

    found = Registry(find_program())
    leaks.own(str(found.home))
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def private_registry(leaks: Leaks) -> Iterator[Registry]:
    """An image registry on loopback that wants credentials."""
    from integration_tests.components.registry import Registry, find_program

    found = Registry(find_program(), private=True)
    leaks.own(str(found.home))
    try:
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def hosts(leaks: Leaks) -> Iterator[Hosts]:
    """Three Docker hosts in network namespaces of their own, numbered from 1. Their engines have no image yet."""
    from integration_tests.components.hosts import Hosts, check_possible

    check_possible()
    several = Hosts(HOSTS)
    leaks.own(str(several.directory))
    try:
        yield several
    finally:
        several.close()

"""Backends and workspaces for the tests, and the check that no process is left behind."""

from __future__ import annotations

import itertools
import os
import re
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from integration_tests.backend import Backend, database_settings
from integration_tests.components.postgres import Postgres
from integration_tests.leaks import Leaks
from integration_tests.polling import until
from integration_tests.workspace import Workspace

ORPHAN_SECONDS = 20
SETTINGS = {"HANGAR_EXECUTOR_ORPHAN_TTL": str(ORPHAN_SECONDS), "HANGAR_LOG_LEVEL": "info"}

_numbers = itertools.count()
_open: list[Backend] = []

MakeBackend = Callable[..., Backend]
NewBackend = Callable[..., Backend]
MakeWorkspace = Callable[..., Workspace]
NewDatabase = Callable[[], Mapping[str, str]]


@pytest.fixture(scope="session")
def engine_settings() -> Mapping[str, str]:
    """Settings that choose the engine of every backend: none, which is processes of this machine."""
    return {}


@pytest.fixture(scope="session")
def new_database(request: pytest.FixtureRequest) -> NewDatabase:
    """Gives each backend its database: SQLite, or with HANGAR_TEST_DATABASE=postgresql one of a server."""
    chosen = os.environ.get("HANGAR_TEST_DATABASE", "sqlite")
    assert chosen in ("sqlite", "postgresql"), f"HANGAR_TEST_DATABASE is {chosen!r}: sqlite or postgresql"
    if chosen == "sqlite":
        return dict
    postgres: Postgres = request.getfixturevalue("postgres")
    return lambda: database_settings(postgres.url(f"backend{next(_numbers)}"))


@pytest.fixture(scope="session")
def place(leaks: Leaks) -> Iterator[Path]:
    """A directory with a short name for everything of the session: unix sockets have short names only."""
    with tempfile.TemporaryDirectory(prefix="hangar-it-") as directory:
        Path(directory).chmod(0o755)  # workers in containers are nobody in particular
        leaks.own(directory)
        yield Path(directory)
        for identity in Path(directory).glob("**/executor*/identity"):
            leaks.own(identity.read_text().strip())


@pytest.fixture(scope="session")
def closed(place: Path) -> Iterator[list[Backend]]:
    """Backends that were stopped. At the end of the session none of their processes may live."""
    backends: list[Backend] = []
    yield backends
    for backend in backends:
        until(
            lambda: not backend.processes(),  # noqa: B023 - it is called here
            f"nothing is left of the backend in {backend.data}",
            ORPHAN_SECONDS + 15,
        )


@pytest.fixture(scope="session")
def environments(place: Path, closed: list[Backend], request: pytest.FixtureRequest) -> Path:
    """Environments of images, built once for all backends, of whatever process of the tests."""
    shared: dict[str, str] = getattr(request.config, "workerinput", {})
    directory = Path(shared.get("shared", place)) / "environments"
    directory.mkdir(exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def shared_backend(
    place: Path, environments: Path, closed: list[Backend], new_database: NewDatabase
) -> Iterator[Backend]:
    """The backend of all tests that need nothing special: the machine's own capacity."""
    yield from one_backend(place / "shared", environments, closed, new_database())


def one_backend(
    data: Path, environments: Path, closed: list[Backend], settings: Mapping[str, str]
) -> Iterator[Backend]:
    """Starts a backend; at the end its ledger is in order and it is closed."""
    backend = Backend(data, environments, {**SETTINGS, **settings})
    _open.append(backend)
    try:
        yield backend.start()
        backend.check_ledger()
    finally:
        backend.close()
        _open.remove(backend)
        closed.append(backend)


@pytest.fixture
def backend(shared_backend: Backend) -> Iterator[Backend]:
    """The shared backend; at the end of the test it has no orphan."""
    yield shared_backend
    check_no_orphans(shared_backend)


class Backends:
    """Makes and starts backends, checks them after each test, and keeps those that a later test may use.

    Args:
        new: Makes one that does not run yet.
        closed: Gets the backends that were closed.
    """

    def __init__(self, new: NewBackend, closed: list[Backend]) -> None:
        self._new = new
        self._closed = closed
        self._made: dict[int, tuple[Backend, object]] = {}
        self._spare: dict[object, Backend] = {}

    def make(self, name: str, *, apart: bool = False, used: bool = False, **settings: str) -> Backend:
        """Returns a backend that runs.

        Args:
            name: Start of the name of its directory.
            apart: True for an executor of its own.
            used: True when an earlier test may have used it, with the same settings; a later one will.
            **settings: Settings by their environment variables.
        """
        kind = (apart, *sorted(settings.items())) if used else None
        backend = self._spare.pop(kind, None)
        if backend is None:
            backend = self._new(f"{name}-{next(_numbers)}", settings, apart=apart)
            _open.append(backend)
        self._made[id(backend)] = (backend, kind)
        return backend.start()

    def check(self) -> None:
        """After a test: what runs has no orphan, its ledger is in order. Closes what no later test may use."""
        made = [*self._made.values()]
        self._made.clear()
        try:
            for backend, kind in made:
                if backend.is_running:
                    check_no_orphans(backend)
                    backend.check_ledger()
                    if kind is not None and not backend.api.live_runs():
                        self._spare[kind] = backend
        finally:
            for backend, _ in made:
                if backend not in self._spare.values():
                    self._close(backend)

    def close(self) -> None:
        """Closes what is left."""
        while self._spare:
            self._close(self._spare.popitem()[1])

    def _close(self, backend: Backend) -> None:
        backend.close()
        _open.remove(backend)
        self._closed.append(backend)


def name_of(request: pytest.FixtureRequest) -> str:
    """A short name for what a test or a module makes."""
    return re.sub(r"^.*test_|\W.*$", "", request.node.name)[:24]


@pytest.fixture(scope="module")
def new_backend(
    place: Path, environments: Path, engine_settings: Mapping[str, str], new_database: NewDatabase
) -> NewBackend:
    """Makes backends that do not run yet."""

    def new(name: str, settings: Mapping[str, str], *, apart: bool) -> Backend:
        given = {**SETTINGS, **engine_settings, **new_database(), **settings}
        return Backend(place / name, environments, given, apart=apart)

    return new


@pytest.fixture(scope="module")
def backends(new_backend: NewBackend, closed: list[Backend]) -> Iterator[Backends]:
    """The backends of the tests of one module."""
    made = Backends(new_backend, closed)
    yield made
    made.close()


@pytest.fixture
def make_backend(backends: Backends, request: pytest.FixtureRequest) -> Iterator[MakeBackend]:
    """Makes and starts backends for a test, with settings by their environment variables; checks them at its end."""
    yield partial(backends.make, name_of(request))
    backends.check()


@pytest.fixture(scope="module")
def make_module_backend(
    new_backend: NewBackend, closed: list[Backend], request: pytest.FixtureRequest
) -> Iterator[MakeBackend]:
    """Makes and starts backends that the tests of one module share; checks them at its end."""
    shared = Backends(new_backend, closed)
    yield partial(shared.make, name_of(request))
    shared.check()


@pytest.fixture(scope="module")
def one_core(make_module_backend: MakeBackend) -> Backend:
    """A host with one core and 1 GiB."""
    return make_module_backend(HANGAR_EXECUTOR_CPU="1", HANGAR_EXECUTOR_MEMORY="1Gi")


@pytest.fixture
def make_workspace(place: Path, request: pytest.FixtureRequest) -> MakeWorkspace:
    """Makes a user's directory whose configuration names a backend, or none."""

    def make(backend: Backend | None) -> Workspace:
        name = f"{request.node.originalname}-{next(_numbers)}"
        workspace = Workspace(place / "users" / name, backend.grpc if backend is not None else "")
        if token := getattr(backend, "token", ""):
            workspace.environ["FLYTE_API_KEY"] = token
        return workspace

    return make


@pytest.fixture
def workspace(backend: Backend, make_workspace: MakeWorkspace) -> Workspace:
    """A user's directory whose configuration names the shared backend."""
    return make_workspace(backend)


def check_no_orphans(backend: Backend) -> None:
    """Waits until every process of a data directory belongs to the backend or to a worker that it knows."""
    until(lambda: not backend.orphans(), f"no orphan in {backend.data}: {backend.orphans()}", 15)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the end of the backends' logs with a failure."""
    report = yield
    if report.failed:
        for backend in _open:
            report.sections.append((f"log of {backend.data}", backend.log_tail()))
    return report

"""Services apart on PostgreSQL: it goes away and comes back, and nothing is lost or done twice."""

from __future__ import annotations

import re
import subprocess

import grpc
import pytest

from integration_tests.api import Api
from integration_tests.backend import BIN
from integration_tests.conftest import check_no_orphans
from integration_tests.polling import until
from integration_tests.stack import Stack
from integration_tests.wide import FanOut


@pytest.fixture(scope="module")
def make_stack(place, environments, closed):
    """Makes services on a database, and starts them."""
    made: list[Stack] = []

    def make(url: str, **options) -> Stack:
        settings = {"HANGAR_EXECUTOR_ORPHAN_TTL": "20", "HANGAR_EXECUTOR_CPU": "4"}
        stack = Stack(place / f"postgres-{len(closed)}", environments, settings, database=url, **options)
        made.append(stack)
        closed.append(stack)
        return stack.start()

    yield make
    for stack in made:
        stack.close()


@pytest.fixture(scope="module")
def services(make_stack, fragile_postgres):
    """Services on a database that can be stopped, for all tests that need no others."""
    return make_stack(fragile_postgres.url("services"))


@pytest.fixture
def stack(services):
    """These services; at the end all of them run, and none has left an orphan."""
    yield services
    services.start()
    check_no_orphans(services)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_database_restarts_in_the_middle_of_a_fan_out(postgres_own, stack, make_workspace, how):
    """While PostgreSQL is down the rest waits, and says so; when it is back every child has run once."""
    fan_out = FanOut(stack, make_workspace(stack))
    fan_out.reaches(60)
    getattr(postgres_own, how)()
    for read in (stack.api.run_names, stack.api.project_ids, lambda: stack.api.run(fan_out.run)):
        with pytest.raises(grpc.RpcError) as caught:
            read()
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert re.search("(the ledger|admin's database) cannot be reached", caught.value.details() or "")
    postgres_own.start()
    until(lambda: _answers(stack.api), "admin reads again")
    fan_out.check()


def _answers(api: Api) -> bool:
    try:
        return bool(api.run_names()) and "default" in api.project_ids()
    except grpc.RpcError:
        return False


@pytest.mark.parametrize("killed", ["scheduler", "admin"])
def test_a_service_is_killed_in_the_middle_of_a_fan_out(stack, make_workspace, killed):
    """`kill -9` of a service alone on PostgreSQL loses nothing and repeats nothing (the executor: `on_postgres`)."""
    fan_out = FanOut(stack, make_workspace(stack))
    fan_out.reaches(60)
    stack.kill(killed)
    stack.start_service(killed)
    fan_out.check()


def test_a_long_outage_with_a_standby(postgres_own, make_stack, make_workspace):
    """An outage longer than the writer's lease: whoever comes first goes on, the other one waits or ends."""
    stack = make_stack(
        postgres_own.url("outage"),
        schedulers=2,
        each={name: {"HANGAR_SCHEDULER_LEASE_SECONDS": "2"} for name in ("scheduler", "scheduler-2")},
    )
    fan_out = FanOut(stack, make_workspace(stack))
    fan_out.reaches(60)
    postgres_own.stop()
    before = fan_out.lines().total()
    until(lambda: _unreachable(stack) > 3, "the schedulers have tried for longer than the lease", 30)
    assert fan_out.lines().total() >= before
    postgres_own.start()
    fan_out.check()
    assert stack.leader()


def _unreachable(stack: Stack) -> int:
    return stack.log(stack.leader() or "scheduler").read_text().count("pause=2.0")


def test_upkeep_of_a_postgresql_database(postgres, tmp_path, monkeypatch):
    """`hangar migrate` and `hangar doctor` work on a URL, and never show its password."""
    url = postgres.url("upkeep").replace("postgresql+psycopg://", "postgresql://")
    password = url.split(":")[2].split("@")[0]
    monkeypatch.setenv("HANGAR_DATA_DIR", str(tmp_path))

    def hangar(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "hangar"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert password not in done.stdout + done.stderr
        return done

    untouched = hangar("doctor", "--database", url)
    assert (untouched.returncode, "hangar migrate" in untouched.stderr) == (1, True), untouched
    for _ in range(2):
        done = hangar("migrate", "--database", url)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("is up to date") == 3, "ledger, admin and image builder"
    assert hangar("doctor", "--database", url).returncode == 0
    wrong = hangar("migrate", "--database", url + "-missing")
    assert wrong.returncode == 1
    assert "cannot be opened" in wrong.stderr
    assert list(tmp_path.iterdir()) == []

"""Two schedulers on one ledger: the standby takes over, nothing is lost and nothing runs twice."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest

from integration_tests.backend import BIN
from integration_tests.conftest import check_no_orphans
from integration_tests.polling import until
from integration_tests.stack import Stack
from integration_tests.wide import FanOut

TAKEOVER_SECONDS = 15
FENCED_EXIT = 70


@pytest.fixture(scope="module")
def services(place, environments, closed, postgres):
    """Five services with two schedulers on PostgreSQL, for all tests here."""
    url = postgres.url("standby")
    settings = {"HANGAR_EXECUTOR_ORPHAN_TTL": "20", "HANGAR_EXECUTOR_CPU": "4"}
    stack = Stack(place / f"standby-{len(closed)}", environments, settings, database=url, schedulers=2)
    closed.append(stack)
    try:
        yield stack.start()
    finally:
        stack.close()
    postgres.drop(url)


@pytest.fixture
def stack(services):
    """The services, all of them running, and whoever is the leader; at the end none has left an orphan."""
    yield services.start()
    check_no_orphans(services)


def other(stack: Stack, leader: str) -> str:
    """Name of the other scheduler."""
    [name] = [each for each in stack.names("scheduler") if each != leader]
    return name


def takes_over(stack: Stack, standby: str, since: float) -> float:
    """Waits until the standby serves; returns how long that took."""
    until(lambda: stack.health(standby) == "SERVING", f"{standby} takes over", TAKEOVER_SECONDS)
    return time.monotonic() - since


def test_the_writer_is_killed_in_the_middle_of_a_fan_out(stack, make_workspace):
    """`kill -9` of the active scheduler: the standby takes over within 15 s, and every child runs once."""
    leader = stack.leader()
    standby = other(stack, leader)
    assert stack.health(standby) == "NOT_SERVING"
    fan_out = FanOut(stack, make_workspace(stack))
    fan_out.reaches(60)
    began = time.monotonic()
    stack.kill(leader)
    assert takes_over(stack, standby, began) <= TAKEOVER_SECONDS
    fan_out.check()
    stack.start_service(leader)
    assert stack.leader() == standby, "who comes back waits"
    assert stack.health(leader) == "NOT_SERVING"


def test_the_writer_is_paused_in_the_middle_of_a_fan_out(stack, make_workspace):
    """A scheduler that is paused is replaced; when it wakes it ends with the reason, and changes nothing."""
    leader = stack.leader()
    standby = other(stack, leader)
    fan_out = FanOut(stack, make_workspace(stack))
    fan_out.reaches(60)
    began = time.monotonic()
    stack.signal(leader, signal.SIGSTOP)
    try:
        assert takes_over(stack, standby, began) <= TAKEOVER_SECONDS
        done = fan_out.lines().total()
        until(lambda: fan_out.lines().total() > done, "the standby goes on with the fan-out", 60)
    finally:
        stack.signal(leader, signal.SIGCONT)
    assert stack.exit_code(leader) == FENCED_EXIT
    log = stack.log(leader).read_text()
    assert "another scheduler took the ledger over" in log
    assert stack.address(standby) in log
    fan_out.check()
    assert stack.leader() == standby


def test_an_orderly_stop_hands_over_at_once(stack, make_workspace):
    """SIGTERM of the active scheduler: the standby goes on long before the lease would lapse."""
    leader = stack.leader()
    standby = other(stack, leader)
    fan_out = FanOut(stack, make_workspace(stack))
    fan_out.reaches(60)
    stack.stop_service(leader)
    assert takes_over(stack, standby, time.monotonic()) < 8, "the lease lasts 10 s"
    fan_out.check()


def test_a_second_scheduler_on_files_is_refused(place, environments, closed):
    """On SQLite a second scheduler ends at once, and says which process has the ledger."""
    stack = Stack(place / f"standby-{len(closed)}", environments, without=["executor"])
    closed.append(stack)
    try:
        stack.start()
        second = subprocess.run(
            [BIN / "hangar", "serve", "scheduler", "--port", "0"],
            env=stack.environs["scheduler"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 1
        assert f"process {stack.pid('scheduler')}) uses the ledger" in second.stderr
        assert "PostgreSQL" in second.stderr
    finally:
        stack.close()

"""Two schedulers on one ledger: one writes, the other waits, and what the old one held is worth nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.common.db import writer_engine
from services.common.errors import FailedPrecondition
from services.common.grpc_errors import from_rpc_error
from services.scheduler.app import SchedulerApp
from services.scheduler.settings import Settings
from services.scheduler.standby import Standby
from services.scheduler.store import Superseded
from services.scheduler.tests.backend import Backend, eventually, serving
from services.scheduler.tests.test_store import StoredLedger
from services.scheduler.writer_lease import SESSIONS, Holder, WriterLease

LEASE = 2.0  # what it lasts where a test waits for its end: a machine that is busy renews it in time


@pytest.fixture
def shared(postgres):
    """URL of a fresh PostgreSQL database."""
    url = postgres.url("standby")
    yield url
    postgres.drop(url)


@pytest.fixture
def leases(shared):
    """Makes leases of one migrated ledger."""
    made: list[WriterLease] = []

    def make(address: str = "", seconds: float = 60.0) -> WriterLease:
        made.append(WriterLease(shared, address, seconds))
        made[-1].migrate()
        return made[-1]

    yield make
    for each in made:
        each.close()


def change(url: str, statement: str) -> None:
    """Changes a database behind everyone's back."""
    engine = writer_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_a_fresh_lease_is_left_to_its_holder(leases):
    """Who asks while another one is alive gets nothing, and is told where that one is."""
    first, second = leases("one:1"), leases("two:2")
    assert first.take(0, only_if_lapsed=True)
    assert not second.take(0, only_if_lapsed=True)
    holder = second.holder()
    assert (holder.generation, holder.address, holder.lapsed) == (1, "one:1", False)


def test_a_lapsed_lease_is_taken_by_one_of_many(leases, shared):
    """When the time is over exactly one of those who try at once gets it; the old holder is told who."""
    old, candidates = leases("old:1"), [leases(f"new:{number}") for number in range(4)]
    assert old.take(0, only_if_lapsed=True)
    change(shared, "UPDATE writer SET renewed_at = renewed_at - 61000000")

    async def race() -> list[bool]:
        taking = (asyncio.to_thread(each.take, 0, only_if_lapsed=True) for each in candidates)
        return list(await asyncio.gather(*taking))

    assert sorted(asyncio.run(race())) == [False, False, False, True]
    with pytest.raises(Superseded, match=r"generation 1, the ledger is at 2, written by .* at new:"):
        old.renew()


def test_a_lease_that_was_given_back_is_free_at_once(leases):
    """After an orderly end nobody waits; what was given back cannot be renewed by a successor's victim."""
    first, second = leases(), leases()
    assert first.take(0, only_if_lapsed=True)
    first.release()
    assert second.take(0, only_if_lapsed=True)
    assert second.generation == 2
    second.renew()


def test_a_clock_that_was_set_back_holds_up_nobody_for_ever(leases, shared):
    """A lease from the future, as after a restore on another server, may be taken."""
    first, second = leases(), leases()
    assert first.take(0, only_if_lapsed=True)
    change(shared, "UPDATE writer SET renewed_at = renewed_at + 3600000000")
    assert second.take(0, only_if_lapsed=True)


def test_a_long_commit_does_not_hold_up_the_renewal(leases, shared):
    """While a transaction of the writer keeps the fence locked its lease is renewed all the same."""
    lease = leases()
    assert lease.take(0, only_if_lapsed=True)
    engine = writer_engine(shared)
    with engine.begin() as connection:
        connection.execute(text("UPDATE generation SET batch = batch"))
        began = time.monotonic()
        lease.renew()
        assert time.monotonic() - began < 4, "less than the time that locks are waited for"
    engine.dispose()


def test_a_paused_writer_in_the_middle_of_a_commit_is_cut_off(leases, shared):
    """A successor does not wait for the locks of who was stopped within a transaction; that one changed nothing."""
    old = leases()
    assert old.take(0, only_if_lapsed=True)
    engine = writer_engine(shared, name=SESSIONS)
    with engine.connect() as paused:
        paused.execute(text("UPDATE generation SET batch = 99 WHERE number = 1"))
        began = time.monotonic()
        assert leases().take(0, only_if_lapsed=False)
        assert time.monotonic() - began < 4, "less than the time that locks are waited for"
        with pytest.raises(DBAPIError, match=r"terminating connection|closed"):
            paused.execute(text("SELECT 1"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT number, batch FROM generation")).one() == (2, 0)
    engine.dispose()


def test_a_commit_that_is_under_way_at_a_takeover_is_whole_or_nothing(shared):
    """Whatever the moment, the successor loads either all of the last transaction or none of it."""
    old, new = StoredLedger(shared), StoredLedger(shared)
    assert new.store.generation == 2
    with pytest.raises(Superseded):
        old.store.commit(old.recorder.take().rows)
    old.store.close()
    new.store.close()


class SlowLease:
    """A lease of somebody else, in a database that takes its time."""

    def __init__(self) -> None:
        self.asked, self.may_answer = threading.Event(), threading.Event()
        self.answered = False

    def holder(self) -> Holder:
        self.asked.set()
        assert self.may_answer.wait(30)
        self.answered = True
        return Holder(1, "other:1", lapsed=False)


async def test_a_standby_that_is_stopped_asks_nothing_any_more():
    """Its end is that of the thread that asks the database, whose connections are closed then."""
    lease: Any = SlowLease()
    waiting = asyncio.create_task(Standby(lease, lambda address: None).take())
    assert await asyncio.to_thread(lease.asked.wait, 30)
    waiting.cancel()
    asyncio.get_running_loop().call_later(0.1, lease.may_answer.set)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert lease.answered


async def health_of(backend: Backend, service: str = "hangar.scheduler.v1.SchedulerService") -> int:
    """What a scheduler says of itself."""
    stub = health_pb2_grpc.HealthStub(backend.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return int(answer.status)


@contextlib.asynccontextmanager
async def pair(database: str, lease_seconds: float = LEASE):
    """A scheduler that works, and its standby."""
    async with (
        serving(database, may_wait=True, lease_seconds=lease_seconds, address="first:1") as first,
        serving(database, may_wait=True, lease_seconds=lease_seconds, address="second:2") as second,
    ):
        assert first.serving.is_set()
        yield first, second


async def test_a_standby_says_so_and_names_the_writer(shared):
    """A standby is not healthy, and refuses calls with the address of the one that does the work."""
    async with pair(shared, lease_seconds=60) as (first, second):
        assert not second.serving.is_set()
        assert await health_of(first) == health_pb2.HealthCheckResponse.SERVING
        assert await health_of(second) == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await second.create_run()
        error = from_rpc_error(caught.value)
        assert (error.reason, error.metadata["writer"]) == ("STANDBY", "first:1")
        assert "first:1" in error.message
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert await first.create_run("run")


async def test_an_orderly_end_hands_over_at_once(shared):
    """When the writer stops, the standby goes on with what it left, long before the lease lapses."""
    async with serving(shared, may_wait=True, lease_seconds=60) as first:
        standby = Backend(shared, may_wait=True, lease_seconds=60)
        await standby.start()
        try:
            await first.create_run("mine")
            await first.app.stop()
            async with asyncio.timeout(30):
                await standby.serving.wait()
            assert await health_of(standby) == health_pb2.HealthCheckResponse.SERVING
            executor = standby.executor()
            await executor.connect()
            await standby.ended("mine")
            await executor.disconnect()
            assert await standby.create_run("other")
        finally:
            await standby.stop()


async def test_a_writer_whose_renewals_stop_is_replaced_and_ends(shared, monkeypatch: pytest.MonkeyPatch):
    """A standby takes over from a writer that hangs; that one then writes, answers and sends nothing any more."""
    async with pair(shared) as (first, second):
        await first.create_run("before")
        renewal = first.app._renewal
        renewal._task.cancel()  # as if its loop hung
        async with asyncio.timeout(30):
            await second.serving.wait()
        assert await second.create_run("mine")
        with pytest.raises(grpc.aio.AioRpcError, match="stopping"):
            await first.create_run("theirs")
        (error,) = first.fatal
        assert isinstance(error, Superseded)
        assert "second:2" in error.message
        assert second.actions("theirs") == []
        assert [each.name for each in second.actions("before")] == ["a0"]
        assert second.fatal == []


async def test_nothing_leaves_a_writer_that_slept_over_its_lease(shared):
    """What was committed just before a pause is not sent behind the successor's back: the writer ends first."""
    async with pair(shared) as (first, second):
        shell, renewal = first.app.running.shell, first.app._renewal
        renewal._task.cancel()
        released: list[object] = []
        release = shell._release

        async def noting(recording, effects):
            released.extend(effects)
            await release(recording, effects)

        shell._release = noting
        taken = asyncio.Event()
        loop = asyncio.get_running_loop()
        commit = shell._store.commit

        def commit_then_pause(rows):
            commit(rows)
            asyncio.run_coroutine_threadsafe(taken.wait(), loop).result(60)

        shell._store.commit = commit_then_pause
        request = asyncio.create_task(first.create_run("paused"))
        async with asyncio.timeout(30):
            await second.serving.wait()
        taken.set()
        with pytest.raises(grpc.aio.AioRpcError, match="stopping"):
            await request
        assert released == []
        assert isinstance(first.fatal[0], Superseded)
        assert [each.name for each in second.actions("paused")] == ["a0"], "it was committed in time"


async def test_who_cannot_wait_is_refused_with_the_writers_address(shared, tmp_path: Path):
    """A scheduler that nobody asks whether it serves refuses to start beside a living one."""
    async with serving(shared, lease_seconds=LEASE, address="first:1"):
        app = SchedulerApp(Settings.load(data_dir=tmp_path, database=shared, lease_seconds=LEASE))
        with pytest.raises(FailedPrecondition, match=r"the one at first:1, writes this ledger") as caught:
            await app.start()
        await app.stop()
        assert caught.value.reason == "LEDGER_IN_USE"


async def test_a_second_scheduler_on_one_file_is_refused(tmp_path: Path):
    """On SQLite the second scheduler is refused with the process that has the ledger, and the first goes on."""
    path = str(tmp_path / "ledger.db")
    async with serving(path) as first:
        app = SchedulerApp(Settings.load(data_dir=tmp_path, database=path))
        with pytest.raises(FailedPrecondition, match=rf"process {os.getpid()}\) uses the ledger") as caught:
            await app.start()
        await app.stop()
        assert caught.value.reason == "LEDGER_IN_USE"
        assert await first.create_run()
    async with serving(path):
        pass


PROCESS = """
import asyncio, sys
from pathlib import Path
from typing import Any
from services.scheduler.tests.backend import Backend

async def main():
    backend = Backend(sys.argv[1], may_wait=True, lease_seconds=float(sys.argv[2]), address="paused:1")
    from services.scheduler.app import _end_process
    backend.app._on_fatal = _end_process
    await backend.start()
    print("serving", flush=True)
    for number in range(1_000_000):
        await backend.create_run(f"run{number}")
        print(number, flush=True)

asyncio.run(main())
"""


async def test_a_process_that_was_paused_ends_when_it_wakes(shared, tmp_path: Path):
    """SIGSTOP, takeover, SIGCONT: the old process ends with the reason, and every run it answered for exists once."""
    command = [sys.executable, "-c", PROCESS, shared, str(LEASE)]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}  # it ends at once and removes nothing
    process = subprocess.Popen(  # noqa: ASYNC220
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ
    )
    assert process.stdout is not None
    try:
        while b"\n50\n" not in (seen := b"\n" + process.stdout.readline()):
            assert seen.strip(), "it ended too early"
        process.send_signal(signal.SIGSTOP)
        async with serving(shared, may_wait=True, lease_seconds=LEASE) as second:
            async with asyncio.timeout(30):
                await second.serving.wait()
            process.send_signal(signal.SIGCONT)
            rest, _ = await asyncio.to_thread(process.communicate, timeout=30)
            assert process.returncode == 70, rest
            assert b"another scheduler took the ledger over" in rest
            numbers = [int(line) for line in rest.split(b"\n") if line.isdigit()]
            last = max(numbers, default=50)
            await eventually(lambda: second.actions(f"run{last}"))
            assert second.actions(f"run{last + 2}") == []
    finally:
        process.kill()
        process.wait()

"""The database goes away: nothing is acknowledged that is not durable, and everything goes on when it is back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from hangar.core.v1.phase_pb2 import Phase
from hangar.scheduler.v1 import node_service_pb2 as node
from services.common.db import is_passing, writer_engine
from services.scheduler import shell as shell_module
from services.scheduler.core.tests.simulation import Simulation
from services.scheduler.core.tests.test_simulation import HOSTS, mixed
from services.scheduler.tests.backend import PATIENCE, Backend, eventually, serving
from services.scheduler.tests.fake_executor import FakeExecutor
from services.scheduler.tests.test_store import StoredLedger, assert_consistent
from services.scheduler.writer_lease import SESSIONS

WIDE = 500


class Hesitant(FakeExecutor):
    """Takes the outputs of a fan-out one by one, so that there is time to break things between them."""

    async def carry_out_slowly(self, until: asyncio.Event) -> None:
        """Ends what is assigned, a few at a time, until told to do all."""
        done: set[int] = set()
        while not until.is_set() or len(done) < len(self.assignments):
            frame = node.NodeSessionRequest()
            ready = [each for each in self.assignments if each not in done and self._is_child(each)]
            for lease in ready if until.is_set() else ready[:20]:
                frame.started.add(lease_id=lease, worker_id=self.assignments[lease].worker_id)
                self._add_result(frame, lease, None)
                done.add(lease)
            if frame.results:
                await self.send(frame)
            done.update(each for each in self.assignments if not self._is_child(each))
            await asyncio.sleep(0.01)

    def _is_child(self, lease: int) -> bool:
        return self.assignments[lease].action.name != "a0"


@contextlib.asynccontextmanager
async def fan_out(backend: Backend, wide: int = WIDE) -> AsyncIterator[Hesitant]:
    """A run in the middle of a fan-out; finishes it, and checks that it is whole."""
    executor = Hesitant(backend.channel, complete=False)
    await executor.connect()
    await backend.create_run()
    (root,) = await eventually(lambda: list(executor.assignments))
    await executor.send(_started(executor, root))
    await executor.request_children(root, [f"child{number}" for number in range(wide)])
    rest = asyncio.Event()
    working = asyncio.create_task(executor.carry_out_slowly(rest))
    await eventually(lambda: len(executor.acknowledged) >= 40)
    yield executor
    rest.set()
    await eventually(lambda: len(executor.acknowledged) == wide)
    await working
    await executor.finish(root)
    run = await backend.ended()
    assert run.phase == Phase.PHASE_SUCCEEDED
    assert run.action_count == wide + 1
    assert all(each.attempt_count == 1 for each in backend.actions()), "nothing ran twice"
    await executor.disconnect()


def _started(executor: FakeExecutor, lease: int) -> node.NodeSessionRequest:
    frame = node.NodeSessionRequest()
    frame.started.add(lease_id=lease, worker_id=executor.assignments[lease].worker_id)
    return frame


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_server_that_goes_away_in_the_middle(postgres_own, how):
    """While PostgreSQL is down nothing is committed or acknowledged; when it is back everything is, once."""
    url = postgres_own.url("outage")
    async with serving(url, lease_seconds=1.0) as backend, fan_out(backend) as executor:
        shell = backend.app.running.shell
        await asyncio.to_thread(getattr(postgres_own, how))
        acknowledged, commits = len(executor.acknowledged), shell.commits
        sent = shell.recorder.weight
        await eventually(lambda: shell.recorder.weight > sent or executor.frames)
        request = asyncio.create_task(backend.create_run("meanwhile"))
        deadline = time.monotonic() + 2.5  # longer than the lease of the writer
        while time.monotonic() < deadline:
            assert shell.commits <= commits + 1
            assert not request.done()
            await asyncio.sleep(0.05)
        assert len(executor.acknowledged) <= acknowledged + 20, "what was durable before, at most"
        await asyncio.to_thread(postgres_own.start)
        await request
        assert backend.fatal == []
    assert assert_consistent(url) == WIDE + 2


async def test_a_backend_process_that_is_killed(postgres_own):
    """SIGKILL of the writer's server process makes PostgreSQL recover from a crash; the scheduler just goes on."""
    url = postgres_own.url("killed")
    async with serving(url) as backend, fan_out(backend):
        for _ in range(3):
            pid = await eventually(lambda: _writer_pid(url))
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: _writer_pid(url) not in {None, pid})  # noqa: B023  # called before it changes
        assert backend.fatal == []
    assert assert_consistent(url) == WIDE + 1


def _writer_pid(url: str) -> int | None:
    """Process of the session that commits; None when it has none, or the server recovers."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        with psycopg.connect(plain) as connection:
            row = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = %s", [SESSIONS]
            ).fetchone()
    except psycopg.OperationalError:
        return None
    return row[0] if row else None


async def test_memory_is_bounded_while_the_database_is_away(postgres_own, monkeypatch: pytest.MonkeyPatch):
    """A scheduler that cannot write stops reading from executors instead of collecting what they send."""
    full = 200_000
    monkeypatch.setattr(shell_module, "_FULL", full)
    url = postgres_own.url("bounded")
    async with serving(url) as backend:
        executor = backend.executor(complete=False)
        await executor.connect()
        await backend.create_run()
        (root,) = await eventually(lambda: list(executor.assignments))
        shell = backend.app.running.shell
        await asyncio.to_thread(postgres_own.stop)

        async def flood() -> None:
            for start in range(0, 20_000, 100):
                await executor.request_children(root, [f"child{start + n}" for n in range(100)])

        flooding = asyncio.create_task(flood())
        await eventually(lambda: not shell._room.is_set())
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            assert shell.recorder.weight + shell._in_flight < full + 400_000, "one frame more at most"
            await asyncio.sleep(0.02)
        assert len(shell.scheduler.world.actions) < 1000
        await asyncio.to_thread(postgres_own.start)
        await flooding
        async with asyncio.timeout(2 * PATIENCE):
            await eventually(lambda: backend.run().action_count == 20_001)
        await executor.disconnect()
    assert assert_consistent(url) == 20_001


class CuttingProxy:
    """Passes bytes to a server; on demand it lets a COMMIT through and cuts the connection before its answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.cut_next = False
        self.cuts = 0

    async def start(self) -> int:
        """Listens, and returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Ends."""
        assert self._server is not None
        self._server.close()
        await asyncio.gather(*self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        cut = asyncio.Event()

        async def answers() -> None:
            while data := await there.read(65536):
                if cut.is_set():
                    return
                writer.write(data)
                await writer.drain()

        answering = asyncio.create_task(answers())
        try:
            while data := await reader.read(65536):
                if self.cut_next and b"COMMIT" in data:
                    self.cut_next = False
                    cut.set()
                    self.cuts += 1
                    back.write(data)
                    await back.drain()
                    await answering  # until the server has answered, which nobody hears
                    return
                back.write(data)
                await back.drain()
        except ConnectionError:
            return
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            for each in (back, writer):
                each.close()
                with contextlib.suppress(ConnectionError):
                    await each.wait_closed()


async def test_a_commit_whose_answer_is_lost_is_not_done_twice(postgres):
    """The transaction is durable, its answer never arrives: the repeated one is recognised, and all goes on."""
    url = postgres.url("lost answer")
    proxy = CuttingProxy(make_url(url).port or 0)
    port = await proxy.start()
    through = make_url(url).set(port=port).render_as_string(hide_password=False)
    async with serving(through, read_from=url) as backend, fan_out(backend):
        for _ in range(5):
            cuts = proxy.cuts
            proxy.cut_next = True
            await eventually(lambda: proxy.cuts > cuts)  # noqa: B023  # called before it changes
        assert backend.fatal == []
    await proxy.stop()
    assert assert_consistent(url) == WIDE + 1
    postgres.drop(url)


def test_a_full_disk_or_a_lock_is_waited_for_and_a_defect_is_not(postgres):
    """What passes by itself is told from what never will by the code of the error."""
    url = postgres.url("passing")
    ledger = StoredLedger(url)
    sim = Simulation(1, HOSTS["one"])
    sim.ledger = ledger
    sim.submit("run", mixed())
    rows = ledger.recorder.take().rows
    engine = writer_engine(url)
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE event IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(DBAPIError, match="lock timeout") as caught:
            ledger.store.commit(rows)
        assert is_passing(caught.value)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE event RENAME TO gone"))
    with pytest.raises(DBAPIError, match="does not exist") as caught:
        ledger.store.commit(rows)
    assert not is_passing(caught.value)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO event"))
    ledger.store.commit(rows)
    assert assert_consistent(url) == 1
    engine.dispose()
    ledger.store.close()
    postgres.drop(url)

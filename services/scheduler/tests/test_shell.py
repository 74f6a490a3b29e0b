"""The shell: durable before visible, one transaction for what queued up, an end when it is superseded."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from hangar.core.v1.task_spec_pb2 import RunContext
from services.common.errors import Unavailable
from services.scheduler import shell as shell_module
from services.scheduler.core import events as ev
from services.scheduler.core.machine import Scheduler
from services.scheduler.documents import Document, Payloads
from services.scheduler.live import Live
from services.scheduler.recorder import Recorder
from services.scheduler.recording import NextIds
from services.scheduler.rows import Rows
from services.scheduler.shell import Shell
from services.scheduler.specs import Specs
from services.scheduler.store import Superseded
from services.scheduler.tests.backend import eventually
from services.scheduler.tests.fake_executor import make_spec


class FakeStore:
    """Commits when it is told to, and fails as it is told to."""

    def __init__(self) -> None:
        self.allowed = threading.Event()
        self.entered = threading.Event()
        self.error: Exception | None = None
        self.tried: list[Rows] = []
        self.committed: list[Rows] = []

    def commit(self, rows: Rows) -> None:
        self.tried.append(rows)
        self.entered.set()
        if self.error is not None:
            raise self.error
        self.allowed.wait(30)
        self.committed.append(rows)


class Rig:
    """A shell over a fake store, and what it released."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.released: list[Any] = []
        self.fatal: list[BaseException] = []
        live = Live()
        recorder = Recorder(live, Payloads(1024), NextIds())
        self.shell = Shell(Scheduler(), recorder, live, self.store, self._release, self.fatal.append)
        self._spec = Specs().add(make_spec())

    async def _release(self, recording, effects) -> None:
        self.released.extend([*recording.changes, *effects])

    def create(self, name: str) -> asyncio.Task[Any]:
        """Asks for a run."""

        def event(token):
            inputs = Document(b"{}", "", 2, "")
            task = self._spec.task
            return ev.CreateRun(token, "p", "d", name, name, task, self._spec, inputs, RunContext())

        return asyncio.create_task(self.shell.call(event))


@pytest.fixture
async def rig():
    """A shell that runs."""
    rig = Rig()
    rig.shell.start()
    yield rig
    rig.store.error = None
    rig.store.allowed.set()
    await rig.shell.stop()


async def test_nothing_is_released_before_its_commit(rig: Rig):
    """While a transaction is being written neither its reply nor its events are seen."""
    request = rig.create("one")
    await eventually(rig.store.entered.is_set)
    assert not request.done()
    assert rig.released == []
    rig.store.allowed.set()
    assert (await request).value is True
    assert len(rig.store.committed) == 1
    assert [type(each).__name__ for each in rig.released][-1] == "Reply"
    assert rig.released[0].action == "a0"


async def test_what_queues_up_goes_into_one_transaction(rig: Rig):
    """Requests that arrive while a transaction is written share the next one, in their order."""
    first = rig.create("first")
    await eventually(rig.store.entered.is_set)
    rest = [rig.create(f"run{number}") for number in range(20)]
    await eventually(lambda: len(rig.shell.scheduler.world.runs) == 21)
    rig.store.allowed.set()
    await asyncio.gather(first, *rest)
    assert [len(rows.runs) for rows in rig.store.committed] == [1, 20]
    assert [row["name"] for row in rig.store.committed[1].runs.values()] == [f"run{n}" for n in range(20)]


async def test_a_commit_that_fails_is_repeated_as_it_is(rig: Rig):
    """While the database is away the same rows are tried again, and nothing is released."""
    rig.store.allowed.set()
    rig.store.error = OperationalError("INSERT", {}, Exception("database is locked"))
    request = rig.create("one")
    await eventually(lambda: len(rig.store.tried) >= 3)
    assert rig.released == []
    assert not request.done()
    rig.store.error = None
    assert (await request).value is True
    assert all(rows is rig.store.tried[0] for rows in rig.store.tried)
    assert len(rig.store.committed) == 1


@pytest.mark.parametrize(
    "error",
    [Superseded("another"), IntegrityError("INSERT", {}, Exception("UNIQUE")), RuntimeError("defect")],
)
async def test_any_other_failure_ends_it(rig: Rig, error: Exception):
    """A commit that can never succeed releases nothing, fails who waits, and ends the process."""
    rig.store.error = error
    request = rig.create("one")
    with pytest.raises(Unavailable):
        await request
    assert rig.fatal == [error]
    assert rig.released == []
    with pytest.raises(Unavailable):
        await rig.create("two")


async def test_a_ledger_that_is_behind_holds_up_who_brings_more(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    """While too much waits to be written nobody may bring more; once it is written they may."""
    monkeypatch.setattr(shell_module, "_FULL", 1)
    first = rig.create("one")
    await eventually(rig.store.entered.is_set)
    blocked = rig.create("two")
    waiting = asyncio.create_task(rig.shell.has_room())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    assert not await rig.shell.has_room(0.001), "who must not wait for long is told so"
    assert len(rig.shell.scheduler.world.runs) == 1
    rig.store.allowed.set()
    await asyncio.gather(first, blocked, waiting)
    assert len(rig.shell.scheduler.world.runs) == 2

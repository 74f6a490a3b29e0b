"""The store: what is loaded is what was decided, whatever was the moment of the end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from hangar.core.v1.task_spec_pb2 import RunContext, TaskSpec
from services.common.db import reader_engine
from services.ledger.tables import ACTION, ACTION_INPUT, ACTION_OUTPUT, ATTEMPT, EVENT, GENERATION, RUN
from services.scheduler.convert import PHASE_NUMBER
from services.scheduler.core import effects as fx
from services.scheduler.core.model import PHASE_OF, TERMINAL_STATES, Phase, Snapshot, State
from services.scheduler.core.tests.ledger import MemoryLedger
from services.scheduler.core.tests.simulation import Simulation
from services.scheduler.core.tests.test_simulation import HOSTS, cold, mixed, tree, warm
from services.scheduler.documents import Document, Payloads
from services.scheduler.recorder import Recorder
from services.scheduler.specs import Spec, Specs
from services.scheduler.store import Store, Superseded

DOCUMENT = Document(b"{}", "", 2, "digest")


class ScriptedSpecs(Specs):
    """Definitions of the simulation: their serialisation is their digest."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, Spec] = {}

    def of(self, task) -> Spec:
        message = TaskSpec(name=task.name)
        return self.known.setdefault(task.digest, Spec(task.digest, task.digest.encode(), message, task))

    def add_serialised(self, serialised: bytes) -> Spec:
        return self.known[serialised.decode()]


class StoredLedger(MemoryLedger):
    """The simulation's ledger with a real one beside it: at every restart both must say the same."""

    def __init__(self, database: str) -> None:
        super().__init__()
        self.specs = ScriptedSpecs()
        self.store = Store(database)
        self.restarts = 0
        self._takeover()

    def _takeover(self) -> None:
        self.store.open(0)
        self.loaded = self.store.load(self.specs)
        self.recorder = Recorder(self.loaded.live, Payloads(0), self.loaded.next_ids)

    def apply(self, effect: fx.Effect) -> None:
        super().apply(effect)
        if isinstance(effect, fx.RunCreated):
            effect = replace(effect, context=RunContext())
        elif isinstance(effect, fx.ActionCreated):
            effect = replace(effect, spec=self.specs.of(effect.task), inputs=DOCUMENT)
        elif isinstance(effect, fx.ActionMoved) and effect.outputs is not None:
            effect = replace(effect, outputs=DOCUMENT)
        if isinstance(effect, fx.Persist):
            self.recorder.record(effect)

    def commit(self) -> None:
        """Writes what was applied."""
        recording = self.recorder.take()
        if not recording.rows.is_empty:
            self.store.commit(recording.rows)

    def snapshot(self) -> Snapshot:
        self.commit()
        self._takeover()
        self.restarts += 1
        loaded = self.loaded.snapshot
        assert comparable(loaded) == comparable(super().snapshot())
        return loaded


def comparable(snapshot: Snapshot) -> dict[str, object]:
    """A snapshot without the order of its lists and what the memory ledger does not keep."""
    return {
        "next": (
            snapshot.next_run_id,
            snapshot.next_action_id,
            snapshot.next_lease_id,
            snapshot.next_worker_id,
        ),
        "runs": sorted((replace(run, action_count=0) for run in snapshot.runs), key=lambda each: each.id),
        "actions": [
            replace(each, wait_reason="", children={}, live_children=0, lease_id=None)
            for each in sorted(snapshot.actions, key=lambda each: each.id)
        ],
        "ended": sorted(snapshot.ended_children),
        "leases": sorted(snapshot.leases, key=lambda each: each.id),
        "workers": [
            replace(each, started_at=0) for each in sorted(snapshot.workers, key=lambda each: each.id)
        ],
        "tasks": snapshot.pool_tasks,
        "nodes": sorted(snapshot.nodes, key=lambda each: each.name),
    }


def assert_consistent(database: str) -> int:
    """Checks the ledger's invariants. Returns the number of actions."""
    engine = reader_engine(database)
    with engine.connect() as connection:
        counters = connection.execute(select(GENERATION)).one()
        found = connection.execute(select(ACTION)).all()
        newest = dict(
            connection.execute(
                select(EVENT.c.action_id, EVENT.c.phase).where(
                    EVENT.c.cursor.in_(select(func.max(EVENT.c.cursor)).group_by(EVENT.c.action_id))
                )
            ).all()
        )
        inputs = set(connection.scalars(select(ACTION_INPUT.c.action_id)))
        outputs = set(connection.scalars(select(ACTION_OUTPUT.c.action_id)))
        open_leases = list(
            connection.scalars(select(ATTEMPT.c.action_id).where(ATTEMPT.c.ended_at.is_(None)))
        )
        counts: dict[int, int] = dict(
            connection.execute(select(ATTEMPT.c.action_id, func.count()).group_by(ATTEMPT.c.action_id)).all()
        )
        ids = [connection.scalar(select(func.max(table.c.id))) or 0 for table in (RUN, ACTION, ATTEMPT)]
        cursors = [
            connection.scalar(select(func.max(column))) or 0
            for column in (EVENT.c.cursor, ATTEMPT.c.ended_cursor)
        ]
        for run in connection.execute(select(RUN)).all():
            mine = [each for each in found if each.run_id == run.id]
            assert run.action_count == len(mine)
            assert sorted(each.sequence for each in mine) == list(range(len(mine)))
            (root,) = [each for each in mine if each.id == run.root_id]
            assert (run.phase, run.ended_at) == (root.phase, root.ended_at)
    engine.dispose()
    for each in found:
        state = State(each.state)
        assert newest[each.id] == each.phase, "the newest event shows the phase"
        assert each.phase in {PHASE_NUMBER[PHASE_OF[state]], PHASE_NUMBER[Phase.WAITING_FOR_RESOURCES]}
        assert (each.ended_at is not None) == (state in TERMINAL_STATES)
        assert (each.id in outputs) == (state is State.SUCCEEDED)
        assert counts.get(each.id, 0) == each.attempts
    leased = [
        each.id for each in found if State(each.state) in {State.ASSIGNED, State.RUNNING, State.ABORTING}
    ]
    assert sorted(open_leases) == sorted(leased)
    assert inputs == {each.id for each in found}
    assert counters.next_run_id > ids[0]
    assert counters.next_action_id > ids[1]
    assert counters.next_lease_id > ids[2]
    assert counters.next_cursor > max(cursors)
    return len(found)


@pytest.mark.parametrize("seed", range(8))
def test_restore_equals_state_under_faults(ledger_url: str, seed: int):
    """At every crash of a simulated system the ledger gives back exactly what was decided before."""
    sim = Simulation(seed, HOSTS["two" if seed % 3 else "one"], faults=0.05, doubling=0.1)
    ledger = StoredLedger(ledger_url)
    sim.ledger = ledger
    sim.submit("run", mixed() if seed % 2 else tree(warm if seed % 4 else cold, 2, 3))
    sim.run()
    ledger.commit()
    assert ledger.restarts > 0
    assert assert_consistent(ledger_url) == len(ledger.actions)
    ledger.store.close()


WRITER = """
import sys
from services.scheduler.core.tests.simulation import Simulation
from services.scheduler.core.tests.test_simulation import HOSTS, mixed
from services.scheduler.tests.test_store import StoredLedger

ledger = StoredLedger(sys.argv[1])
print("ready", flush=True)
applied = 0

class Committing:
    def __getattr__(self, name):
        return getattr(ledger, name)

    def apply(self, effect):
        global applied
        ledger.apply(effect)

sim = Simulation(1, HOSTS["two"])
sim.ledger = Committing()
feed = sim.feed

def committing(*events):
    feed(*events)
    ledger.commit()

sim.feed = committing
for number in range(100_000):
    sim.submit(f"run{number}", mixed(f"m{number}x"))
    sim.run()
    print("run", flush=True)
"""


@pytest.mark.parametrize("extra", [0, 1, 3])
def test_a_kill_in_the_middle_leaves_a_consistent_ledger(ledger_url: str, extra: int):
    """A writer that is killed with SIGKILL while it commits leaves whole transactions only."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, ledger_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    seen = process.stdout.readline()
    assert seen == b"ready\n", process.stderr.read()
    for _ in range(1 + extra):
        seen = process.stdout.readline()
        assert seen == b"run\n", process.stderr.read()
    before = time.monotonic_ns()
    while time.monotonic_ns() - before < 1_000_000 * (7 + 5 * extra):
        pass  # into the middle of the next run, wherever that is
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert assert_consistent(ledger_url) >= 11 * (1 + extra)
    store = Store(ledger_url)
    store.open(0)
    assert store.generation == 2
    loaded = store.load(FoundSpecs())
    assert len(loaded.live.actions) == len([each for each in loaded.snapshot.actions if each.is_live])
    store.close()


class FoundSpecs(ScriptedSpecs):
    """Definitions whose tasks do not matter."""

    def add_serialised(self, serialised: bytes) -> Spec:
        return Spec(serialised.decode(), serialised, TaskSpec(), cold("any"))


def test_an_older_generation_cannot_commit(ledger_url: str):
    """Once a second writer has opened the ledger, the first one's commits fail and change nothing."""
    old = StoredLedger(ledger_url)
    new = StoredLedger(ledger_url)
    sim = Simulation(1, HOSTS["one"])
    sim.ledger = old
    sim.submit("run", mixed())
    with pytest.raises(Superseded, match="generation 1, the ledger is at 2"):
        old.commit()
    with new.store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(RUN)) == 0
    old.store.close()
    new.store.close()


def test_a_repeated_commit_is_written_once(ledger_url: str):
    """A batch whose answer was lost is recognised when it is committed again."""
    ledger = StoredLedger(ledger_url)
    sim = Simulation(1, HOSTS["one"])
    sim.ledger = ledger
    sim.submit("run", mixed())
    rows = ledger.recorder.take().rows
    ledger.store.commit(rows)
    ledger.store._batch -= 1  # as if the answer had not arrived
    ledger.store.commit(rows)
    assert assert_consistent(ledger_url) == 1
    ledger.store.close()

import pytest
import sqlalchemy as sa

from hangar.core.v1.failure_pb2 import FailureKind
from hangar.core.v1.identifiers_pb2 import RunIdentifier
from hangar.core.v1.payload_pb2 import Payload
from hangar.core.v1.phase_pb2 import Phase
from hangar.core.v1.task_spec_pb2 import TaskSpec
from hangar.scheduler.v1.scheduler_service_pb2 import CreateRunRequest
from services.admin.tests.fake_scheduler import FakeScheduler
from services.common.db import reader_engine
from services.embedded.doctor import INVARIANTS, examine
from services.ledger import tables

RUN = RunIdentifier(project="default", domain="development", name="r")


@pytest.fixture
async def ledger(ledger_url):
    """A ledger with a run of three actions, in order."""
    scheduler = FakeScheduler(ledger_url)
    request = CreateRunRequest(run=RUN, task=TaskSpec(name="env.main"), inputs=Payload(inline=b"{}"))
    await scheduler.CreateRun(request, None)
    await scheduler.add_action(RUN, "one", parent="a0")
    await scheduler.add_action(RUN, "two", parent="a0")
    scheduler.add_attempt(RUN, "one", ended=True)
    scheduler.add_attempt(RUN, "two")
    await scheduler.move(RUN, "a0", Phase.PHASE_RUNNING)
    await scheduler.move(RUN, "one", Phase.PHASE_SUCCEEDED, outputs=Payload(inline=b"{}"))
    ids = dict.fromkeys(
        ("next_run_id", "next_action_id", "next_lease_id", "next_worker_id", "next_cursor"), 10**6
    )
    with scheduler.engine.begin() as connection:
        row = {"id": 1, "number": 1, "started_at": 0, "batch": 0, **ids}
        connection.execute(tables.GENERATION.insert().values(**row))
        connection.execute(tables.WRITER.update().values(generation=1))
    yield scheduler
    scheduler.close()


def look(database):
    """Returns what is found, as a reader of a live ledger."""
    engine = reader_engine(database)
    try:
        with engine.connect() as connection:
            return {each.claim: each.count for each in examine(connection) if each.count}
    finally:
        engine.dispose()


def test_a_ledger_in_order_has_no_findings(ledger, ledger_url):
    """What the writer leaves in any moment is in order."""
    assert look(ledger_url) == {}


BREAKS = [
    ("the phase, start and end", "UPDATE run SET phase = 7"),
    ("a run counts", "UPDATE run SET action_count = 9"),
    ("actions of a run are numbered", "UPDATE action SET sequence = 9 WHERE name = 'two'"),
    ("an action has ended exactly", "UPDATE action SET ended_at = NULL WHERE name = 'one'"),
    (
        "nothing but what is being stopped",
        "UPDATE action SET phase = 7, ended_at = 1, failure_kind = 1 WHERE name = 'a0'",
    ),
    ("every action but the root", "UPDATE action SET parent_id = NULL WHERE name = 'two'"),
    (
        "an action has one live attempt",
        "UPDATE attempt SET action_id = (SELECT id FROM action WHERE name = 'two'), ended_at = NULL",
    ),
    ("an action that has ended", "UPDATE attempt SET ended_at = NULL"),
    ("attempts of an action", "UPDATE attempt SET number = 1"),
    ("no lease, worker or cursor", "UPDATE generation SET next_lease_id = 1"),
    ("the newest event", "UPDATE event SET phase = 9"),
    ("a run knows the cursor", "UPDATE run SET cursor = 1"),
    ("every action has inputs", "DELETE FROM action_output"),
    ("an action that failed", "UPDATE action SET phase = 7, ended_at = 1 WHERE name = 'two'"),
    ("the ledger has one writer", "UPDATE writer SET generation = 7"),
    ("every task that is named", "DELETE FROM task_spec"),
]


@pytest.mark.parametrize(("claim", "damage"), BREAKS, ids=[claim for claim, _ in BREAKS])
def test_each_kind_of_damage_is_found(ledger, ledger_url, claim, damage):
    """Every invariant that is broken on purpose is reported."""
    with ledger.engine.begin() as connection:
        connection.execute(sa.text(damage))
    assert any(each.startswith(claim) for each in look(ledger_url))


def test_all_invariants_are_tested():
    """No invariant is without a test that breaks it."""
    assert {claim for claim, _ in BREAKS} == {
        next(claim for claim, _ in BREAKS if each.claim.startswith(claim)) for each in INVARIANTS
    }
    assert len(BREAKS) == len(INVARIANTS)
    assert FailureKind.FAILURE_KIND_USER == 1

"""Queries: filters and pages."""

from __future__ import annotations

from datetime import UTC

import pytest

from hangar.core.v1.task_spec_pb2 import Notification, RunContext
from services.common.db import migrate, reader_engine, writer_engine
from services.ledger import migrations
from services.ledger.queries import actions, attempts, events, notifications, recovery, runs
from services.ledger.queries.actions import ActionFilter, LineageRecord
from services.ledger.queries.runs import RunFilter, RunOrder
from services.ledger.tables import ACTION, ATTEMPT, EVENT, LINEAGE, NOTIFICATION, RUN, RUN_LABEL, TASK_SPEC
from services.ledger.timestamps import from_micros, to_micros

FAILED = {
    "failure_kind": 1,
    "failure_code": "ValueError",
    "failure_message": "no",
    "failure_traceback": "tb",
    "failure_non_recoverable": True,
    "failure_worker": "7",
}
FINE = dict.fromkeys(FAILED, "") | {"failure_kind": 0, "failure_non_recoverable": False}


def run_row(number: int) -> dict[str, object]:
    """A run; every third one failed, every second one has a label."""
    failed = number % 3 == 0
    return {
        "id": number,
        "project": "p",
        "domain": "d" if number < 20 else "other",
        "name": f"run{number}",
        "request_digest": "",
        "spec_digest": "digest",
        "root_id": 10 * number,
        "task_name": f"env.task{number % 2}",
        "task_version": "v1" if number < 10 else "v2",
        "phase": 7 if failed else 6,
        "created_at": 1000 + number,
        "labels": {"even": "yes", "n": str(number)} if number % 2 == 0 else {},
        "env_vars": {},
        "trace_id": "ab" * 16,
        "parent_span_id": "",
        "abort_reason": "",
        "action_count": 1,
        "cursor": 100 - number,
        "ended_at": 5000,
        **(FAILED if failed else FINE),
    }


def action_row(action_id: int, run_id: int, sequence: int, **changes: object) -> dict[str, object]:
    """An action."""
    return {
        "id": action_id,
        "run_id": run_id,
        "name": "a0" if sequence == 0 else f"child{sequence}",
        "key": "key",
        "parent_id": None if sequence == 0 else action_id - sequence,
        "depth": 0,
        "sequence": sequence,
        "task_name": "env.task",
        "spec_digest": "digest",
        "group_name": "",
        "phase": 6,
        "state": "succeeded",
        "wait_reason": "",
        "created_at": 1000,
        "abort_reason": "",
        "attempts": 1,
        **FINE,
        **changes,
    }


@pytest.fixture
def connection(ledger_url):
    """A ledger of 25 runs; the first has ten children, of which the third came from the second."""
    writer = writer_engine(ledger_url)
    migrate(writer, migrations)
    rows = [run_row(number) for number in range(1, 26)]
    with writer.begin() as connection:
        connection.execute(
            TASK_SPEC.insert().values(
                digest="digest", spec=b"", name="env.task", short_name="task", created_at=0
            )
        )
        connection.execute(RUN.insert(), rows)
        labels = [
            {"run_id": row["id"], "key": key, "value": value}
            for row in rows
            for key, value in row["labels"].items()  # type: ignore[attr-defined]
        ]
        connection.execute(RUN_LABEL.insert(), labels)
        failure = {3: FAILED | {"phase": 7}}
        found = [action_row(10 + each, 1, each, **failure.get(each, {})) for each in range(11)]
        found += [
            action_row(10 * number, number, 0, **(FAILED if number % 3 == 0 else FINE))
            for number in range(3, 26)
        ]
        found.append(action_row(1000, 2, 0))
        connection.execute(ACTION.insert(), found)
        connection.execute(LINEAGE.insert().values(action_id=13, input="x", source="child2"))
        connection.execute(
            EVENT.insert(),
            [
                {
                    "cursor": cursor,
                    "run_id": 1,
                    "action_id": 10 + cursor % 5,
                    "phase": 4,
                    "attempt": 0,
                    "occurred_at": cursor,
                    "detail": "",
                }
                for cursor in range(1, 31)
            ],
        )
        newest = {"cursor": 93, "run_id": 7, "action_id": 70, "phase": 6, "attempt": 0, "detail": ""}
        connection.execute(EVENT.insert().values(**newest, occurred_at=6000))
        connection.execute(
            ATTEMPT.insert(),
            [
                {
                    "id": 50 + number,
                    "action_id": 13,
                    "number": number,
                    "phase": 7,
                    "assigned_at": 1,
                    "pool_key": "",
                    **(FAILED if number == 0 else FINE),
                }
                for number in range(2)
            ],
        )
    writer.dispose()
    reader = reader_engine(ledger_url)
    with reader.connect() as connection:
        yield connection
    reader.dispose()


def pages(connection, limit: int, filter: RunFilter, order: RunOrder = runs.NEWEST_FIRST) -> list[str]:
    """The names of all runs, page by page."""
    names: list[str] = []
    last: int | None = None
    while page := runs.list_runs(
        connection, "p", "d", filter=filter, order=order, after_key=last, limit=limit
    ):
        assert len(page) <= limit
        names += [each.name for each in page]
        last = order.key(page[-1])
    return names


@pytest.mark.parametrize("limit", [1, 4, 100])
@pytest.mark.parametrize(
    ("filter", "numbers"),
    [
        (RunFilter(), range(1, 20)),
        (RunFilter(phases=[7]), range(3, 20, 3)),
        (RunFilter(task_name="env.task1"), range(1, 20, 2)),
        (RunFilter(task_version="v2"), range(10, 20)),
        (RunFilter(created_after=1005, created_before=1008), range(5, 8)),
        (RunFilter(labels={"even": "yes"}), range(2, 20, 2)),
        (RunFilter(labels={"even": "yes", "n": "4"}), [4]),
        (RunFilter(labels={"even": "no"}), []),
    ],
)
def test_pages_of_runs_join_up(connection, limit: int, filter: RunFilter, numbers):
    """Pages of any size give every run of the project, domain and filter once, newest first."""
    assert pages(connection, limit, filter) == [f"run{number}" for number in reversed(numbers)]


@pytest.mark.parametrize("limit", [1, 4, 100])
def test_runs_are_sorted_by_creation_or_change(connection, limit: int):
    """Both ways, in pages of any size; the fixture's older runs changed last."""
    oldest_first = [f"run{number}" for number in range(1, 20)]
    assert pages(connection, limit, RunFilter(), RunOrder(descending=False)) == oldest_first
    assert pages(connection, limit, RunFilter(), RunOrder(by_change=True)) == oldest_first
    assert (
        pages(connection, limit, RunFilter(), RunOrder(by_change=True, descending=False))
        == oldest_first[::-1]
    )


def test_runs_are_filtered_by_their_newest_change(connection):
    """The time of the newest event counts, however long ago a run was created."""
    assert pages(connection, 2, RunFilter(updated_after=6000, updated_before=6001)) == ["run7"]
    assert pages(connection, 2, RunFilter(updated_after=6001)) == []
    assert "run7" not in pages(connection, 100, RunFilter(updated_before=6000))


def test_runs_changed_since_go_by_their_cursor(connection):
    """Only runs with newer events are returned, oldest change first."""
    changed = runs.runs_changed_since(connection, "p", "d", 95, limit=10)
    assert [each.name for each in changed] == ["run4", "run3", "run2", "run1"]
    changed = runs.runs_changed_since(connection, "p", "d", 95, filter=RunFilter(phases=[7]))
    assert [(each.name, each.failure.code) for each in changed if each.failure] == [("run3", "ValueError")]


def test_get_run_by_name(connection):
    """A run is found by its full name only."""
    found = runs.get_run(connection, "p", "d", "run4")
    assert found is not None
    assert (found.id, dict(found.labels), found.failure) == (4, {"even": "yes", "n": "4"}, None)
    assert runs.get_run(connection, "p", "other", "run4") is None


def test_pages_of_actions_join_up(connection):
    """Pages of actions follow the order of enqueueing and carry parents, lineage and failures."""
    first = actions.list_actions(connection, 1, limit=6)
    rest = actions.list_actions(connection, 1, limit=6, after_sequence=first[-1].sequence)
    found = [*first, *rest]
    assert [each.sequence for each in found] == list(range(11))
    assert [each.parent for each in found] == ["", *["a0"] * 10]
    assert found[3].lineage == (LineageRecord("x", "child2"),)
    assert found[3].failure is not None
    assert found[3].failure.non_recoverable is True
    assert found[4].short_name == "task"
    assert [each.name for each in actions.list_actions(connection, 1, filter=ActionFilter(phases=[7]))] == [
        "child3"
    ]
    assert len(actions.list_actions(connection, 1, filter=ActionFilter(parent="a0"))) == 10
    one = actions.get_action(connection, 1, "child3")
    assert one == found[3]
    assert actions.get_action(connection, 2, "child3") is None


def test_actions_changed_since_end_where_the_events_end(connection):
    """Changes come in steps of events; the cursor of each step leads to the next until all are seen."""
    cursor, seen, steps = 0, set(), 0
    while True:
        changes = actions.actions_changed_since(connection, 1, cursor, limit=8)
        seen |= {each.id for each in changes.actions}
        cursor, steps = changes.cursor, steps + 1
        if changes.complete:
            break
    assert (cursor, seen, steps) == (30, {10, 11, 12, 13, 14}, 4)
    assert actions.actions_changed_since(connection, 1, 30).actions == []
    assert {each.id for each in actions.actions_changed_since(connection, 1, 28).actions} == {14, 10}


def test_changes_of_named_actions_leave_the_others_out(connection):
    """Who waits for the root action is not shown, and does not read, what happens to its children."""
    only_root = actions.ActionFilter(names=["a0"])
    changes = actions.actions_changed_since(connection, 1, 0, filter=only_root)
    assert [each.name for each in changes.actions] == ["a0"]
    assert actions.actions_changed_since(connection, 1, changes.cursor, filter=only_root).actions == []
    assert [each.name for each in actions.list_actions(connection, 1, filter=only_root)] == ["a0"]


def test_attempts_are_found_by_number(connection):
    """The newest attempt is the default; all are listed oldest first."""
    listed = attempts.list_attempts(connection, 13)
    assert [(each.number, each.failure is None) for each in listed] == [(0, False), (1, True)]
    assert attempts.get_attempt(connection, 13) == listed[1]
    assert attempts.get_attempt(connection, 13, 0) == listed[0]
    assert attempts.get_attempt(connection, 13, 2) is None


def test_events_after_a_cursor(connection):
    """Events are listed in order after a cursor, with the names of run and action."""
    listed = events.list_events(connection, 27, limit=2)
    assert [(each.cursor, each.run, each.action) for each in listed] == [
        (28, "run1", "child3"),
        (29, "run1", "child4"),
    ]
    assert events.last_cursor(connection) == 93
    assert [each.cursor for each in events.list_action_events(connection, 10)] == [5, 10, 15, 20, 25, 30]


def test_times_survive_storage():
    """A stored time comes back in UTC to the microsecond; one without a time zone is refused."""
    moment = from_micros(1_700_000_000_123_456)
    assert (to_micros(moment), moment.tzinfo) == (1_700_000_000_123_456, UTC)
    with pytest.raises(ValueError, match="has no time zone"):
        to_micros(moment.replace(tzinfo=None))


def test_what_succeeded_is_found_along_the_chain_of_recovered_runs(connection, ledger_url):
    """The nearest run of the chain that has a success under a key wins, also when that was a later incarnation."""
    writer = writer_engine(ledger_url)
    rows = [
        action_row(2001, 3, 1, name="k1"),
        action_row(2002, 3, 2, name="k2", **(FAILED | {"phase": 7})),
        action_row(2003, 3, 3, name="k2-2"),
        action_row(2004, 3, 4, name="k3", **(FAILED | {"phase": 7})),
        action_row(2005, 4, 1, name="k1"),
    ]
    with writer.begin() as changing:
        for row in rows:
            changing.execute(ACTION.insert().values(**row))
        changing.execute(RUN.update().where(RUN.c.id == 4).values(recovers=3))
    writer.dispose()
    assert recovery.recovered_runs(connection, 4) == (4, 3)
    assert recovery.recovered_runs(connection, None) == ()
    found = recovery.succeeded_actions(connection, (4, 3), ["k1", "k2", "k3", "k4"])
    assert found == {"k1": 2005, "k2": 2003}


def test_notifications_that_are_due_come_with_their_run(connection, ledger_url):
    """Those that wait longest come first, with whom to tell and what failed; ended and later ones do not."""
    settings = RunContext(notifications=[Notification(url="http://a"), Notification(url="http://b")])
    row = {"run_id": 3, "phase": 7, "occurred_at": 5, "tries": 1, "error": ""}
    writer = writer_engine(ledger_url)
    with writer.begin() as changing:
        changing.execute(RUN.update().where(RUN.c.id == 3).values(settings=settings.SerializeToString()))
        for cursor, number, due_at, ended_at in (
            (7, 0, 30, None),
            (7, 1, 20, None),
            (8, 0, 99, None),
            (6, 0, 1, 2),
        ):
            changing.execute(
                NOTIFICATION.insert().values(
                    cursor=cursor, number=number, due_at=due_at, ended_at=ended_at, **row
                )
            )
    writer.dispose()
    due = notifications.due_notifications(connection, 50, 10)
    assert [(each.key, each.notification.url, each.run) for each in due] == [
        ((7, 1), "http://b", "run3"),
        ((7, 0), "http://a", "run3"),
    ]
    assert due[0].failure is not None
    assert due[0].failure.code == "ValueError"


def test_settings_of_runs_that_are_older_than_their_column(connection):
    """What such a run was started with is put together from the columns that it has."""
    run = runs.get_run(connection, "p", "d", "run2")
    assert run is not None
    assert (dict(run.context.labels), run.recovered_from) == ({"even": "yes", "n": "2"}, "")

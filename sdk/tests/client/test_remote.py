"""What `flyte.remote` lists and shows: runs, actions, logs, projects."""

from __future__ import annotations

import re
import threading
from datetime import datetime, timezone

import pytest

import flyte
from flyte.models import ActionPhase
from flyte.remote import Action, Project, Run, TimeFilter

TASKS = """
    import flyte
    env = flyte.TaskEnvironment(name="my_env")

    @env.task
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    @env.task
    def nothing() -> None:
        return None
"""


@pytest.fixture
def tasks(admin, user_module):
    """User code, with the SDK connected to the backend."""
    flyte.init(endpoint=admin.endpoint, insecure=True, project="default")
    return user_module("remote_tasks", TASKS)


def finish(admin, run, outputs=b'{"o0":null}'):
    """Ends a run with success."""
    admin.change(lambda: admin.succeed(admin.runs[run.name], outputs))


def test_listing_filters_and_pages(admin, tasks):
    """Lists come newest first, filtered, over pages, up to the limit."""
    runs = [flyte.run(tasks.nothing) for _ in range(5)]
    finish(admin, runs[0])
    assert [run.name for run in Run.listall()] == [run.name for run in reversed(runs)]
    assert [run.name for run in Run.listall(in_phase="succeeded")] == [runs[0].name]
    assert len(list(Run.listall(limit=2))) == 2
    assert list(Run.listall(task_name="other")) == []
    with pytest.raises(ValueError, match="'nope' does not exist"):
        list(Run.listall(in_phase="nope"))


def test_listing_sorts_and_takes_ranges_of_times(admin, tasks):
    """Ranges and orders are in the request; those without a meaning are refused before anything is sent."""
    early, late = datetime(2026, 1, 1, tzinfo=timezone.utc), datetime(2026, 2, 1, tzinfo=timezone.utc)
    list(
        Run.listall(
            sort_by=("updated_at", "desc"), created_at=(early, None), updated_at=TimeFilter(before=late)
        )
    )
    request = admin.listed[-1]
    assert (request.order_by, request.filter.HasField("created_before")) == ("updated_at desc", False)
    assert request.filter.created_after.ToDatetime(tzinfo=timezone.utc) == early
    assert request.filter.updated_before.ToDatetime(tzinfo=timezone.utc) == late
    list(Run.listall(sort_by=("created_at", "asc")))
    assert admin.listed[-1].order_by == "created_at"
    for wrong, message in (
        ({"sort_by": ("name", "asc")}, "sort_by"),
        ({"sort_by": ("created_at", "up")}, "sort_by"),
        ({"created_at": "today"}, "created_at='today'"),
        ({"updated_at": ("today", None)}, "after='today'"),
        ({"created_at": (early, late), "created_after": early}, "leave them out"),
        ({"created_by_subject": "me"}, "created_by_subject"),
        ({"limit": 0}, "limit=0 must be at least 1"),
        ({"limit": -1}, "limit=-1 must be at least 1"),
        ({"limit": "5"}, "limit must be an integer, not '5'"),
    ):
        with pytest.raises((TypeError, ValueError, flyte.errors.FeatureNotAvailableError), match=message):
            list(Run.listall(**wrong))
    assert len(admin.listed) == 2


def test_actions_of_a_run(admin, tasks):
    """Actions are listed, found, watched and aborted."""
    run = flyte.run(tasks.nothing)
    fake = admin.runs[run.name]
    admin.change(lambda: admin.add_child(fake, "child1", "my_env.step"))
    names = [(action.name, action.parent) for action in Action.listall(for_run_name=run.name)]
    assert names == [("a0", None), ("child1", "a0")]
    child = Action.get(run_name=run.name, name="child1")
    assert child.abort("enough") is True
    child.wait(quiet=True)
    assert child.phase is ActionPhase.ABORTED
    assert admin.aborts == ["enough"]
    details = run.details()
    assert [attempt.node for attempt in details.action_details.attempts] == ["laptop"]
    moves = details.action_details.phase_transitions
    assert moves[0].phase is ActionPhase.QUEUED
    assert [move.time for move in moves] == sorted(move.time for move in moves)


def test_logs_are_shown_and_followed(admin, tasks, capsys):
    """The last lines are printed; following goes on until the end."""
    run = flyte.run(tasks.nothing)
    fake = admin.runs[run.name]
    admin.change(lambda: fake.lines.extend(["one", "two", "three"]))
    run.show_logs(max_lines=2)
    assert capsys.readouterr().out == "two\nthree\n"
    run.show_logs(max_lines=1, raw=False)
    assert re.fullmatch(r"\d\d:\d\d:\d\d │ three\n", capsys.readouterr().out)
    with pytest.raises(flyte.errors.FeatureNotAvailableError, match=r"show_logs\(filter_system=False\)"):
        run.show_logs(filter_system=False)

    def write_more():
        admin.change(lambda: fake.lines.append("four"))
        finish(admin, run)

    threading.Timer(0.05, write_more).start()
    assert [line.text for line in run.get_logs(follow=True)] == ["one", "two", "three", "four"]
    assert all(line.time <= datetime.now(timezone.utc) for line in run.get_logs())


def test_projects_are_created_listed_and_changed(admin, tasks):
    """A project can be made, renamed and archived."""
    project = Project.create("demo", "Demo")
    assert [found.id for found in Project.listall()] == ["default", "demo"]
    assert project.update(name="The demo").name == "The demo"
    project.archive()
    assert [found.id for found in Project.listall()] == ["default"]
    with pytest.raises(flyte.errors.RuntimeUserError, match="exists already"):
        Project.create("demo")

"""The tree that a terminal shows while a run goes on."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from rich.console import Console

from flyte._initialize import Session
from flyte._marks import shown_duration
from flyte.cli._tree import ActionTree
from flyte.remote import Action
from hangar.admin.v1 import run_pb2
from hangar.core.v1 import failure_pb2, phase_pb2


def action(name, task, phase=phase_pb2.PHASE_SUCCEEDED, parent="", **fields):
    """An action as the backend sends it."""
    message = run_pb2.Action(task_name=task, short_name=task, phase=phase, parent=parent, **fields)
    message.id.name = name
    return Action(Session(), message)


def drawn(tree):
    """The lines of a tree."""
    console = Console(file=io.StringIO(), width=80, height=30)
    console.print(tree)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_children_are_below_their_parents():
    """Each action is a line with its mark, below the one that called it."""
    tree = ActionTree()
    tree.take((action("a0", "pipeline", phase_pb2.PHASE_RUNNING), action("b", "step_one", parent="a0")))
    tree.take((action("c", "step_two", phase_pb2.PHASE_QUEUED, parent="a0", wait_reason="no host is free"),))
    assert drawn(tree) == ["● pipeline", "├── ✓ step_one", "└── · step_two  no host is free"]


def test_many_equal_children_are_one_line():
    """More than fit are counted by phase; those that failed are still shown."""
    failure = failure_pb2.Failure(code="ValueError", message="bad")
    children = [action(f"c{n}", "step", parent="a0") for n in range(20)]
    children.append(action("bad", "step", phase_pb2.PHASE_FAILED, parent="a0", failure=failure))
    tree = ActionTree()
    tree.take((action("a0", "fan", phase_pb2.PHASE_RUNNING), *children))
    assert drawn(tree) == ["● fan", "└── step × 21  ✓ 20 ✗ 1", "    └── ✗ step  ValueError"]


def test_the_latest_state_counts():
    """An action that changed is drawn once, as it is now."""
    tree = ActionTree()
    tree.take((action("a0", "greet", phase_pb2.PHASE_RUNNING),))
    tree.take((action("a0", "greet"),))
    assert drawn(tree) == ["✓ greet"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0s"), (9.94, "9.9s"), (12.7, "12s"), (200, "3m 20s"), (7500, "2h 5m")]
)
def test_durations(seconds, text):
    """Durations are as people read them."""
    assert shown_duration(timedelta(seconds=seconds)) == text

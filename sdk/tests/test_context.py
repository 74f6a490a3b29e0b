"""The context of running code."""

from __future__ import annotations

import threading

import pytest

import flyte
from flyte._context import ActionID, TaskContext, current_controller, current_group, running


class NoController:
    """A controller that runs nothing."""

    async def submit(self, task, args, kwargs):
        """Unused."""
        raise AssertionError

    def submit_sync(self, task, args, kwargs):
        """Unused."""
        raise AssertionError


CONTEXT = TaskContext(ActionID("a0", "r1", "p", "d"), attempt_number=2, version="v")


def test_outside_a_task_there_is_no_context():
    """`flyte.ctx()` is None outside of a run."""
    assert flyte.ctx() is None
    assert current_controller() is None


def test_inside_a_task_everything_is_known_and_afterwards_forgotten():
    """Context and controller hold for what runs inside."""
    controller = NoController()
    with running(CONTEXT, controller):
        context = flyte.ctx()
        assert context is CONTEXT
        assert context.is_in_cluster()
        assert (context.action.run_name, context.attempt_number) == ("r1", 2)
        assert (flyte.current_project(), flyte.current_domain()) == ("p", "d")
        assert current_controller() is controller
    assert flyte.ctx() is None


@pytest.mark.parametrize(("process_wide", "seen"), [(True, CONTEXT), (False, None)])
def test_other_threads_see_a_process_wide_scope_only(process_wide, seen):
    """A thread without a copy of the context falls back to the process's scope, where there is one."""
    found = []
    with running(CONTEXT, NoController(), process_wide=process_wide):
        thread = threading.Thread(target=lambda: found.append(flyte.ctx()))
        thread.start()
        thread.join()
    assert found == [seen]


def test_groups_nest_and_start_anew_in_every_action():
    """The path of groups is that of the calling action."""
    with flyte.group("a"):
        with flyte.group("b"):
            assert current_group() == "a/b"
            with running(CONTEXT, NoController()):
                assert current_group() == ""
        assert current_group() == "a"
    assert current_group() == ""


@pytest.mark.parametrize(("name", "error"), [("", ValueError), ("a/b", ValueError), (3, TypeError)])
def test_wrong_group_names_are_refused(name, error):
    """A group's name is a non-empty string without a slash."""
    with pytest.raises(error, match="name of a group"), flyte.group(name):
        pass


def test_checkpoints_belong_to_a_running_task():
    """Outside of one there is nothing to save or to find."""
    with pytest.raises(
        flyte.errors.NotInTaskContextError, match=r"ctx\(\).checkpoint belongs to a running task"
    ):
        _ = CONTEXT.checkpoint

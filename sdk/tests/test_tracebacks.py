"""Tracebacks of user code, across processes."""

from __future__ import annotations

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flyte
from flyte._local import run_local
from flyte._tracebacks import user_text
from flyte.errors import RuntimeUserError, from_failure

REMOTE = """\
Traceback (most recent call last):
  File "/far/away/flow.py", line 3, in inner
    raise KeyError("first")
KeyError: 'first'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/far/away/flow.py", line 9, in task
    outer(x)
    ~~~~~^^^
  File "/far/away/flow.py", line 5, in outer
    raise flow.OwnError("two\\nlines")
flow.OwnError: two
lines
"""
CONTEXT = REMOTE.replace(
    "The above exception was the direct cause of the following exception",
    "During handling of the above exception, another exception occurred",
)
env = flyte.TaskEnvironment("tracebacks")


def printed(error):
    """As Python prints an exception."""
    return "".join(traceback.format_exception(error))


def failure(text):
    """An error that arrived with a traceback."""
    return from_failure("user", "OwnError", "two\nlines", user_traceback=text)


@pytest.mark.parametrize("text", [REMOTE, CONTEXT])
def test_remote_frames_are_below_those_of_the_caller(text):
    """One traceback: the line that asked for the result, then the task's frames with their source; causes are kept."""

    def asks():
        raise failure(text)

    with pytest.raises(RuntimeUserError) as caught:
        asks()
    shown = printed(caught.value)
    causes, _, own = shown.rpartition("Traceback (most recent call last):")
    assert causes == text.rpartition("Traceback (most recent call last):")[0]
    own_lines = own.splitlines()
    assert own_lines[-6:] == [
        '  File "/far/away/flow.py", line 9, in task',
        "    outer(x)",
        '  File "/far/away/flow.py", line 5, in outer',
        '    raise flow.OwnError("two\\nlines")',
        "flyte.errors.RuntimeUserError: two",
        "lines",
    ]
    assert "raise failure(text)" in own


def test_text_in_another_form_is_kept_as_it_is():
    """The traceback of an exception group, and what is no traceback at all, become the cause."""
    group = '  + Exception Group Traceback (most recent call last):\n  |   File "x", line 1, in f\n'
    for text in (group, "Traceback (most recent call last):"):
        assert text.strip() in printed(failure(text))


@given(st.text())
def test_no_text_breaks_an_error(text):
    """Whatever arrives, the error is an error that can be shown."""
    assert "two" in printed(failure(text))
    assert "two" in printed(failure(f"{REMOTE}{text}"))


def test_a_text_that_is_read_and_written_again_stays_the_same():
    """Through as many parents as there are."""

    def raised(error):
        try:
            raise error
        except RuntimeUserError as caught:
            return user_text(caught)

    first = raised(failure(REMOTE))
    again = from_failure("user", "OwnError", "two\nlines", user_traceback=first)
    assert user_text(again) == first
    assert first.count("line 9, in task") == first.count("KeyError: 'first'") == 1


@env.task
def fails(x: int) -> int:
    """Raises with a cause."""
    try:
        return {}[x]
    except KeyError as error:
        raise ValueError("no such number") from error


@env.task
async def middle(x: int) -> int:
    """Lets its child's error through."""
    return await fails.aio(x)


@env.task
def top(x: int) -> int:
    """Lets it through, too."""
    return run_child(x)


def run_child(x):
    """A function between two tasks."""
    return sum(flyte.map(middle, [x], return_exceptions=False))


def test_every_task_on_the_way_is_in_the_traceback():
    """From the caller through all parents to the line that failed, without a frame of the SDK in between."""
    with pytest.raises(RuntimeUserError) as caught:
        run_local(top, 7).result()
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[0] == "test_every_task_on_the_way_is_in_the_traceback"
    assert frames[-4:] == ["top", "run_child", "middle", "fails"]
    assert len(frames) <= 6
    assert isinstance(caught.value.__cause__, KeyError)
    text = caught.value.user_traceback
    assert (
        text.index("in top") < text.index("in run_child") < text.index("in middle") < text.rindex("in fails")
    )
    assert flyte.__file__.rpartition("/")[0] not in text

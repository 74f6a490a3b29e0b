"""A task in a container that is tried again repeats no step."""

import pytest

from integration_tests.test_durability import test_a_task_that_is_tried_again_repeats_no_step as _repeats
from integration_tests.test_durability import user_of

__all__ = ["user_of"]


@pytest.mark.parametrize("kind", ["exit"])
def test_a_task_that_is_tried_again_repeats_no_step(backend, user_of, kind):
    """After `os._exit` in a container a task replays its children and traces, and finds its checkpoint."""
    _repeats(backend, user_of, kind)

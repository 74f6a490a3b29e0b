"""`kill -9` of every part but the engine, which has tests of its own."""

from integration_tests.test_kills import (
    test_a_client_that_waits_through_a_kill,
    test_a_worker_of_a_pool,
    test_a_worker_with_several_actions_in_it,
    test_one_of_two_processes_in_the_middle_of_a_fan_out,
    test_the_worker_of_a_parent,
    user_of,
)

__all__ = [
    "test_a_client_that_waits_through_a_kill",
    "test_a_worker_of_a_pool",
    "test_a_worker_with_several_actions_in_it",
    "test_one_of_two_processes_in_the_middle_of_a_fan_out",
    "test_the_worker_of_a_parent",
    "user_of",
]

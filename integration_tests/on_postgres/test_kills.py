"""`kill -9` of every part, with the services apart on PostgreSQL."""

from integration_tests.test_kills import (
    test_a_client_that_waits_through_a_kill,
    test_a_supervisor,
    test_a_worker_of_a_pool,
    test_a_worker_with_several_actions_in_it,
    test_one_of_two_processes_in_the_middle_of_a_fan_out,
    test_the_backend_in_the_middle_of_a_fan_out,
    test_the_worker_of_a_parent,
    test_workers_whose_backend_never_returns_end_by_themselves,
    user_of,
)

__all__ = [
    "test_a_client_that_waits_through_a_kill",
    "test_a_supervisor",
    "test_a_worker_of_a_pool",
    "test_a_worker_with_several_actions_in_it",
    "test_one_of_two_processes_in_the_middle_of_a_fan_out",
    "test_the_backend_in_the_middle_of_a_fan_out",
    "test_the_worker_of_a_parent",
    "test_workers_whose_backend_never_returns_end_by_themselves",
    "user_of",
]

"""Aborts, time limits and large values over restarts, with the services apart on PostgreSQL."""

from integration_tests.test_restarts import (
    own,
    test_a_clean_stop_in_the_middle_of_a_run,
    test_an_abort_survives_a_kill,
    test_an_abort_while_no_executor_is_there,
    test_time_limits_hold_over_a_restart,
    test_values_above_64_kib_over_a_kill,
)

__all__ = [
    "own",
    "test_a_clean_stop_in_the_middle_of_a_run",
    "test_an_abort_survives_a_kill",
    "test_an_abort_while_no_executor_is_there",
    "test_time_limits_hold_over_a_restart",
    "test_values_above_64_kib_over_a_kill",
]

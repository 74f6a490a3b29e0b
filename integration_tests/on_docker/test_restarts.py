"""Restarts beside other things."""

from integration_tests.test_restarts import (
    own,
    test_a_clean_stop_in_the_middle_of_a_run,
    test_time_limits_hold_over_a_restart,
    test_values_above_64_kib_over_a_kill,
)

__all__ = [
    "own",
    "test_a_clean_stop_in_the_middle_of_a_run",
    "test_time_limits_hold_over_a_restart",
    "test_values_above_64_kib_over_a_kill",
]

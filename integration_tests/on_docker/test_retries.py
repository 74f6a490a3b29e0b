"""Failures, retries, time and memory limits as containers bring them about."""

from integration_tests.test_retries import (
    notes,
    test_a_lost_parent_sees_recorded_failures_as_they_were,
    test_a_retried_parent_repeats_only_failed_children,
    test_abort_of_a_child_raises_in_its_parent,
    test_cancelling_a_call_aborts_the_child,
    test_failures_of_children_arrive_as_documented,
    user,
)

__all__ = [
    "notes",
    "test_a_lost_parent_sees_recorded_failures_as_they_were",
    "test_a_retried_parent_repeats_only_failed_children",
    "test_abort_of_a_child_raises_in_its_parent",
    "test_cancelling_a_call_aborts_the_child",
    "test_failures_of_children_arrive_as_documented",
    "user",
]

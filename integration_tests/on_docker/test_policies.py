"""Catch and retry with more memory, and recovery, with containers."""

from integration_tests.test_policies import (
    notes,
    test_recovery_repeats_nothing_that_succeeded,
    test_the_documented_program_recovers_from_too_little_memory,
    user,
)

__all__ = [
    "notes",
    "test_recovery_repeats_nothing_that_succeeded",
    "test_the_documented_program_recovers_from_too_little_memory",
    "user",
]

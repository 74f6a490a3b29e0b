"""The samples of the core concepts."""

from integration_tests.test_seed import (
    test_hello_of_the_minimal_environment,
    test_pipeline_is_one_run_of_three_actions,
)

__all__ = [
    "test_hello_of_the_minimal_environment",
    "test_pipeline_is_one_run_of_three_actions",
]

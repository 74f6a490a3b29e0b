"""The samples of the core concepts."""

from integration_tests.test_seed import (
    test_files_and_code_in_the_image,
    test_hello_of_the_minimal_environment,
    test_image_with_packages,
    test_pipeline_is_one_run_of_three_actions,
)

__all__ = [
    "test_files_and_code_in_the_image",
    "test_hello_of_the_minimal_environment",
    "test_image_with_packages",
    "test_pipeline_is_one_run_of_three_actions",
]

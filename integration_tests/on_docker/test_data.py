"""Files and directories through descriptors that containers of another user get."""

from integration_tests.test_data import (
    test_content_hashes_decide_about_cache_hits,
    test_files_and_directories_pass_between_client_and_tasks,
    test_forged_and_missing_references,
    user,
)

__all__ = [
    "test_content_hashes_decide_about_cache_hits",
    "test_files_and_directories_pass_between_client_and_tasks",
    "test_forged_and_missing_references",
    "user",
]

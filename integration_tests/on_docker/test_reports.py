"""Reports of tasks in containers, which have neither network nor a directory of the store."""

from integration_tests.test_reports import (
    test_a_report_grows_while_its_task_runs,
    test_each_attempt_keeps_its_report,
    test_what_a_killed_task_had_flushed,
)

__all__ = [
    "test_a_report_grows_while_its_task_runs",
    "test_each_attempt_keeps_its_report",
    "test_what_a_killed_task_had_flushed",
]

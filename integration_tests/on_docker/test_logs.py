"""What tasks write arrives, to the last byte, from containers too."""

from integration_tests.test_logs import (
    test_actions_in_one_process_do_not_mix_their_logs,
    test_async_tasks_and_many_lines,
    test_each_attempt_has_a_log_of_its_own,
    test_everything_that_a_task_and_its_processes_write,
)

__all__ = [
    "test_actions_in_one_process_do_not_mix_their_logs",
    "test_async_tasks_and_many_lines",
    "test_each_attempt_has_a_log_of_its_own",
    "test_everything_that_a_task_and_its_processes_write",
]

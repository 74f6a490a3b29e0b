"""Deployed tasks called from containers, which have no network."""

from integration_tests.test_deploy import library, test_tasks_of_other_code_are_called_by_name

__all__ = ["library", "test_tasks_of_other_code_are_called_by_name"]

"""Notebooks, with workers in containers."""

from integration_tests.test_notebook import notebook, test_cells_define_run_and_redefine_tasks

__all__ = ["notebook", "test_cells_define_run_and_redefine_tasks"]

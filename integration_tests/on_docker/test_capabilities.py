"""One program per capability, in containers."""

from integration_tests.test_capabilities import test_one_program_per_capability

__all__ = ["test_one_program_per_capability"]

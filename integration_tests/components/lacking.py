"""What happens when the machine lacks something that a test needs."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def lacking(reason: str) -> NoReturn:
    """Skips the test with the reason; in CI, where everything has to be there, fails instead."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI is set, so nothing is left out)", pytrace=False)
    pytest.skip(reason)

"""Backends of tests here are services apart on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from integration_tests.components.postgres import Postgres
from integration_tests.conftest import SETTINGS
from integration_tests.stack_backend import StackBackend

LEASE_SECONDS = "3"
"""A scheduler that was killed is replaced when its lease has lapsed: soon, here."""


@pytest.fixture(scope="module")
def new_backend(place: Path, environments: Path, postgres: Postgres) -> Callable[..., StackBackend]:
    """Makes services apart that do not run yet."""

    def new(name: str, settings: Mapping[str, str], *, apart: bool) -> StackBackend:
        given = {**SETTINGS, "HANGAR_SCHEDULER_LEASE_SECONDS": LEASE_SECONDS, **settings}
        return StackBackend(place / name, environments, given, postgres.url("apart"), apart=apart)

    return new

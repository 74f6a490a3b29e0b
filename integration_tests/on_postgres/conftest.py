"""Backends of tests here are services apart on PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration_tests.components.postgres import Postgres
from integration_tests.conftest import SETTINGS, check_no_orphans
from integration_tests.stack_backend import StackBackend

LEASE_SECONDS = "3"
"""A scheduler that was killed is replaced when its lease has lapsed: soon, here."""

_numbers = itertools.count()


@pytest.fixture
def make_backend(
    place: Path, environments: Path, closed: list[StackBackend], postgres: Postgres
) -> Iterator[Callable[..., StackBackend]]:
    """Makes and starts services apart; at the end their ledgers are in order, they have no orphan, and are closed."""
    made: list[StackBackend] = []

    def make(*, apart: bool = False, **settings: str) -> StackBackend:
        number = next(_numbers)
        url = postgres.url(f"apart{number}")
        given = {**SETTINGS, "HANGAR_SCHEDULER_LEASE_SECONDS": LEASE_SECONDS, **settings}
        stack = StackBackend(place / f"apart-{number}", environments, given, url, apart=apart)
        made.append(stack)
        closed.append(stack)
        stack.start()
        return stack

    yield make
    try:
        for stack in made:
            if stack.is_running:
                check_no_orphans(stack)
                stack.check_ledger()
    finally:
        for stack in made:
            stack.close()

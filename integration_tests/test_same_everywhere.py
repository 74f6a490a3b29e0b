"""The same programs in local mode and on a backend: the same outcomes, actions, phases, attempts and errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from integration_tests.backend import Backend
from integration_tests.conftest import MakeWorkspace

Observed = dict[str, Any]
PROGRAMS = [
    *("chain", "fan", "retries", "structures", "uncaught", "uncaught_sync", "retried_parent"),
    *(
        "retried_with_a_failing_child",
        "catches",
        "refuses",
        "caches",
        "cancels",
        "leaves_a_child_running",
        "maps",
    ),
    *("countdown", "too_slow", "traces", "backoff", "aborted"),
]
_observed: dict[str, tuple[Observed, Observed]] = {}


@pytest.fixture
def both(backend: Backend, make_workspace: MakeWorkspace) -> tuple[Observed, Observed]:
    """What was observed locally and on the backend, by program; every program runs once on each."""
    if str(backend.data) not in _observed:
        workspace = make_workspace(backend)
        for name in ("programs.py", "observe.py"):
            shutil.copy(Path(__file__).with_name(name), workspace.directory)
        found = []
        for mode in ("local", "remote"):
            file = workspace.directory / f"{mode}.json"
            workspace.python("observe.py", mode, file)
            found.append(json.loads(file.read_text()))
        _observed[str(backend.data)] = found[0], found[1]
    return _observed[str(backend.data)]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_ends_the_same_everywhere(both: tuple[Observed, Observed], program: str) -> None:
    """Outputs or error, and every action: name, parent, group, phase, cache, attempts, error class, code, traceback."""
    local, remote = both
    assert local[program] == remote[program]

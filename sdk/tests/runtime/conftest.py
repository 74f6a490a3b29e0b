"""A zygote for the tests of this directory, and a fresh worker for each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from host import Host, RunningWorker
from user_code import TASKS, THREADED


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A zygote with one module of user code."""
    if sys.platform != "linux":
        pytest.skip("workers of the process engine need Linux")
    made = Host(tmp_path_factory.mktemp("runtime"))
    made.module("tasks", TASKS)
    made.module("broken", "import nowhere_to_be_found\n")
    made.module("threaded", THREADED)
    (made.code / "data.txt").write_text("bundled")
    yield made
    made.close()


@pytest.fixture
def worker(host: Host) -> Iterator[RunningWorker]:
    """A worker that has connected."""
    made = host.launch()
    made.accept("worker")
    yield made
    made.close()

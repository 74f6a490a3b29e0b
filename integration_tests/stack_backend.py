"""Services apart with the surface of `Backend`, so that the same tests run on both."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from integration_tests.processes import lives
from integration_tests.stack import Stack

EXECUTOR = "executor"


class StackBackend(Stack):
    """The five services as processes of their own, on a PostgreSQL database.

    Args:
        place: Directory for everything of it.
        environments: Directory where environments of images are kept, shared with other backends.
        settings: Environment variables of every service.
        database: URL of the database.
        apart: True when `kill` spares the executor, as with a `Backend` whose executor is apart.
    """

    def __init__(
        self, place: Path, environments: Path, settings: Mapping[str, str], database: str, *, apart: bool
    ) -> None:
        super().__init__(place, environments, settings, database=database)
        self.apart = apart

    def kill(self, name: str = "") -> None:
        """`kill -9` of one service, or without a name of all; of all but the executor when that is apart."""
        for each in [name] if name else list(self._processes):
            if name or not (self.apart and each == EXECUTOR):
                super().kill(each)

    def kill_executor(self) -> None:
        """`kill -9` of the executor."""
        self.kill(EXECUTOR)

    def kill_worker(self, name: str) -> None:
        """`kill -9` of a worker by the name that it has for tasks."""
        os.kill(int(name), signal.SIGKILL)

    def worker_lives(self, name: str) -> bool:
        """True while a worker's process runs."""
        return lives(int(name))

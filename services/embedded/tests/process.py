"""The `hangar` command as a process, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from services.embedded.backend_file import BackendFile, read_backend_file

T = TypeVar("T")
DEADLINE = 90.0


def environment(data_dir: Path, **more: str) -> dict[str, str]:
    """Returns the environment of a process that knows nothing but its data directory."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("HANGAR_", "OTEL_"))}
    return {**plain, "HANGAR_DATA_DIR": str(data_dir), **more}


def command(*arguments: str) -> list[str]:
    """Returns the command line of `hangar`."""
    return [sys.executable, "-m", "services.embedded", *arguments]


def hangar(data_dir: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run(
        command(*arguments),
        env=environment(data_dir, **more),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def until(question: Callable[[], T | None]) -> T:
    """Returns the first answer that is not None."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        answer = question()
        if answer is not None:
            return answer
        time.sleep(0.02)
    raise TimeoutError("no answer in time")


class HangarProcess:
    """A `hangar` command that runs on. It is killed at the end of the `with` block when it still runs."""

    def __init__(self, data_dir: Path, *arguments: str, **more: str) -> None:
        self._data_dir = data_dir
        self._process = subprocess.Popen(
            command(*arguments),
            env=environment(data_dir, **more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> HangarProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def ready(self) -> BackendFile:
        """Waits until the backend has written where it is."""

        def look() -> BackendFile | None:
            if self._process.poll() is not None:
                raise AssertionError(
                    f"it ended: {self._process.stdout.read() if self._process.stdout else ''}"
                )
            file = read_backend_file(self._data_dir)
            return file if file and file.pid == self._process.pid else None

        return until(look)

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Sends a signal, and returns exit code and output."""
        self._process.send_signal(number)
        output, _ = self._process.communicate(timeout=DEADLINE)
        return self._process.returncode, output

"""The embedded backend: found by its file, started when it does not run, stopped on request."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from flyte import errors
from flyte._client._addresses import BackendFile, data_directory, read_backend_file
from flyte._client._channel import Endpoint
from flyte._client._errors import UNAVAILABLE
from flyte._client._programs import STOP_SECONDS, Program, end, find_hangar, is_ours, process_exists


def _program(directory: Path) -> Program:
    return Program("The embedded backend", ("up",), directory, "BackendStartError", "up.log")


async def find_backend(directory: Path | None = None) -> BackendFile | None:
    """The embedded backend that runs and answers, None when there is none."""
    return await _program(directory or data_directory()).find()


def locate_backend() -> Endpoint | None:
    """Where the embedded backend says that it listens. It may have another port after a restart."""
    file = read_backend_file(data_directory())
    return Endpoint.parse(file.grpc, insecure=True) if file is not None else None


async def ensure_backend(say: Callable[[str], None] | None = None) -> BackendFile:
    """The embedded backend; starts it when it does not run.

    Args:
        say: Is told when a backend is started, with its address and how to stop it.

    Raises:
        flyte.errors.InitializationError: When ``hangar`` is not installed, or the backend does not start.
    """
    directory = data_directory()
    found = await find_backend(directory)
    return found or await start_backend(directory, say or say_to_stderr)


async def running_backend() -> BackendFile:
    """The embedded backend, which must run.

    Raises:
        flyte.errors.RuntimeSystemError: When it does not.
    """
    found = await find_backend()
    if found is None:
        raise errors.RuntimeSystemError(
            UNAVAILABLE,
            "The embedded backend does not run. Start it (`flyte start`), or name another one "
            "(`flyte create config --endpoint HOST:PORT`).",
        )
    return found


async def start_backend(directory: Path, say: Callable[[str], None]) -> BackendFile:
    """Starts the embedded backend detached from this process, and waits until it is ready.

    Raises:
        flyte.errors.InitializationError: As `ensure_backend`.
    """
    command = hangar_command()
    say(f"Starting the embedded backend (state in {directory}) …")
    found, seconds = await _program(directory).start(command)
    say(f"Embedded backend ready at {found.grpc} in {seconds:.1f} s ({found.http}). Stop it: flyte stop")
    return found


async def stop_backend(directory: Path | None = None, timeout: float = STOP_SECONDS) -> BackendFile | None:
    """Stops the embedded backend. Runs are kept and go on when it is started again.

    Returns:
        What was stopped, None when none ran.

    Raises:
        flyte.errors.RuntimeSystemError: When it does not end in time.
    """
    file = read_backend_file(directory or data_directory())
    if file is None or not process_exists(file.pid) or not await is_ours(file):
        return None
    if not await end(file, timeout):
        raise errors.RuntimeSystemError(
            "BackendStopError",
            f"The embedded backend (process {file.pid}) did not end within {timeout:.0f} s. Its log is "
            f"{data_directory() / 'logs' / 'backend.log'}. To end it the hard way, nothing is lost: "
            f"kill -9 {file.pid}",
        )
    return file


def hangar_command() -> str:
    """Path of the ``hangar`` command, next to this Python or on the path.

    Raises:
        flyte.errors.InitializationError: When it is not installed.
    """
    command = find_hangar()
    if command is None:
        raise errors.InitializationError(
            "BackendNotInstalledError",
            "There is no configuration, and the embedded backend is not installed. Either connect to "
            "a backend:\n"
            "    flyte create config --endpoint HOST:PORT\n"
            "or install the one for this machine, which then starts by itself:\n"
            "    pip install hangar\n"
            "Without any backend, `flyte run --local` runs tasks in this process.",
        )
    return command


def say_to_stderr(text: str) -> None:
    """Tells people of a process that was started."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the user has to know that a process was started

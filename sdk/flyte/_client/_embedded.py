"""The embedded backend: found by its file, started when it does not run, stopped on request."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import grpc
import grpc.aio

from flyte import errors
from flyte._client._addresses import BackendFile, data_directory, read_backend_file
from flyte._client._channel import Endpoint, open_channel
from flyte._client._errors import UNAVAILABLE

_HEALTH_CHECK = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse(status=SERVING)
_POLL_SECONDS = 0.05
_spawned: list[subprocess.Popen[bytes]] = []  # kept: what is dropped while it runs is warned about
START_SECONDS = 60.0
STOP_SECONDS = 30.0


async def find_backend(directory: Path | None = None) -> BackendFile | None:
    """The embedded backend that runs and answers, None when there is none."""
    file = read_backend_file(directory or data_directory())
    if file is None or not process_exists(file.pid) or not await is_serving(file.grpc):
        return None
    return file


def locate_backend() -> Endpoint | None:
    """Where the embedded backend says that it listens. It may have another port after a restart."""
    file = read_backend_file(data_directory())
    return Endpoint.parse(file.grpc, insecure=True) if file is not None else None


async def is_serving(address: str, timeout: float = 2.0) -> bool:
    """True when a backend at an address says that it is healthy."""
    channel = open_channel(Endpoint.parse(address, insecure=True))
    try:
        check = channel.unary_unary(_HEALTH_CHECK, request_serializer=bytes, response_deserializer=bytes)
        answer: bytes = await check(b"", timeout=timeout)
    except grpc.aio.AioRpcError:
        return False
    else:
        return answer == _SERVING
    finally:
        await channel.close(None)


async def ensure_backend(say: Callable[[str], None] | None = None) -> BackendFile:
    """The embedded backend; starts it when it does not run.

    Args:
        say: Is told when a backend is started, with its address and how to stop it.

    Raises:
        flyte.errors.InitializationError: When ``hangar`` is not installed, or the backend does not start.
    """
    directory = data_directory()
    found = await find_backend(directory)
    return found or await start_backend(directory, say or _say_to_stderr)


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


async def start_backend(
    directory: Path, say: Callable[[str], None], timeout: float = START_SECONDS
) -> BackendFile:
    """Starts the embedded backend detached from this process, and waits until it is ready.

    Raises:
        flyte.errors.InitializationError: As `ensure_backend`.
    """
    command = hangar_command()
    say(f"Starting the embedded backend (state in {directory}) …")
    process = _spawn(command, directory)
    began = time.monotonic()
    deadline = began + timeout
    while time.monotonic() < deadline:
        found = await find_backend(directory)
        if found is not None:
            seconds = time.monotonic() - began
            say(
                f"Embedded backend ready at {found.grpc} in {seconds:.1f} s ({found.http}). "
                "Stop it: flyte stop"
            )
            return found
        if process.poll() is not None:
            # Another process may have been quicker to start one: then the lock refused ours.
            deadline = min(deadline, time.monotonic() + 5.0)
            if not _may_be_starting(directory):
                break
        await asyncio.sleep(_POLL_SECONDS)
    raise errors.InitializationError(
        "BackendStartError", _why_not_started(directory, process.poll(), timeout)
    )


def _spawn(command: str, directory: Path) -> subprocess.Popen[bytes]:
    """Starts the backend as a process of its own session, which outlives this one."""
    environment = {**os.environ, "HANGAR_DATA_DIR": str(directory)}
    try:
        with _open_log(directory) as log:
            process = subprocess.Popen(
                [command, "up"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=directory,
                env=environment,
            )
    except OSError as error:
        raise errors.InitializationError(
            "BackendStartError", f"The embedded backend cannot be started with {command}: {error.strerror}."
        ) from None
    _spawned.append(process)
    return process


async def stop_backend(directory: Path | None = None, timeout: float = STOP_SECONDS) -> BackendFile | None:
    """Stops the embedded backend. Runs are kept and go on when it is started again.

    Returns:
        What was stopped, None when none ran.

    Raises:
        flyte.errors.RuntimeSystemError: When it does not end in time.
    """
    file = read_backend_file(directory or data_directory())
    if file is None or not process_exists(file.pid) or not await _is_backend(file):
        return None
    os.kill(file.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while process_exists(file.pid):
        if time.monotonic() > deadline:
            raise errors.RuntimeSystemError(
                "BackendStopError",
                f"The embedded backend (process {file.pid}) did not end within {timeout:.0f} s. Its log is "
                f"{data_directory() / 'logs' / 'backend.log'}. To end it the hard way, nothing is lost: "
                f"kill -9 {file.pid}",
            )
        await asyncio.sleep(_POLL_SECONDS)
    _spawned[:] = [process for process in _spawned if process.poll() is None]
    return file


def hangar_command() -> str:
    """Path of the ``hangar`` command, next to this Python or on the path.

    Raises:
        flyte.errors.InitializationError: When it is not installed.
    """
    beside = Path(sys.executable).parent / "hangar"
    command = str(beside) if beside.is_file() else shutil.which("hangar")
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


def process_exists(pid: int) -> bool:
    """True when a process lives. One that ended and waits for its parent to notice does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state != "Z"


async def _is_backend(file: BackendFile) -> bool:
    """Guards against a process identifier that was given to another program since."""
    if await is_serving(file.grpc):
        return True
    try:
        return b"hangar" in Path(f"/proc/{file.pid}/cmdline").read_bytes()
    except OSError:
        return False


def _may_be_starting(directory: Path) -> bool:
    file = read_backend_file(directory)
    return (directory / "lock").exists() and (file is None or process_exists(file.pid))


def _open_log(directory: Path) -> BinaryIO:
    try:
        (directory / "logs").mkdir(parents=True, exist_ok=True)
        return (directory / "logs" / "up.log").open("wb")
    except OSError as error:
        raise errors.InitializationError(
            "DataDirectoryError",
            f"The data directory {directory} of the embedded backend cannot be written: {error.strerror}. "
            "Set HANGAR_DATA_DIR to a directory that can.",
        ) from None


def _why_not_started(directory: Path, exit_code: int | None, timeout: float) -> str:
    path = directory / "logs" / "up.log"
    try:
        lines = path.read_text("utf-8", errors="replace").strip().splitlines()[-8:]
    except OSError:
        lines = []
    end = f"is not ready after {timeout:.0f} s" if exit_code is None else f"ended with exit code {exit_code}"
    said = "".join(f"\n    {line}" for line in lines)
    return f"The embedded backend {end}. It said (in {path}):{said or ' nothing'}"


def _say_to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the user has to know that a process was started

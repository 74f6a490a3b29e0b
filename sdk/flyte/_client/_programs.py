"""Programs of the platform on this machine: found by the file that they write, started detached from this process."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import grpc
import grpc.aio

from flyte import errors
from flyte._client._addresses import BackendFile, read_backend_file
from flyte._client._channel import Endpoint, open_channel

_HEALTH_CHECK = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse(status=SERVING)
POLL_SECONDS = 0.05
START_SECONDS = 60.0
STOP_SECONDS = 30.0
_spawned: list[subprocess.Popen[bytes]] = []  # kept: what is dropped while it runs is warned about


@dataclass(frozen=True)
class Program:
    """A program that serves out of a directory of its own.

    Attributes:
        title: What it is, at the beginning of a sentence.
        arguments: Words behind ``hangar``.
        directory: Its data directory.
        code: Code of the error that says that it does not start.
        log: Name of the file below `logs` that gets what it prints.
        settings: Environment variables that it gets beside those of this process.
        removed: Environment variables of this process that it does not get.
    """

    title: str
    arguments: tuple[str, ...]
    directory: Path
    code: str
    log: str
    settings: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()

    @property
    def log_path(self) -> Path:
        """The file that gets what it prints."""
        return self.directory / "logs" / self.log

    async def find(self) -> BackendFile | None:
        """Where it runs and answers, None when it does not."""
        file = read_backend_file(self.directory)
        if file is None or not process_exists(file.pid) or not await is_serving(file.grpc):
            return None
        return file

    async def start(self, command: str, timeout: float = START_SECONDS) -> tuple[BackendFile, float]:
        """Starts it, and waits until it is ready.

        Args:
            command: Path of ``hangar``.
            timeout: Seconds that it has.

        Returns:
            Where it runs, and the seconds that it took.

        Raises:
            flyte.errors.InitializationError: It does not start; the message has what it said.
        """
        process = self._spawn(command)
        began = time.monotonic()
        deadline = began + timeout
        while time.monotonic() < deadline:
            found = await self.find()
            if found is not None:
                return found, time.monotonic() - began
            if process.poll() is not None:
                # Another process may have been quicker to start one: then the lock refused ours.
                deadline = min(deadline, time.monotonic() + 5.0)
                if not self._may_be_starting():
                    break
            await asyncio.sleep(POLL_SECONDS)
        raise errors.InitializationError(self.code, self._why_not_started(process.poll(), timeout))

    def _spawn(self, command: str) -> subprocess.Popen[bytes]:
        """Starts it as a process of its own session, which outlives this one."""
        environment = {name: value for name, value in os.environ.items() if name not in self.removed}
        environment |= {"HANGAR_DATA_DIR": str(self.directory), **self.settings}
        try:
            with self._open_log() as log:
                process = subprocess.Popen(
                    [command, *self.arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    cwd=self.directory,
                    env=environment,
                )
        except OSError as error:
            raise errors.InitializationError(
                self.code, f"{self.title} cannot be started with {command}: {error.strerror}."
            ) from None
        _spawned.append(process)
        return process

    def _may_be_starting(self) -> bool:
        file = read_backend_file(self.directory)
        return (self.directory / "lock").exists() and (file is None or process_exists(file.pid))

    def _open_log(self) -> BinaryIO:
        prepare_directory(self.directory)
        try:
            self.log_path.parent.mkdir(exist_ok=True)
            return self.log_path.open("wb")
        except OSError as error:
            raise _unwritable(self.directory, error) from None

    def _why_not_started(self, exit_code: int | None, timeout: float) -> str:
        try:
            lines = self.log_path.read_text("utf-8", errors="replace").strip().splitlines()[-8:]
        except OSError:
            lines = []
        end = (
            f"is not ready after {timeout:.0f} s"
            if exit_code is None
            else f"ended with exit code {exit_code}"
        )
        said = "".join(f"\n    {line}" for line in lines)
        return f"{self.title} {end}. It said (in {self.log_path}):{said or ' nothing'}"


def prepare_directory(directory: Path) -> None:
    """Makes a data directory.

    Raises:
        flyte.errors.InitializationError: It cannot be made.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(directory, error) from None


def _unwritable(directory: Path, error: OSError) -> errors.InitializationError:
    return errors.InitializationError(
        "DataDirectoryError",
        f"The data directory {directory} cannot be written: {error.strerror}. Set HANGAR_DATA_DIR to a directory "
        "that can.",
    )


async def end(file: BackendFile, timeout: float) -> bool:
    """Asks a program to end, and waits for that. False when it does not within so many seconds."""
    with suppress(ProcessLookupError):
        os.kill(file.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while process_exists(file.pid):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    _spawned[:] = [process for process in _spawned if process.poll() is None]
    return True


def find_hangar() -> str | None:
    """Path of the ``hangar`` command, next to this Python or on the path; None when it is not installed."""
    beside = Path(sys.executable).parent / "hangar"
    return str(beside) if beside.is_file() else shutil.which("hangar")


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


async def is_ours(file: BackendFile) -> bool:
    """Guards against a process identifier that was given to another program since."""
    if await is_serving(file.grpc):
        return True
    try:
        return b"hangar" in Path(f"/proc/{file.pid}/cmdline").read_bytes()
    except OSError:
        return False


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

"""Backends as processes: start, wait until ready, memory, stop. Standard library and psutil only."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")
LOG_LINES = 20


@contextlib.contextmanager
def workspace(name: str) -> Iterator[tuple[Path, Path]]:
    """Give a folder that is removed afterwards, and a log file in it, whose end is shown after a failure."""
    with tempfile.TemporaryDirectory(prefix=name) as folder:
        log = Path(folder, "log")
        log.touch()
        try:
            yield Path(folder), log
        except BaseException:
            print(*log.read_text(errors="replace").splitlines()[-LOG_LINES:], sep="\n", file=sys.stderr)
            raise


@contextlib.contextmanager
def running(command: list[str], log: Path, environment: dict[str, str] | None = None) -> Iterator[int]:
    """Run a command in a process group of its own; end the whole group afterwards. Gives the process id."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], grace: float = 15) -> None:
    """Ask the process to end, then end its whole tree."""
    tree = [psutil.Process(process.pid), *family(process.pid)] if process.poll() is None else []
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(tree, timeout=5)
    for left in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()


def family(pid: int) -> list[psutil.Process]:
    """Return all descendants of a process."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def resident(pid: int, *, without: tuple[str, ...] = ()) -> float:
    """Return the resident memory, in MiB, of a process and its descendants.

    Those whose command contains one of the words in `without` do not count.
    """
    total = 0
    for process in [psutil.Process(pid), *family(pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            command = " ".join(process.cmdline())
            if not any(word in command for word in without):
                total += process.memory_info().rss
    return total / 2**20


def until(attempt: Callable[[], T | None], what: str, seconds: float = 60) -> T:
    """Call `attempt` until it returns something that is not None.

    Raises:
        TimeoutError: after `seconds` without an answer; says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := attempt()) is not None:
            return found
        time.sleep(0.01)
    raise TimeoutError(f"{what}: no answer within {seconds:.0f} s")


def accepts(port: int) -> bool | None:
    """Return True once something listens on a port of this machine, None before."""
    with socket.socket() as client:
        return True if client.connect_ex(("127.0.0.1", port)) == 0 else None


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


def first_line(command: list[str], environment: dict[str, str], log: Path, seconds: float = 120) -> float:
    """Return the seconds from starting a process until it printed its first line, then end it.

    Raises:
        RuntimeError: the process ended without a line.
    """
    with log.open("ab") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, **environment}
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        elapsed = time.perf_counter() - started
        if not line:
            raise RuntimeError(f"{' '.join(command)} printed nothing")
        process.wait(seconds)
        return elapsed
    finally:
        if process.poll() is None:
            stop(process)
        process.stdout.close()


def import_time(module: str) -> float:
    """Return how many milliseconds `import module` adds to the start of this interpreter: least of five."""

    def start(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    start(f"import {module}")
    return (min(start(f"import {module}") for _ in range(5)) - min(start("pass") for _ in range(5))) * 1000

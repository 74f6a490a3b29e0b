"""Plays the executor for workers of the process engine: listens for them and gives them code to run."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.executor import frames
from services.executor.engines.base import PreparedImage, WorkerResources, WorkerSpec

PATIENCE = 30.0
THIS_ENVIRONMENT = PreparedImage("tests", sys.prefix)
"""The environment that the tests run in has everything that a worker needs."""

CODE = """
import asyncio, os, signal, subprocess, sys, time
import flyte

env = flyte.TaskEnvironment(name="env")

@env.task
def leave(code: int) -> None:
    os._exit(code)

@env.task
def shoot(number: int) -> None:
    os.kill(os.getpid(), number)

@env.task
def eat(megabytes: int) -> int:
    pieces = []
    for _ in range(megabytes):
        pieces.append(bytearray(os.urandom(1024)) * 1024)
    return len(pieces)

@env.task
def daemon() -> int:
    '''Forks twice, as a daemon does, into a session of its own; gives the process id.'''
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            os.chdir("/")
            time.sleep(600)
            os._exit(0)
        os.write(writer, str(pid).encode())
        os._exit(0)
    os.wait()
    return int(os.read(reader, 100))

@env.task
def spawn(count: int) -> int:
    '''Starts processes until it is refused; gives how many there were.'''
    started = []
    try:
        for _ in range(count):
            pid = os.fork()
            if pid == 0:
                time.sleep(600)
                os._exit(0)
            started.append(pid)
    except OSError:
        return len(started)
    return len(started)

@env.task
def environ(name: str) -> str:
    return os.environ.get(name, "(not set)")

@env.task
def evaluate(expression: str) -> str:
    '''What an expression gives, or how it fails.'''
    try:
        return str(eval(expression))
    except Exception as error:
        return f"{type(error).__name__}: {error}"

@env.task
def write(path: str, megabytes: int) -> str:
    '''Writes a file; tells how that fails.'''
    try:
        with open(path, "wb") as file:
            for _ in range(megabytes):
                file.write(b"x" * 2**20)
        return "written"
    except OSError as error:
        return error.strerror

@env.task
def count(path: str) -> None:
    '''Writes numbers as fast as it can.'''
    number = 0
    while True:
        number += 1
        with open(path, "w") as file:
            file.write(str(number))
        time.sleep(0.002)
"""


class WorkerPeer:
    """The executor's side of one worker."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.connections: dict[str, asyncio.StreamWriter] = {}
        self._frames: asyncio.Queue[frames.Frame] = asyncio.Queue()
        self._connected = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._lease = 0

    async def listen(self) -> None:
        path = self.directory / "executor.sock"
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = frames.FrameDecoder()
        self._open.add(writer)
        role = ""
        try:
            while data := await reader.read(1 << 16):
                for frame in decoder.feed(data):
                    if frame.header["type"] == "hello":
                        role = frame.header["role"]
                        self.connections[role] = writer
                        if {"worker", "supervisor"} <= self.connections.keys():
                            self._connected.set()
                    else:
                        self._frames.put_nowait(frame)
        except ConnectionError:
            pass
        finally:
            if self.connections.get(role) is writer:
                del self.connections[role]
            self._open.discard(writer)
            writer.close()

    async def call(self, attribute: str, /, **inputs: Any) -> Any:
        """Runs a task of the code and gives its output."""
        await self.start(attribute, **inputs)
        while True:
            frame = await asyncio.wait_for(self._frames.get(), PATIENCE)
            if frame.header["type"] == "result":
                assert "failure" not in frame.header, frame.header
                return json.loads(frame.body).get("o0")

    async def start(self, attribute: str, /, **inputs: Any) -> None:
        """Starts a task of the code."""
        await asyncio.wait_for(self._connected.wait(), PATIENCE)
        self._lease += 1
        header = {
            "type": "run",
            "lease": self._lease,
            "run": {"project": "p", "domain": "d", "name": "r"},
            "action": f"a{self._lease}",
            "attempt": 0,
            "user_attempt": 0,
            "module": "code_under_test",
            "attribute": attribute,
            "code_dir": str(self.directory.parent.parent / "code"),
            "python_path": ["."],
            "log_path": str(self.directory / f"{self._lease}.log"),
        }
        self.connections["worker"].write(frames.encode(header, json.dumps(inputs).encode()))

    async def connected(self) -> None:
        """Waits until worker and supervisor are there: the record of the process is, then, and `close` ends all."""
        await asyncio.wait_for(self._connected.wait(), PATIENCE)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.close()
        self.connections.clear()
        self._connected.clear()


def write_code(state: Path) -> None:
    """Puts the code that workers run below a state directory."""
    (state / "code").mkdir(parents=True, exist_ok=True)
    (state / "code" / "code_under_test.py").write_text(CODE)


async def spec_of(
    state: Path, worker_id: int, peers: list[WorkerPeer], **options: Any
) -> tuple[WorkerSpec, WorkerPeer]:
    """A worker to launch and the peer that listens for it."""
    directory = state / "workers" / str(worker_id)
    directory.mkdir(parents=True, exist_ok=True)
    peer = WorkerPeer(directory)
    await peer.listen()
    peers.append(peer)
    resources = WorkerResources(options.pop("cpu_millis", 0), options.pop("memory_bytes", 0))
    image = options.pop("image", THIS_ENVIRONMENT)
    return WorkerSpec(worker_id, "secret", directory, image, resources, **options), peer


async def until(condition: Callable[[], bool], what: str, timeout: float = PATIENCE) -> None:
    """Waits until a condition holds, and fails when it does not in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while not condition():
        if loop.time() > deadline:
            raise AssertionError(f"waited {timeout:g} s for {what}")
        await asyncio.sleep(0.005)

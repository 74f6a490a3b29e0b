"""A small executor for tests: one zygote, and the executor's side of the worker protocol, blocking."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from flyte._runtime.frames import Decoder, Frame, encode
from flyte._runtime.order import WorkerOrder

PATIENCE = 30.0


class Peer:
    """One connection of a worker or supervisor."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._decoder = Decoder()
        self._frames: list[Frame] = []
        self.reads = 0

    def receive(self, timeout: float = PATIENCE) -> Frame:
        """The next frame."""
        deadline = time.monotonic() + timeout
        while not self._frames:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self.socket.recv(1 << 20)
            if not data:
                raise ConnectionError("the worker closed the connection")
            self.reads += 1
            self._frames.extend(self._decoder.feed(data))
        return self._frames.pop(0)

    def expect(self, kind: str, timeout: float = PATIENCE) -> Frame:
        """The next frame, which must be of a kind."""
        header, body = self.receive(timeout)
        assert header["type"] == kind, header
        return header, body

    def until(self, kind: str, timeout: float = PATIENCE) -> Frame:
        """The next frame of a kind; others before it are dropped."""
        while True:
            header, body = self.receive(timeout)
            if header["type"] == kind:
                return header, body

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        self.socket.settimeout(PATIENCE)
        self.socket.sendall(encode(header, body))

    def close(self) -> None:
        self.socket.close()


class RunningWorker:
    """A worker, its supervisor and the executor's end of their connections."""

    def __init__(self, number: int, directory: Path, listener: socket.socket) -> None:
        self.number = number
        self.directory = directory
        self.listener = listener
        self.peers: dict[str, Peer] = {}
        self.hellos: dict[str, dict[str, Any]] = {}
        self.supervisor_pid = 0

    def accept(self, role: str) -> Peer:
        """The connection of a role, once it has said hello."""
        deadline = time.monotonic() + PATIENCE
        while role not in self.peers:
            self.listener.settimeout(max(deadline - time.monotonic(), 0.001))
            connection, _ = self.listener.accept()
            peer = Peer(connection)
            hello, _ = peer.expect("hello")
            self.peers[hello["role"]] = peer
            self.hellos[hello["role"]] = hello
        return self.peers[role]

    @property
    def peer(self) -> Peer:
        return self.accept("worker")

    @property
    def pid(self) -> int:
        self.accept("worker")
        return int(self.hellos["worker"]["pid"])

    def reconnect(self) -> Peer:
        """Drops the worker's connection, as an executor's restart does, and takes the next."""
        self.peers.pop("worker").close()
        return self.accept("worker")

    def wait_exit(self) -> dict[str, Any]:
        """What `exit.json` says, once the supervisor has ended."""
        wait_for(lambda: not alive(self.supervisor_pid), "the supervisor to end")
        result: dict[str, Any] = json.loads((self.directory / "exit.json").read_text())
        return result

    def close_connections(self) -> None:
        """Goes away, as an executor that died."""
        for peer in self.peers.values():
            peer.close()
        self.listener.close()

    def close(self) -> None:
        self.close_connections()
        if alive(self.supervisor_pid):
            os.kill(self.supervisor_pid, signal.SIGTERM)
            wait_for(lambda: not alive(self.supervisor_pid), "the supervisor to end")


class Host:
    """A zygote and what it forked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.code = root / "code"
        self.code.mkdir()
        mine, theirs = socket.socketpair()
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        self.log = (root / "zygote.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flyte._runtime.zygote"],
            stdin=theirs,
            stdout=self.log,
            stderr=self.log,
            cwd=root,
            env=environ,
        )
        theirs.close()
        self.socket = mine
        self.lines = mine.makefile("rb")
        self.socket.settimeout(PATIENCE)
        assert "ready" in json.loads(self.lines.readline())
        self.workers: list[RunningWorker] = []
        self._leases = 0

    def module(self, name: str, text: str) -> None:
        """Writes a module of user code."""
        (self.code / f"{name}.py").write_text(text)

    def launch(self, **options: Any) -> RunningWorker:
        """Starts a worker."""
        return self.launch_in(self.root / "workers" / str(len(self.workers) + 1), **options)

    def launch_in(self, directory: Path, **options: Any) -> RunningWorker:
        """Starts a worker in a directory."""
        number = len(self.workers) + 1
        directory.mkdir(parents=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        handle = os.open(directory, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{handle}/executor.sock")
        os.close(handle)
        listener.listen()
        order = WorkerOrder(
            worker=number,
            token="secret",
            directory=str(directory),
            environ={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
            **options,
        )
        worker = RunningWorker(number, directory, listener)
        self.socket.sendall(json.dumps(order.to_json()).encode() + b"\n")
        answer = json.loads(self.lines.readline())
        worker.supervisor_pid = answer["pid"]
        self.workers.append(worker)
        return worker

    def run_header(self, attribute: str, module: str = "tasks", **fields: Any) -> dict[str, Any]:
        """A `run` frame for a task of the user code."""
        self._leases += 1
        lease = fields.pop("lease", self._leases)
        return {
            "type": "run",
            "lease": lease,
            "run": {"project": "p", "domain": "development", "name": "r1"},
            "action": "a0",
            "attempt": 0,
            "user_attempt": 0,
            "task": f"env.{attribute}",
            "module": module,
            "attribute": attribute,
            "code_dir": str(self.code),
            "python_path": ["."],
            "env_vars": {},
            "version": "v1",
            "traceparent": "",
            "labels": {},
            "raw_data_path": "",
            "output_path": "",
            "log_path": str(self.root / f"lease-{lease}.log"),
            **fields,
        }

    def log_of(self, run: dict[str, Any]) -> str:
        """What a lease has printed."""
        path = Path(run["log_path"])
        return path.read_text() if path.exists() else ""

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        self.socket.close()
        self.lines.close()
        self.process.wait(PATIENCE)
        self.log.close()


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def wait_for(condition: Any, what: str, timeout: float = PATIENCE) -> None:
    """Waits until a condition holds, and fails when it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s for {what}")
        time.sleep(0.002)

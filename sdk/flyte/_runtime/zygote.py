"""A warm process per environment that forks workers: `python -m flyte._runtime.zygote`.

It has the interpreter, pydantic and the SDK loaded, and neither threads nor an event loop. Requests come as
JSON lines over the socket that is its standard input, each a `WorkerOrder`; each is answered with one line
`{"worker", "pid"}` or `{"worker", "error"}`. It ends when the other side closes; the supervisors that it
forked live on.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

# Loaded here so that every worker has it at once.
import flyte._caller
import flyte._context
import flyte._environment
import flyte._image
import flyte._image_layers
import flyte._task
import flyte._task_spec
import flyte._types  # noqa: F401
from flyte._runtime import processes
from flyte._runtime.order import WorkerOrder
from flyte._runtime.supervisor import supervise, write_atomically


class Zygote:
    """Forks supervisors on request."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def serve(self) -> None:
        """Answers requests until the other side closes."""
        signal.signal(signal.SIGCHLD, _reap)
        gc.collect()
        gc.freeze()
        self._answer({"ready": os.getpid()})
        buffer = b""
        while data := self._connection.recv(1 << 16):
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                if line:
                    self._answer(self._fork(WorkerOrder.from_json(json.loads(line))))

    def _fork(self, order: WorkerOrder) -> dict[str, Any]:
        try:
            pid = os.fork()
        except OSError as error:
            return {"worker": order.worker, "error": f"cannot fork: {error}"}
        if pid == 0:
            self._become_supervisor(order)
        started = processes.start_time(pid)
        try:
            record = {"worker": order.worker, "pid": pid, "start_time": started}
            write_atomically(Path(order.directory) / "supervisor.json", record)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            return {"worker": order.worker, "error": f"cannot write below {order.directory}: {error}"}
        return {"worker": order.worker, "pid": pid, "start_time": started}

    def _become_supervisor(self, order: WorkerOrder) -> NoReturn:
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._connection.close()
            _redirect(Path(order.directory) / "worker.log")
            supervise(order)
        finally:
            os._exit(70)

    def _answer(self, answer: dict[str, Any]) -> None:
        self._connection.sendall(json.dumps(answer).encode() + b"\n")


def _redirect(log: Path) -> None:
    """Cuts the process off from the zygote's descriptors; output goes to the worker's own log."""
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(null)
    os.close(out)


def _reap(*_: object) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def main() -> None:
    """Serves the socket that is the process's standard input."""
    working_directory = str(Path.cwd())
    sys.path[:] = [entry for entry in sys.path if entry not in ("", working_directory)]
    connection = socket.socket(fileno=os.dup(0))
    connection.setblocking(True)
    try:
        Zygote(connection).serve()
    except (BrokenPipeError, ConnectionResetError):
        return


if __name__ == "__main__":
    main()

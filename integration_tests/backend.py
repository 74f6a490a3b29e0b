"""A real embedded backend with processes and a data directory of its own, killed and started at will."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc

from hangar.executor.v1 import executor_service_pb2, executor_service_pb2_grpc
from integration_tests.api import Api
from integration_tests.docker_host import DockerHost
from integration_tests.ledger import check_ledger
from integration_tests.notes_server import NotesServer
from integration_tests.polling import until
from integration_tests.ports import free_ports
from integration_tests.processes import Process, descendants, lives, of_directory

BIN = Path(sys.executable).parent
_START_SECONDS = 60
_STOP_SECONDS = 30
_FOREIGN = (
    "HANGAR_",
    "FLYTE_",
    "OTEL_",
    "UCTL_",
    "FLYTECTL_",
    "PYTEST_",
    "COV_",
    "VIRTUAL_ENV",
    "TRACEPARENT",
)


def clean_environ(**extra: str) -> dict[str, str]:
    """The environment of this process without what would configure Hangar, and with what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**kept, "NO_COLOR": "1", **extra}


class Backend:
    """`hangar up`, or `hangar up --without-executor` beside `hangar serve executor`.

    Args:
        data: Data directory. Made when it does not exist.
        environments: Directory where environments of images are kept, shared with other backends.
        settings: Environment variables, such as `HANGAR_EXECUTOR_CPU`.
        apart: True to run the executor as a process of its own.
    """

    def __init__(
        self,
        data: Path,
        environments: Path,
        settings: Mapping[str, str] | None = None,
        *,
        apart: bool = False,
    ) -> None:
        self.data = data
        self.log = data.with_name(f"{data.name}.log")
        self.apart = apart
        grpc_port, http_port, self.executor_port = free_ports(3)
        self.grpc = f"127.0.0.1:{grpc_port}"
        self.http = f"http://127.0.0.1:{http_port}"
        self.environ = clean_environ(
            HANGAR_DATA_DIR=str(data),
            HANGAR_EMBEDDED_GRPC_PORT=str(grpc_port),
            HANGAR_EMBEDDED_HTTP_PORT=str(http_port),
            HANGAR_EXECUTOR_SCHEDULER=self.grpc,
            HANGAR_EXECUTOR_PORT=str(self.executor_port),
            **(settings or {}),
        )
        self.api = Api(self.grpc)
        self.up: subprocess.Popen[bytes] | None = None
        self.executor: subprocess.Popen[bytes] | None = None
        share_environments(environments, data / "executor" / "environments")
        self.host: DockerHost | None = None
        self._notes: NotesServer | None = None
        if self.environ.get("HANGAR_EXECUTOR_ENGINE") == "docker":
            self.host = DockerHost(self.environ["HANGAR_EXECUTOR_DOCKER"], data / "executor")
            self._notes = NotesServer(data / "executor" / "code", data.parent)

    # -- life ----------------------------------------------------------------------------------------------

    def start(self) -> Backend:
        """Starts what does not run, and waits until it is ready."""
        if self.up is None:
            self.start_services()
        if self.apart and self.executor is None:
            self.start_executor()
        return self

    def start_services(self) -> None:
        """Starts `hangar up` and waits until it answers."""
        self.up = self._popen("up", *(["--without-executor"] if self.apart else []))
        until(self._is_ready, "the backend is ready", _START_SECONDS)

    def start_executor(self) -> None:
        """Starts `hangar serve executor` and waits until its session with the scheduler is open."""
        self.executor = self._popen("serve", "executor")
        until(lambda: self._node() is not None, "the executor is connected", _START_SECONDS)

    def kill(self) -> None:
        """`kill -9` of `hangar up`."""
        assert self.up is not None
        self._end(self.up, signal.SIGKILL)
        self.up = None

    def kill_executor(self) -> None:
        """`kill -9` of `hangar serve executor`."""
        assert self.executor is not None
        self._end(self.executor, signal.SIGKILL)
        self.executor = None

    def stop(self) -> None:
        """Asks for the end as a service manager does, and waits for it. Runs and their workers are kept."""
        if self.executor is not None:
            self._end(self.executor, signal.SIGTERM)
            self.executor = None
        if self.up is not None:
            self._end(self.up, signal.SIGTERM)
            self.up = None

    def close(self) -> None:
        """Ends everything."""
        self.stop()
        self.api.close()
        if self._notes is not None:
            self._notes.close()
        if self.host is not None:
            self.host.remove_all()
            self.host.close()

    def _popen(self, *arguments: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(BIN / "hangar"), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environ,
                cwd=self.data.parent,
                start_new_session=True,
            )

    def _end(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        process.send_signal(number)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(
                f"{process.args!r} did not end on {number.name}\n{self.log_tail()}"
            ) from None

    def _is_ready(self) -> bool:
        assert self.up is not None
        code = self.up.poll()
        assert code is None, f"hangar up ended with exit code {code}\n{self.log_tail()}"
        try:
            file = json.loads((self.data / "backend.json").read_text())
        except (FileNotFoundError, ValueError):
            return False
        if file["pid"] != self.up.pid:  # of the one that was killed before
            return False
        assert (file["grpc"], file["http"]) == (self.grpc, self.http)
        return self.api.is_serving()

    @property
    def is_running(self) -> bool:
        """True while `hangar up` runs."""
        return self.up is not None and self.up.poll() is None

    # -- what there is -------------------------------------------------------------------------------------

    def log_tail(self, lines: int = 60) -> str:
        """The end of what the backend's processes have said."""
        logs = [self.log, self.data / "logs" / "backend.log"]
        texts = [log.read_text(errors="replace").splitlines()[-lines:] for log in logs if log.exists()]
        return "\n".join(line for text in texts for line in text)

    def check_ledger(self) -> None:
        """Fails when anything is wrong with the ledger."""
        check_ledger(self.environ)

    def workers(self) -> list[executor_service_pb2.Worker]:
        """The workers on the host, as its executor tells."""
        with self._ask_executor() as stub:
            return list(stub.ListWorkers(executor_service_pb2.ListWorkersRequest(), timeout=10).workers)

    def worker_pid(self, worker_id: int) -> int:
        """Process id of a worker itself, as its supervisor wrote it."""
        path = self.data / "executor" / "workers" / str(worker_id) / "process.json"
        return int(json.loads(path.read_text())["pid"])

    def kill_worker(self, name: str) -> None:
        """`kill -9` of a worker, by the name that `notes.worker` gives."""
        if self.host is not None:
            self.host.kill(name)
        else:
            os.kill(int(name), signal.SIGKILL)

    def worker_lives(self, name: str) -> bool:
        """Says whether a worker of that name lives."""
        if self.host is not None:
            return name in self.host.running()
        return lives(int(name))

    def _node(self) -> executor_service_pb2.GetNodeResponse | None:
        try:
            with self._ask_executor() as stub:
                node = stub.GetNode(executor_service_pb2.GetNodeRequest(), timeout=5)
        except grpc.RpcError:
            return None
        return node if node.connected else None

    @contextlib.contextmanager
    def _ask_executor(self) -> Any:
        address = f"127.0.0.1:{self.executor_port}" if self.apart else self.grpc
        with grpc.insecure_channel(address) as channel:
            yield executor_service_pb2_grpc.ExecutorServiceStub(channel)

    def processes(self) -> list[Process]:
        """Every process that belongs to the data directory, the backend's own included."""
        return of_directory(self.data)

    def orphans(self) -> list[Process]:
        """Processes of the data directory that belong neither to the backend nor to a worker that it knows."""
        roots = {process.pid for process in (self.up, self.executor) if process is not None}
        if self.executor is not None or (self.up is not None and not self.apart):
            known_workers = [worker for worker in self.workers() if worker.state != "exited"]
            roots |= {worker.pid for worker in known_workers}
            if self.host is not None:
                numbers = {worker.worker_id for worker in known_workers}
                roots |= self.host.pids_of(numbers)
        processes = self.processes()
        known = descendants(roots, processes)
        return [process for process in processes if process.pid not in known]


def database_settings(url: str) -> dict[str, str]:
    """Settings that put the ledger and admin's tables into a database."""
    names = ("HANGAR_SCHEDULER_DATABASE", "HANGAR_ADMIN_LEDGER", "HANGAR_ADMIN_DATABASE")
    return dict.fromkeys(names, url)


def share_environments(shared: Path, place: Path) -> None:
    """Makes a directory of environments the one that several backends use."""
    if not place.is_symlink():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(shared, target_is_directory=True)

"""The five services as separate processes, killed and started one by one at will."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from hangar.executor.v1 import executor_service_pb2, executor_service_pb2_grpc
from hangar.scheduler.v1 import scheduler_service_pb2, scheduler_service_pb2_grpc
from integration_tests.api import Api, with_token
from integration_tests.backend import BIN, clean_environ, database_settings, share_environments
from integration_tests.ledger import check_ledger
from integration_tests.polling import until
from integration_tests.ports import free_ports
from integration_tests.processes import Process, descendants, of_directory

_START_SECONDS = 90
_STOP_SECONDS = 30
_HOST = "127.0.0.1"
_PREFIXES = {
    "scheduler": "HANGAR_SCHEDULER",
    "admin": "HANGAR_ADMIN",
    "image-builder": "HANGAR_IMAGE_BUILDER",
    "app-serving": "HANGAR_APP_SERVING",
    "executor": "HANGAR_EXECUTOR",
}


class Stack:
    """`hangar serve …` of every service, on one data directory or on a database and a blob store.

    Services have names: "scheduler" ("scheduler-2" and so on for standbys), "admin", "image-builder", "app-serving",
    "executor" ("executor-2" and so on). Settings of the form `HANGAR_<SERVICE>_…` go to whom they are for.

    Args:
        place: Directory for everything of it. Made when it does not exist.
        environments: Directory where environments of images are kept, shared with other backends.
        settings: Environment variables of every service, such as `HANGAR_EXECUTOR_CPU` or `AWS_…`.
        executors: How many executors.
        database: URL of the PostgreSQL database of ledger and admin; None for SQLite in the data directory.
        blobs: URL of the blob store; None for a directory.
        engine: Engine of the executors.
        schedulers: How many schedulers: one writes, the others stand by. More than one needs PostgreSQL.
        token: False for services that demand no token.
        each: Environment variables of single services by their names, over `settings`.
        launchers: Words before the command of single services by their names, such as `["ip", "netns", "exec", …]`.
        without: Names of services that are left out.
    """

    def __init__(
        self,
        place: Path,
        environments: Path,
        settings: Mapping[str, str] | None = None,
        *,
        executors: int = 1,
        database: str | None = None,
        blobs: str | None = None,
        engine: str = "process",
        schedulers: int = 1,
        token: bool = True,
        each: Mapping[str, Mapping[str, str]] | None = None,
        launchers: Mapping[str, Sequence[str]] | None = None,
        without: Sequence[str] = (),
    ) -> None:
        self.data = place
        self.token = f"hgr_{secrets.token_urlsafe(32)}" if token else ""
        self._launchers = launchers or {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        place.mkdir(parents=True, exist_ok=True)
        (place / "logs").mkdir(exist_ok=True)
        names = [*_numbered("scheduler", schedulers), "admin", "image-builder", "app-serving"]
        names = [name for name in [*names, *_numbered("executor", executors)] if name not in without]
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        [http_port] = free_ports(1)
        self.http = f"http://{_HOST}:{http_port}"
        shared = self._shared(settings or {}, database, blobs, engine, ports, http_port)
        self.environs: dict[str, dict[str, str]] = {}
        """Environment of each service by its name."""
        for name in names:
            own = self._own(name, ports[name])
            self.environs[name] = {**shared, **own, **((each or {}).get(name) or {})}
            if _kind(name) == "executor":
                state = Path(self.environs[name]["HANGAR_EXECUTOR_STATE"])
                share_environments(environments, state / "environments")
        self.grpc = self.address("admin")
        self.api = Api(self.grpc, self.token)

    def _shared(
        self,
        settings: Mapping[str, str],
        database: str | None,
        blobs: str | None,
        engine: str,
        ports: Mapping[str, int],
        http_port: int,
    ) -> dict[str, str]:
        schedulers = ",".join(f"{_HOST}:{port}" for name, port in ports.items() if _kind(name) == "scheduler")
        found = {
            "HANGAR_DATA_DIR": str(self.data),
            "HANGAR_ADMIN_HTTP_PORT": str(http_port),
            "HANGAR_ADMIN_SCHEDULER": schedulers,
            "HANGAR_EXECUTOR_SCHEDULER": schedulers,
            "HANGAR_EXECUTOR_ENGINE": engine,
        }
        if engine != "process" and "image-builder" in ports:
            found["HANGAR_EXECUTOR_IMAGE_BUILDER"] = f"{_HOST}:{ports['image-builder']}"
        if self.token:
            path = self.data / "token"
            path.write_text(self.token)
            path.chmod(0o600)
            found["HANGAR_TOKEN_FILE"] = str(path)
        if database is not None:
            found |= database_settings(database)
        if blobs is not None:
            found |= {"HANGAR_ADMIN_BLOBS": blobs, "HANGAR_EXECUTOR_BLOBS": blobs}
        return clean_environ(**{**found, **settings})

    def _own(self, name: str, port: int) -> dict[str, str]:
        kind = _kind(name)
        own = {f"{_PREFIXES[kind]}_{'PORT' if kind == 'executor' else 'GRPC_PORT'}": str(port)}
        if kind == "executor":
            own["HANGAR_EXECUTOR_STATE"] = str(self.data / name)
            own["HANGAR_EXECUTOR_NODE"] = name
        return own

    # -- life ----------------------------------------------------------------------------------------------

    def start(self) -> Stack:
        """Starts what does not run, all at once, and waits until every service is ready."""
        for name in self.environs:
            if name not in self._processes:
                self._launch(name)
        self.wait()
        return self

    def wait(self) -> None:
        """Waits until every service that was started is ready."""
        for name in self._processes:
            self._wait(name)

    def start_service(self, name: str, *, wait: bool = True) -> None:
        """Starts one service and waits until it is ready: an executor until its session is open."""
        self._launch(name)
        if wait:
            self._wait(name)

    def kill(self, name: str) -> None:
        """`kill -9` of one service."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def stop_service(self, name: str) -> None:
        """Asks one service to end, as a service manager does, and waits for it."""
        process = self._processes.pop(name)
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{name} did not end on SIGTERM\n{self.log_tail()}") from None

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to a service, such as SIGSTOP and SIGCONT."""
        self._processes[name].send_signal(number)

    def exit_code(self, name: str) -> int:
        """Waits until a service has ended by itself, and returns its exit code."""
        return self._processes.pop(name).wait(_STOP_SECONDS)

    def stop(self) -> None:
        """Asks every service to end, executors first. Runs and their workers are kept."""
        for name in reversed(list(self._processes)):
            self.stop_service(name)

    def close(self) -> None:
        """Ends everything."""
        self.stop()
        self.api.close()

    def _launch(self, name: str) -> None:
        assert name not in self._processes, f"{name} runs already"
        with self.log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*self._launchers.get(name, ()), str(BIN / "hangar"), "serve", _kind(name)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environs[name],
                cwd=self.data,
                start_new_session=True,
            )

    def _wait(self, name: str) -> None:
        def is_ready() -> bool:
            code = self._processes[name].poll()
            assert code is None, f"{name} ended with exit code {code}\n{self.log_tail(name)}"
            if _kind(name) == "executor":
                return self.is_connected(name)
            # One of several schedulers may stand by.
            status = self.health(name)
            return status == "SERVING" or (_kind(name) == "scheduler" and status == "NOT_SERVING")

        until(is_ready, f"{name} is ready", _START_SECONDS)

    # -- what there is -------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """True while any service runs."""
        return any(process.poll() is None for process in self._processes.values())

    def names(self, kind: str) -> list[str]:
        """Names of the services of a kind, such as "executor"."""
        return [name for name in self.environs if _kind(name) == kind]

    def address(self, name: str) -> str:
        """Host and port of a service's gRPC port."""
        environ, prefix = self.environs[name], _PREFIXES[_kind(name)]
        port = environ[f"{prefix}_{'PORT' if _kind(name) == 'executor' else 'GRPC_PORT'}"]
        host = environ.get(f"{prefix}_HOST", _HOST)
        return f"{_HOST if host == '0.0.0.0' else host}:{port}"

    def pid(self, name: str) -> int:
        """Process id of a service."""
        return self._processes[name].pid

    def health(self, name: str) -> str:
        """What a service says of its health: "SERVING", "NOT_SERVING", or empty when it does not answer."""
        with grpc.insecure_channel(self.address(name)) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
            except grpc.RpcError:
                return ""
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    def leader(self) -> str:
        """Name of the scheduler that serves, empty when none does."""
        return next((name for name in self.names("scheduler") if self.health(name) == "SERVING"), "")

    def is_connected(self, executor: str) -> bool:
        """True while an executor has a session with the scheduler."""
        with self.channel(executor) as channel:
            stub = executor_service_pb2_grpc.ExecutorServiceStub(channel)
            try:
                return stub.GetNode(executor_service_pb2.GetNodeRequest(), timeout=5).connected
            except grpc.RpcError:
                return False

    def nodes(self) -> list[scheduler_service_pb2.Node]:
        """The hosts that the scheduler knows."""
        with self.channel(self.leader() or "scheduler") as channel:
            stub = scheduler_service_pb2_grpc.SchedulerServiceStub(channel)
            return list(stub.ListNodes(scheduler_service_pb2.ListNodesRequest(), timeout=10).nodes)

    def workers(self, executor: str = "executor") -> list[executor_service_pb2.Worker]:
        """The workers on a host, as its executor tells."""
        with self.channel(executor) as channel:
            stub = executor_service_pb2_grpc.ExecutorServiceStub(channel)
            return list(stub.ListWorkers(executor_service_pb2.ListWorkersRequest(), timeout=10).workers)

    def worker_pid(self, worker_id: int, executor: str = "executor") -> int:
        """Process id of a worker itself, as its supervisor wrote it. Process engine only."""
        state = Path(self.environs[executor]["HANGAR_EXECUTOR_STATE"])
        return int(json.loads((state / "workers" / str(worker_id) / "process.json").read_text())["pid"])

    @contextlib.contextmanager
    def channel(self, name: str) -> Iterator[grpc.Channel]:
        """A channel to one service, with the token."""
        with grpc.insecure_channel(self.address(name)) as channel:
            yield with_token(channel, self.token)

    def log(self, name: str) -> Path:
        """File of what a service has said."""
        return self.data / "logs" / f"{name}.log"

    def log_tail(self, name: str = "", lines: int = 40) -> str:
        """The end of what one service has said, or each of them."""
        found = [
            f"--- {each}\n{_tail(self.log(each), lines)}" for each in ([name] if name else self.environs)
        ]
        return "\n".join(found)

    def check_ledger(self) -> None:
        """Fails when anything is wrong with the ledger."""
        check_ledger(self.environs["scheduler"])

    def processes(self) -> list[Process]:
        """Every process that belongs to the stack's directory, the services included."""
        return of_directory(self.data)

    def orphans(self) -> list[Process]:
        """Processes of the directory that belong neither to a service nor to a worker that an executor knows."""
        roots = {process.pid for process in self._processes.values()}
        for executor in self.names("executor"):
            if executor in self._processes:
                roots |= {worker.pid for worker in self.workers(executor) if worker.state != "exited"}
        processes = self.processes()
        known = descendants(roots, processes)
        return [process for process in processes if process.pid not in known]


def _numbered(kind: str, count: int) -> list[str]:
    return [kind if number == 1 else f"{kind}-{number}" for number in range(1, count + 1)]


def _kind(name: str) -> str:
    kind = name.rstrip("0123456789").removesuffix("-")
    assert kind in _PREFIXES, f"{name} is no service"
    return kind


def _tail(path: Path, lines: int) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"

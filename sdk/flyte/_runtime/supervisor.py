"""One process per worker that outlives the executor: starts the worker, watches it, and says how it ended.

It is a session leader and the subreaper of everything below it, so nothing that user code starts gets away.
It ends the whole tree when the worker ends, when it is told to, and when no executor was connected for the
orphan time to live. The kernel ends the worker when the supervisor is killed.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from flyte._runtime import processes
from flyte._runtime.frames import Decoder, FrameError, encode
from flyte._runtime.order import WorkerOrder
from flyte._runtime.sockets import connect
from flyte._runtime.system_calls import become_subreaper, die_with_parent, set_process_name
from flyte._runtime.worker import run_worker

_WATCH_SECONDS = 0.05
_RECONNECT_SECONDS = 0.25
_IDLE_SECONDS = 5.0

Handler = Callable[..., object] | int | None
"""What `signal.signal` takes and gives back."""


@dataclass
class _End:
    """Why the supervisor ended its worker, when it did."""

    reason: str = ""
    killed: bool = False
    oom: bool = False
    terminated: bool = False


class Supervisor:
    """Watches one worker until it has ended and nothing of it is left."""

    def __init__(self, order: WorkerOrder) -> None:
        self._order = order
        self._directory = Path(order.directory)
        self._selector = selectors.DefaultSelector()
        self._connection: socket.socket | None = None
        self._decoder = Decoder()
        self._worker = 0
        self._end = _End()
        self._oom_before = _counter(order.oom_file)
        self._peak = 0
        self._status: int | None = None
        self._cpu_seconds = 0.0
        self._alone_since = 0.0

    def run(self) -> None:
        """Starts the worker, waits for its end, records it, and leaves nothing behind."""
        wake, tell = socket.socketpair()
        for end in (wake, tell):
            end.setblocking(False)
        signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
        before = {number: signal.signal(number, handler) for number, handler in self._handlers().items()}
        self._worker = self._fork_worker((wake, tell), before)
        started = {"pid": self._worker, "start_time": processes.start_time(self._worker)}
        write_atomically(self._directory / "process.json", started)
        if self._end.killed:
            self._shoot()  # It was told to before there was a worker.
        self._selector.register(wake, selectors.EVENT_READ)
        self._watch(wake)
        self._finish()

    def _handlers(self) -> dict[int, Handler]:
        """What this process does on signals."""
        return {signal.SIGCHLD: lambda *_: None, signal.SIGTERM: self._on_terminate}

    def _on_terminate(self, *_: object) -> None:
        self._end.terminated = self._end.terminated or not self._end.reason
        self._kill("stopped by the executor")

    def _finish(self) -> None:
        """Records the end, and leaves nothing behind."""
        self._record()
        self._sweep()
        self._remove_groups()
        self._say_exit()

    def _fork_worker(
        self, private: tuple[socket.socket, socket.socket], handlers: Mapping[int, Handler]
    ) -> int:
        me = os.getpid()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for number, handler in handlers.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            for end in private:
                end.close()
            self._selector.close()
            become_worker(self._order, me)
        return pid

    def _watch(self, wake: socket.socket) -> None:
        """Waits for the worker's end."""
        limited = self._order.memory_limit or self._order.pids_limit
        pause = _WATCH_SECONDS if limited else _IDLE_SECONDS
        self._alone_since = time.monotonic()
        self._connect()
        while True:
            self._reap()
            if self._status is not None:
                return
            alone = time.monotonic() - self._alone_since
            if self._connection is not None:
                wait = pause
            elif alone >= self._order.orphan_ttl:
                self._kill(f"no executor for {self._order.orphan_ttl:g} s")
                wait = pause
            else:
                self._connect()
                wait = min(pause, _RECONNECT_SECONDS, self._order.orphan_ttl - alone)
            for key, _ in self._selector.select(max(wait, 0.001)):
                if key.fileobj is wake:
                    _drain(wake)
                else:
                    self._read()
            if limited and self._status is None:
                self._check_limits()

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._cpu_seconds += usage.ru_utime + usage.ru_stime
            if not self._order.peak_file:
                self._peak = max(self._peak, usage.ru_maxrss * 1024)
            if pid == self._worker:
                self._status = status

    def _check_limits(self) -> None:
        pids = processes.descendants(os.getpid())
        used = processes.memory(pids)
        limit = self._order.memory_limit
        if limit and used > limit:
            used = processes.exact_memory(pids) or used
        self._peak = max(self._peak, used)
        if limit and used > limit:
            self._end.oom = True
            self._end.reason = f"used {used} bytes of memory, more than its limit of {limit}"
            self._shoot()
        elif self._order.pids_limit and processes.thread_count(pids) > self._order.pids_limit:
            self._kill(f"more than {self._order.pids_limit} processes and threads")

    def _kill(self, reason: str) -> None:
        if not self._end.reason:
            self._end.killed = True
            self._end.reason = reason
        self._shoot()

    def _shoot(self) -> None:
        if self._worker and self._status is None:
            os.kill(self._worker, signal.SIGKILL)

    # -- the end -------------------------------------------------------------------------------------------

    def _record(self) -> None:
        """Writes `exit.json`, whole or not at all."""
        assert self._status is not None
        code = os.waitstatus_to_exitcode(self._status)
        kernel_oom = _counter(self._order.oom_file) > self._oom_before
        died = code != 0 and not self._end.killed
        self._exit: dict[str, Any] = {
            "type": "exit",
            "code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "oom": self._end.oom or (kernel_oom and died),
            "killed": self._end.killed,
            "terminated": self._end.terminated,
            "reason": self._end.reason,
            "peak_memory": max(self._peak, _counter(self._order.peak_file)),
            "cpu_millis": round(self._cpu_seconds * 1000),
        }
        try:
            write_atomically(self._directory / "exit.json", self._exit)
        except OSError as error:
            # Such as a directory that was removed: what is left of the worker has to end all the same.
            os.write(2, f"the exit of worker {self._order.worker} is not recorded: {error}\n".encode())

    def _sweep(self) -> None:
        """Ends every process that is left below this one, however deep."""
        if self._order.kill_file:
            _write(self._order.kill_file, "1")
        while True:
            for pid in {*processes.descendants(os.getpid()), *_members(self._order.members_file)}:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self._reap()
            try:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            except ChildProcessError:
                return
            time.sleep(0.002)

    def _remove_groups(self) -> None:
        """Removes the control groups of the worker; for an orphan also what held them, if it was the last."""
        for file in self._order.cgroups:
            group = Path(file).parent
            for path, names, _ in os.walk(group, topdown=False):
                for name in names:
                    _remove_group(Path(path, name))
            _remove_group(group)
            if self._connection is None:
                _remove_group(group.parent)

    def _say_exit(self) -> None:
        if self._connection is None:
            return
        try:
            self._connection.settimeout(1.0)
            self._connection.sendall(encode(self._exit))
        except OSError:
            return

    # -- the executor --------------------------------------------------------------------------------------

    def _connect(self) -> None:
        try:
            connection = connect(str(self._directory / "executor.sock"))
        except OSError:
            return
        hello = {
            "type": "hello",
            "role": "supervisor",
            "worker": self._order.worker,
            "token": self._order.token,
        }
        try:
            connection.sendall(encode({**hello, "pid": os.getpid()}))
        except OSError:
            connection.close()
            return
        self._connection = connection
        self._decoder = Decoder()
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self) -> None:
        if self._connection is None:
            return
        try:
            data = self._connection.recv(65536)
            frames = self._decoder.feed(data)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, FrameError):
            data, frames = b"", []
        for header, _ in frames:
            if header["type"] == "kill":
                self._kill(str(header.get("reason") or "stopped by the executor"))
        if not data:
            self._selector.unregister(self._connection)
            self._connection.close()
            self._connection = None
            self._alone_since = time.monotonic()


def supervise(order: WorkerOrder) -> NoReturn:
    """Becomes the supervisor of a worker. Called in a fresh process of a zygote."""
    code = 0
    try:
        os.setsid()
        become_subreaper()
        set_process_name(f"flyte-super-{order.worker}")
        if order.cpus:
            os.sched_setaffinity(0, order.cpus)
        Supervisor(order).run()
    except BaseException as error:  # noqa: BLE001 - the end of the process
        os.write(2, f"supervisor of worker {order.worker}: {error!r}\n".encode())
        code = 70
    finally:
        os._exit(code)


def become_worker(order: WorkerOrder, supervisor: int) -> NoReturn:
    """Turns a fresh process into the worker of a supervisor."""
    code = 70
    try:
        die_with_parent(signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(code)
        for file in order.cgroups:
            _write(file, "0")
        set_process_name(f"flyte-worker-{order.worker}")
        os.environ.clear()
        os.environ.update(order.environ)
        run_worker(order)
    except BaseException as error:  # noqa: BLE001 - the end of the process
        os.write(2, f"worker {order.worker}: {error!r}\n".encode())
    finally:
        os._exit(code)


def write_atomically(path: Path, document: dict[str, Any]) -> None:
    """Writes a JSON document so that readers see all of it or nothing."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(document))
    draft.replace(path)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _counter(path: str) -> int:
    """A number in a control group's file: the only one, or that of its `oom_kill` line; 0 when absent."""
    if not path:
        return 0
    try:
        text = Path(path).read_text()
    except OSError:
        return 0
    if text.strip().isdecimal():
        return int(text)
    counts = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
    return int(counts.get("oom_kill", 0))


def _remove_group(directory: Path) -> None:
    """Removes a control group that has neither processes nor groups below it."""
    with suppress(OSError):
        directory.rmdir()


def _members(path: str) -> list[int]:
    try:
        return [int(line) for line in Path(path).read_text().split()] if path else []
    except OSError:
        return []


def _drain(wake: socket.socket) -> None:
    try:
        while wake.recv(4096):
            pass
    except (BlockingIOError, InterruptedError):
        return

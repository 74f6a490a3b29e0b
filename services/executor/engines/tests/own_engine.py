"""A Docker engine of a test's own, to be stopped, killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from docker.errors import DockerException

import integration_tests
from integration_tests.components.lacking import lacking
from services.executor.engines.docker.client import connect

_SECONDS = 60.0
_TOOLS = Path(integration_tests.__path__[0]) / "tools"


class OwnEngine:
    """An engine without networks, below a directory of its own.

    Args:
        root: Where it keeps images and containers; below that directory unless given.
    """

    def __init__(self, root: Path | None = None) -> None:
        if os.getuid() != 0 or shutil.which("dockerd") is None:
            lacking("an engine of a test's own needs root and dockerd (Debian: apt-get install docker.io)")
        self.directory = Path(tempfile.mkdtemp(prefix="hangar-own-engine-"))
        self._root = root or self.directory / "root"
        self.url = f"unix://{self.directory}/d.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, on what it had before, and waits until it answers."""
        at = self.directory
        with (at / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    # in a network namespace of its own: without bridges, an engine removes that of the machine's
                    *("unshare", "--net"),
                    *("dockerd", "--data-root", str(self._root), "--exec-root", f"{at}/exec", "-H", self.url),
                    *("--pidfile", f"{at}/pid", "--bridge", "none", "--iptables=false", "--ip-forward=false"),
                    *("--cgroup-parent", f"/{at.name}"),
                ],
                stdout=log,
                stderr=log,
                # With the stub of NVIDIA's hook it takes requests for devices as one with GPUs would.
                env={**os.environ, "PATH": f"{_TOOLS}:{os.environ['PATH']}"},
            )
        deadline = time.monotonic() + _SECONDS
        while not self._answers():
            assert self._process.poll() is None, (at / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the engine does not answer"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            client = connect(self.url)
        except DockerException:
            return False
        try:
            return bool(client.ping())
        finally:
            client.close()

    def end(self, number: int) -> None:
        """Ends it with a signal, and waits. Killed, it leaves containers running; its containerd goes with it."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(_SECONDS)
        self._process = None
        deadline = time.monotonic() + _SECONDS
        while (left := self._rest("containerd")) and time.monotonic() < deadline:
            for pid in left:
                _kill(pid)
            time.sleep(0.02)
        # Where nobody reaps it, a dead containerd has its number for ever, and the next engine would wait for it.
        (self.directory / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def close(self) -> None:
        """Ends it and removes everything."""
        if self._process is not None:
            self.end(signal.SIGTERM)
        for pid in self._rest():
            _kill(pid)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((each for each in mounts if each.startswith(f"{self.directory}/")), reverse=True):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)
        deadline = time.monotonic() + _SECONDS
        while self._groups_left() and time.monotonic() < deadline:
            time.sleep(0.02)  # a group is busy until its processes are gone

    def _groups_left(self) -> bool:
        """Removes the engine's control groups; says whether any is left."""
        for group in Path("/sys/fs/cgroup").glob(f"*/{self.directory.name}"):
            for place, _, _ in os.walk(group, topdown=False):
                try:
                    Path(place).rmdir()
                except OSError:
                    continue
        return any(Path("/sys/fs/cgroup").glob(f"*/{self.directory.name}"))

    def _rest(self, program: str = "") -> list[int]:
        """Processes that name the directory, of one program or of all: containerd and its shims."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes() if entry.name.isdecimal() else b""
            except OSError:
                continue
            name = os.fsdecode(command.split(b"\0")[0].rpartition(b"/")[2])
            if f"{self.directory}/".encode() in command and program in {"", name}:
                found.append(int(entry.name))
        return [pid for pid in found if pid != os.getpid()]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return

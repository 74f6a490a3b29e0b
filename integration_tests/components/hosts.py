"""Several Docker hosts on one machine: each an engine in a network namespace of its own, on one bridge."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from integration_tests.components.engine import connect
from integration_tests.components.images import provide
from integration_tests.components.lacking import lacking
from integration_tests.polling import until

BRIDGE_ADDRESS = "10.200.0.1"
"""Address of this machine on the hosts' network."""

_TOOLS = Path(__file__).parents[1] / "tools"
_SECONDS = 120


def check_possible() -> None:
    """Leaves the tests out where hosts cannot be made."""
    if os.getuid() != 0:
        lacking("network namespaces need root")
    for program in ("dockerd", "ip", "iptables", "nsenter", "unshare"):
        if shutil.which(program) is None:
            lacking(f"hosts need {program} (Debian: apt-get install docker.io iproute2 iptables)")


class Hosts:
    """Hosts 1 to `count`.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.directory = Path(tempfile.mkdtemp(prefix="hangar-hosts-"))
        try:
            for number in range(1, count + 1):
                self.start_engine(number)
        except BaseException:
            self.close()
            raise

    def provide(self, number: int, *images: str) -> None:
        """Makes base images present in a host's engine."""
        client = connect(self.url(number))
        try:
            for image in images:
                provide(client, image)
        finally:
            client.close()

    def url(self, number: int) -> str:
        """URL of a host's engine. It is a unix socket, which works even while the host is cut off."""
        return f"unix://{self.directory}/{number}/d.sock"

    def address(self, number: int) -> str:
        """Address of a host on the network that all hosts and this machine share."""
        return f"10.200.0.{number + 1}"

    def inside(self, number: int, *command: str) -> list[str]:
        """The command that runs a command in the network of a host."""
        return ["nsenter", f"--net=/run/netns/{self.namespace(number)}", *command]

    def namespace(self, number: int) -> str:
        """Name of a host's network namespace."""
        return f"hghost{number}"

    def cut(self, number: int) -> None:
        """Takes a host off the network: packets vanish, no connection is closed."""
        _run("ip", "link", "set", f"veth{number}", "down")

    def restore(self, number: int) -> None:
        """Puts a host back on the network."""
        _run("ip", "link", "set", f"veth{number}", "up")

    def kill_engine(self, number: int) -> None:
        """Ends a host's engine, its containers and all that belongs to it at once, as a loss of power does."""
        home = self._home(number)

        def is_over() -> bool:
            left = _pids_of_group(f"/{self.namespace(number)}") + _pids_of_directory(str(home))
            for pid in left:
                _kill(pid)
            return not left

        until(is_over, f"host {number} is dead", 30)
        # What lives in memory is gone after a loss of power.
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((each for each in mounts if each.startswith(f"{home}/")), reverse=True):
            _run("umount", "--lazy", mount)
        shutil.rmtree(home / "exec")
        (home / "pid").unlink()

    def stop_engine(self, number: int) -> None:
        """Asks a host's engine to end, as a service manager does: it ends its containers first."""
        pid = int((self._home(number) / "pid").read_text())
        os.kill(pid, signal.SIGTERM)
        until(lambda: not _lives(pid), f"the engine of host {number} ends", 60)
        home = self._home(number)
        self._forget([home / "pid", home / "exec/containerd/containerd.pid"])

    def crash_engine(self, number: int) -> None:
        """`kill -9` of a host's engine alone: its containers live on."""
        home = self._home(number)
        files = [home / "pid", home / "exec/containerd/containerd.pid"]
        pids = [int(file.read_text()) for file in files]
        for pid in pids:
            _kill(pid)
        until(lambda: not any(_lives(pid) for pid in pids), f"the engine of host {number} is dead", 30)
        self._forget(files)

    def _forget(self, files: list[Path]) -> None:
        """An engine takes a dead one that nobody has waited for to be alive, and does not start."""
        for file in files:
            file.unlink(missing_ok=True)

    def start_engine(self, number: int) -> None:
        """Starts a host's engine, on what it had before, and waits until it answers."""
        _run(str(_TOOLS / "hosts.sh"), str(number), environ={"HOSTS_DIR": str(self.directory)})

    def _home(self, number: int) -> Path:
        return self.directory / str(number)

    def close(self) -> None:
        """Ends the engines and removes containers, namespaces, mounts and files."""
        try:
            _run(str(_TOOLS / "hosts_down.sh"), environ={"HOSTS_DIR": str(self.directory)})
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)


def _run(*command: str, environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
        env={**os.environ, **(environ or {})},
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _pids_of_group(group: str) -> list[int]:
    """Living processes of the control groups at and below a path, in any hierarchy."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and _lives(int(entry.name)):
            try:
                groups = (entry / "cgroup").read_text().splitlines()
            except OSError:
                continue
            if any(f"{line.split(':', 2)[2]}/".startswith(f"{group}/") for line in groups):
                found.append(int(entry.name))
    return found


def _pids_of_directory(directory: str) -> list[int]:
    """Living processes that name a path in a directory in their command: the engine, containerd and its shims."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and _lives(int(entry.name)):
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"{directory}/".encode() in command:
                found.append(int(entry.name))
    return found

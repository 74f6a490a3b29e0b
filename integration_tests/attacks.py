"""What a task of ill will tries from inside of its container. Each attempt says what came of it, in a line of text."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flyte
from flyte._context import current_controller

env = flyte.TaskEnvironment(name="attacks", resources=flyte.Resources(cpu=1, memory="512Mi", disk="64Mi"))

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYSCALLS = {"init_module": 175, "finit_module": 313, "add_key": 248, "keyctl": 250, "bpf": 321, "kexec_load": 246,
             "ptrace": 101, "open_by_handle_at": 304, "unshare": 272, "setns": 308, "reboot": 169}  # fmt: skip
_ENGINES = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd")
_NAMESPACES = ("pid", "net", "ipc", "uts", "mnt", "cgroup")
_NEW_NAMESPACES = {"user": 0x10000000, "mount": 0x00020000, "net": 0x40000000, "pid": 0x20000000}


def said(attempt: Callable[..., Any], *arguments: Any) -> str:
    """What came of an attempt."""
    try:
        return f"done {attempt(*arguments)!r}"
    except BaseException as error:  # noqa: BLE001 - whatever refuses it
        return f"{type(error).__name__}: {error}"


def called(name: str, *arguments: Any) -> str:
    """Makes a system call."""
    ctypes.set_errno(0)
    if _LIBC.syscall(_SYSCALLS[name], *arguments) >= 0:
        return "done"
    return os.strerror(ctypes.get_errno())


def mounted(kind: bytes, place: bytes) -> str:
    """Mounts a file system."""
    ctypes.set_errno(0)
    if _LIBC.mount(b"none", place, kind, 0, None) == 0:
        return "done"
    return os.strerror(ctypes.get_errno())


def ran(*command: str) -> str:
    """Runs a program and says how it ended."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=20
    )
    return f"{done.returncode} {done.stdout}{done.stderr}".strip()


def connected(target: str) -> str:
    """Connects to "host:port", and reads what comes."""
    host, port = target.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        return connection.recv(100).decode()


def forked() -> str:
    """Starts processes until no more can be."""
    children: list[int] = []
    try:
        while len(children) < 1000:
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                time.sleep(60)
                os._exit(0)
            children.append(child)
    except OSError as error:
        return f"{len(children)} and then {error.strerror}"
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return f"{len(children)} and no end"


def names(place: str | Path) -> list[str]:
    """What is in a directory."""
    return sorted(path.name for path in Path(place).iterdir())


def readable(path: Path) -> str:
    """The text of a file of /proc, empty when it cannot be read."""
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def status() -> dict[str, str]:
    """What the kernel says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


@env.task
def privileges() -> dict[str, str]:
    """Tries to become more than it is."""
    state = status()
    found = {
        "ids": f"{os.getresuid()} {os.getresgid()}",
        "groups": repr(os.getgroups()),
        **{name: state[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")},
        "setuid": said(os.setuid, 0),
        "setgid": said(os.setgid, 0),
        "setgroups": said(os.setgroups, [0]),
        "su": said(ran, "su", "-c", "id -u"),
        "mount": mounted(b"tmpfs", os.fsencode(Path.cwd())),
        "mount proc": mounted(b"proc", b"/proc"),
        "raw": said(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        "packet": said(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0),
        "chroot": said(os.chroot, "/"),
        "clock": said(time.clock_settime, time.CLOCK_REALTIME, 0.0),
        "nice": said(os.nice, -5),
        "host name": said(socket.sethostname, "mine"),
        "device": said(os.mknod, "sda", 0o666 | 0o060000, os.makedev(8, 0)),
        "init_module": called("init_module", None, 0, b""),
        "finit_module": called("finit_module", 0, b"", 0),
        "keyctl": called("keyctl", 0, -3, 1, 0, 0),
        "add_key": called("add_key", b"user", b"x", b"y", 1, -3),
        "bpf": called("bpf", 0, None, 0),
        "kexec_load": called("kexec_load", 0, 0, None, 0),
        "open_by_handle_at": called("open_by_handle_at", 0, None, 0),
        "setns": called("setns", 0, 0),
        "reboot": called("reboot", 0, 0, 0),
        "kill all": said(os.kill, 1, signal.SIGKILL),
        **{f"new {name}": called("unshare", flag) for name, flag in _NEW_NAMESPACES.items()},
    }
    # A program with the set-user-id bit of its own making has no effect either.
    copy = Path("mine")
    copy.write_bytes(Path("/usr/bin/id").read_bytes())
    copy.chmod(0o6755)
    found["own setuid program"] = ran("./mine", "-u")
    found["forks"] = forked()
    return found


@env.task
def files() -> dict[str, Any]:
    """Looks around, and tries to write where it should not."""
    worker = Path.cwd().parent
    writes = {
        place: said(Path(place).write_text, "x")
        for place in ("/x", "/etc/x", "/usr/x", "/var/tmp/x", "/root/x", "/opt/x", "/proc/sys/kernel/core_pattern",
                      "/proc/sysrq-trigger", "/sys/kernel/x", "/sys/fs/cgroup/x", "/dev/x")
    }  # fmt: skip
    writes |= {name: said((worker.parent / name).write_text, "x") for name in ("x", "../x", "../outbox.db")}
    processes = [Path("/proc", name) for name in names("/proc") if name.isdecimal()]
    return {
        "writes": writes,
        "work": said(Path("x").write_text, "x"),
        "tmp": said(Path("/tmp/x").write_text, "x"),
        "shm": said(Path("/dev/shm/x").write_text, "x"),
        "me": worker.name,
        "workers": names(worker.parent),
        "state": names(worker.parent.parent),
        "code": {str(place): names(place) for place in worker.parent.parent.glob("code")},
        "code write": said((Path(__file__).parent / "x").write_text, "x"),
        "devices": names("/dev"),
        "sockets": [place for place in _ENGINES if Path(place).exists()],
        "kcore": said(lambda: Path("/proc/kcore").open("rb").read(64)),
        "keys": said(lambda: Path("/proc/keys").read_text()),
        "kmsg": said(lambda: Path("/dev/kmsg").open("rb").read(64)),
        "namespaces": {name: str(Path("/proc/self/ns", name).readlink()) for name in _NAMESPACES},
        "processes": [readable(process / "cmdline") for process in processes],
        "mounts": [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()],
        "environ": dict(os.environ),
        "environs": [readable(process / "environ") for process in processes],
    }


@env.task
def network(targets: list[str]) -> dict[str, str]:
    """Connects to targets."""
    return {target: said(connected, target) for target in targets} | {
        "interfaces": json.dumps(sorted(name for _, name in socket.if_nameindex())),
    }


@env.task
def objects(keys: list[str]) -> dict[str, str]:
    """Reads and writes objects of the blob store."""
    reach = current_controller().objects  # type: ignore[union-attr]

    def read(key: str) -> str:
        with reach.open_object(key) as file:
            return str(file.read(100))

    def write(key: str) -> str:
        with reach.create_object(key) as file:
            file.write(b"mine")
        return key

    def forge(key: str) -> str:
        """Opens what it can read for writing."""
        with reach.open_object(key) as file:
            os.fchmod(file.fileno(), 0o666)
        return key

    def reopen(key: str) -> str:
        with reach.open_object(key) as file, open(f"/proc/self/fd/{file.fileno()}", "wb") as again:
            again.write(b"forged")
        return key

    def up(key: str) -> str:
        with reach.open_object(key) as file:
            return str(names(f"/proc/self/fd/{file.fileno()}/.."))

    own = f"{reach.prefix}/own.bin"
    return {
        **{key: said(read, key) for key in keys},
        "write": said(write, own),
        "read": said(read, own),
        "chmod": said(forge, own),
        "reopen": said(reopen, own),
        "up": said(up, own),
        "read after": said(read, own),
        "write elsewhere": said(write, "inputs/mine"),
        "write beside": said(write, own.replace("/data/", "/logs/")),
        "key": own,
    }

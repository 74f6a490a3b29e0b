"""Containers of tasks, attacked from inside by a real task: what is refused, what works, and how."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integration_tests.backend import Backend
from integration_tests.components.lacking import lacking
from integration_tests.conftest import MakeBackend
from integration_tests.docker_backend import docker_settings, make_default_image
from integration_tests.outside import (
    METADATA,
    OPENED,
    PLATFORM,
    PORT,
    PRIVATE,
    PUBLIC,
    addresses_of_host,
    outside,
)
from integration_tests.workspace import Workspace

_SECRET = "AKIA-hangar-test-secret"
_PIDS = 96
_RUN_SECONDS = 120
_DENIED = ("Operation not permitted", "Permission denied")


@dataclass(frozen=True)
class Target:
    """A backend whose tasks are attackers."""

    backend: Backend
    user: Workspace

    def attack(self, task: str, *arguments: object) -> Any:
        """Runs one of the tasks and returns what it found."""
        run = self.user.launch("attacks.py", task, *arguments)
        return self.backend.api.succeeded(run, _RUN_SECONDS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, docker_url: str) -> Iterator[object]:
    """Addresses outside of the host."""
    if os.geteuid() != 0 or subprocess.run(["ip", "netns"], capture_output=True, check=False).returncode != 0:
        lacking("network namespaces need root and iproute2")
    yield from outside(tmp_path_factory.mktemp("outside") / "log")


@pytest.fixture(scope="module")
def target(place: Path, make_module_backend: MakeBackend, docker_url: str, world: object) -> Target:
    """A backend on the Docker engine whose tasks may reach the outside and one private range."""
    backend = make_module_backend(
        **docker_settings(docker_url),
        HANGAR_EXECUTOR_NETWORK="outside",
        HANGAR_EXECUTOR_NETWORK_ALLOW='["10.211.78.0/24"]',
        HANGAR_EXECUTOR_IMAGE_BUILDER="",
        HANGAR_EXECUTOR_PIDS=str(_PIDS),
        AWS_SECRET_ACCESS_KEY=_SECRET,
        AWS_ACCESS_KEY_ID=_SECRET,
    )
    make_default_image(backend, place / "users" / "hardening-image")
    user = Workspace(place / "users" / "hardening", backend.grpc)
    user.write("attacks.py", Path(__file__).with_name("attacks.py").read_text())
    return Target(backend, user)


@pytest.fixture(scope="module")
def privileges(target: Target) -> dict[str, str]:
    """What came of attempts to become more."""
    found: dict[str, str] = target.attack("privileges")
    return found


@pytest.fixture(scope="module")
def files(target: Target) -> dict[str, Any]:
    """What is to be seen and written."""
    found: dict[str, Any] = target.attack("files")
    return found


def test_nobody_in_particular(privileges: dict[str, str]) -> None:
    """A task is not root, is in no group, has no capability and cannot get one; system calls are filtered."""
    assert privileges["ids"] == "(65532, 65532, 65532) (65532, 65532, 65532)"
    assert privileges["groups"] in {"[]", "[65532]"}
    assert {privileges[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0000000000000000"}
    assert (privileges["NoNewPrivs"], privileges["Seccomp"]) == ("1", "2")


@pytest.mark.parametrize(
    "attempt",
    ["setuid", "setgid", "setgroups", "mount", "mount proc", "raw", "packet", "chroot", "clock", "nice", "host name",
     "device", "init_module", "finit_module", "keyctl", "add_key", "bpf", "kexec_load", "open_by_handle_at", "setns",
     "reboot", "new user", "new mount", "new net", "new pid"],
)  # fmt: skip
def test_the_kernel_refuses(privileges: dict[str, str], attempt: str) -> None:
    """Each of these is refused by the kernel for lack of a right."""
    assert any(words in privileges[attempt] for words in _DENIED), privileges[attempt]


def test_programs_with_more_rights_have_none(privileges: dict[str, str]) -> None:
    """Programs that would run as root, those of the image and one of its own making, run as the task."""
    assert "done '0 " not in privileges["su"]
    assert privileges["own setuid program"] == "0 65532"


def test_fork_bomb(privileges: dict[str, str]) -> None:
    """Processes end at the limit, and the task goes on afterwards."""
    count, _, rest = privileges["forks"].partition(" ")
    assert 10 < int(count) < _PIDS
    assert rest == "and then Resource temporarily unavailable"


def test_only_the_work_directory_is_writable(files: dict[str, Any]) -> None:
    """Outside of the work directory and temporary places nothing can be written."""
    for place, answer in files["writes"].items():
        refused = any(word in answer for word in ("Read-only file system", *_DENIED))
        # Some kernels do not have all of these files.
        assert refused or (place.startswith("/proc/") and "FileNotFoundError" in answer), (place, answer)
    assert [files[place] for place in ("work", "tmp", "shm")] == ["done 1"] * 3
    assert "Read-only file system" in files["code write"]


def test_nothing_of_others_is_to_be_seen(files: dict[str, Any]) -> None:
    """Of the executor's directory a task sees its own worker and its own code, and no socket of an engine."""
    assert files["workers"] == [files["me"]]
    assert set(files["state"]) <= {"workers", "code"}
    assert all(len(names) == 1 for names in files["code"].values())
    assert files["sockets"] == []


def test_namespaces_are_its_own(files: dict[str, Any]) -> None:
    """No namespace is the host's, and only the task's own processes are there."""
    shared = [
        name
        for name, link in files["namespaces"].items()
        if link == str(Path("/proc/self/ns", name).readlink())
    ]
    assert shared == []
    assert all("flyte._runtime" in line or "attacks" in line for line in files["processes"]), files[
        "processes"
    ]
    assert len(files["processes"]) < 5


def test_devices(files: dict[str, Any]) -> None:
    """There is no device of the host: no disk, no GPU that was not granted, no memory, no kernel log."""
    allowed = {"console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
               "stdout", "tty", "urandom", "zero"}  # fmt: skip
    assert set(files["devices"]) <= allowed
    for name, nothing in (("kcore", "b''"), ("keys", "''")):
        assert any(word in files[name] for word in (f"done {nothing}", "FileNotFoundError", *_DENIED)), files[
            name
        ]
    assert "FileNotFoundError" in files["kmsg"]


def test_no_credential(files: dict[str, Any], target: Target) -> None:
    """Nothing of the executor's environment is in the container's, least of all a credential."""
    assert target.backend.environ["AWS_SECRET_ACCESS_KEY"] == _SECRET
    everything = [*files["environ"].values(), *files["environs"], *files["processes"], *files["mounts"]]
    assert not [text for text in everything if _SECRET in text]
    foreign = [name for name in files["environ"] if name.startswith(("AWS_", "HANGAR_", "OTEL_", "DOCKER_"))]
    assert set(foreign) <= {"HANGAR_WORKER_DIRECTORY", "HANGAR_IMAGE_DIRECTORY"}


def test_network(target: Target) -> None:
    """The outside and what is opened answer; metadata, the platform, private addresses and the host refuse."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        closed = [f"{address}:{PORT}" for address in (PRIVATE, METADATA)]
        closed += [f"{address}:{port}" for address in addresses_of_host()]
        closed += [target.backend.grpc]
        opened = {f"{address}:{PORT}": address for address in (PUBLIC, OPENED, PLATFORM)}
        found = target.attack("network", "--targets", _json([*closed, *opened]))
    assert {each: found[each] for each in opened} == {
        each: f"done {address!r}" for each, address in opened.items()
    }
    for each in closed:
        assert "No route to host" in found[each] or "Connection refused" in found[each], (each, found[each])
        assert each == target.backend.grpc or "No route to host" in found[each]
    assert found["interfaces"] == '["eth0", "lo"]'


def test_reach(target: Target) -> None:
    """A task reads and writes what is its own in the blob store, and nothing else, by no way around."""
    secret = target.backend.data / "blobs" / "inputs" / "secret.csv"
    secret.parent.mkdir(parents=True, exist_ok=True)
    secret.write_text("secret")
    found = target.attack("objects", "--keys", _json(["inputs/secret.csv", "../admin.db", "code/x.tar.gz"]))
    for key in ("inputs/secret.csv", "../admin.db", "code/x.tar.gz", "write elsewhere", "write beside"):
        assert found[key].startswith("RuntimeUserError"), found[key]
        assert "not in reach" in found[key]
    assert found["write"] == f"done {found['key']!r}"
    assert found["read"] == found["read after"] == f"done {str(b'mine')!r}"
    assert (target.backend.data / "blobs" / found["key"]).read_bytes() == b"mine"
    assert any(word in found["chmod"] for word in _DENIED)
    assert any(word in found["reopen"] for word in _DENIED)
    assert "Not a directory" in found["up"]


def _json(items: list[str]) -> str:
    return "[" + ", ".join(f'"{item}"' for item in items) + "]"

"""The check that tests leave nothing behind: what the machine had before them is all that it has after them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from docker.errors import DockerException

from integration_tests.components.engine import connect
from integration_tests.spread import PROCESS

_WORDS = ("hangar", "hgr", "HANGAR", "hghost", "hgbr")
"""One of these is in everything of ours."""

_OF_ENGINES = "/netns/default"
"""How the mount is named that an engine makes once, with its first container in the host's network."""


class Leaks:
    """Takes stock when it is made, and again when it is asked.

    In CI everything new counts, on a machine that others use as well only what is known to be of these tests. Of
    several processes that share the tests each answers for its own, and the one that hands them out for all.

    Args:
        docker_url: The engine that tests use.
        patience: Seconds that what ends by itself gets to do so.
    """

    def __init__(self, docker_url: str, patience: float = 30) -> None:
        self._docker_url = docker_url
        self._patience = patience
        self._alone = bool(os.environ.get("CI")) and PROCESS not in os.environ
        self._own: set[str] = set()
        self._before = self._stock()

    def own(self, text: str) -> None:
        """Registers what names something of these tests: a directory, the identity of an executor."""
        self._own.add(text)
        if "/" not in text:  # interfaces and chains have short names
            self._own.add(hashlib.blake2b(text.encode(), digest_size=16).hexdigest()[:4])

    def check(self) -> None:
        """Waits until nothing is left.

        Raises:
            AssertionError: Something is; it is named.
        """
        deadline = time.monotonic() + self._patience
        while left := self._left():
            assert time.monotonic() < deadline, "left behind by tests:\n" + "\n".join(left)
            time.sleep(0.25)

    def _left(self) -> list[str]:
        return sorted(each for each in self._stock() - self._before if self._is_ours(each))

    def _is_ours(self, text: str) -> bool:
        if self._alone:
            return any(word in text for word in _WORDS)
        return any(word in text for word in self._own)

    def _stock(self) -> set[str]:
        return {
            *self._of_engine(),
            *_rules(),
            *(f"mount {place}" for place in _mounts() if not place.endswith(_OF_ENGINES)),
            *(f"network namespace {name}" for name in _names(Path("/run/netns"))),
            *(f"interface {name}" for name in _names(Path("/sys/class/net"))),
            *(f"control group {path}" for path in _groups()),
            *(f"file {path}" for path in Path(tempfile.gettempdir()).glob("*hangar*")),
            *_processes(),
        }

    def _of_engine(self) -> set[str]:
        found: set[str] = set()
        try:
            client = connect(self._docker_url).api
        except DockerException:
            return found
        with contextlib.closing(client):
            try:
                for each in client.containers(all=True):
                    mounts = [mount.get("Source", "") for mount in each["Mounts"]]
                    found.add(f"container {each['Names']} {each['Labels']} {mounts}")
                found |= {f"network {each['Name']} {each['Labels']}" for each in client.networks()}
                found |= {
                    f"volume {each['Name']} {each['Labels']}" for each in client.volumes()["Volumes"] or []
                }
            except DockerException:
                return set()
        return found


def _rules() -> set[str]:
    found: set[str] = set()
    for command in ("iptables-save", "ip6tables-save"):
        program = shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if program is None or os.geteuid() != 0:
            continue
        lines = subprocess.run([program], capture_output=True, text=True, check=False).stdout.splitlines()
        found |= {f"{command} {line.split(' [')[0]}" for line in lines if not line.startswith("#")}
    return found


def _names(directory: Path) -> list[str]:
    return [each.name for each in directory.iterdir()] if directory.is_dir() else []


def _groups() -> list[str]:
    """Control groups of workers and of hosts."""
    root = Path("/sys/fs/cgroup")
    return [str(path) for word in _WORDS for path in [*root.glob(f"*{word}*"), *root.glob(f"*/*{word}*")]]


def _processes() -> set[str]:
    """Living processes that name a temporary directory of tests."""
    found: set[str] = set()
    mark = f"{tempfile.gettempdir()}/hangar-".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            if mark in command or mark in (entry / "environ").read_bytes():
                found.add(f"process {entry.name} {command.replace(bytes(1), b' ').decode(errors='replace')}")
    return found


def _mounts() -> list[str]:
    return [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]

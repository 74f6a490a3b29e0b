"""A world outside of the host, in a network namespace of its own: addresses of every kind, with listeners on them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from integration_tests.polling import until
from services.executor.engines.docker.firewall import ChainRules, remove_script
from services.executor.engines.docker.networks import bridge_prefix

PUBLIC, PLATFORM, PRIVATE, OPENED, METADATA = (
    "203.0.113.5",
    "203.0.113.9",
    "10.211.77.2",
    "10.211.78.2",
    "169.254.169.254",
)
"""A public address, a public one of the platform, a private one, a private one that an operator opens, and the one
where clouds serve metadata."""
PORT = 8000
NAME = "hangar.test"
"""Name that the name server at `PRIVATE` knows: it stands for `PUBLIC`."""
_LINK, _PEER = "198.51.100.1/30", "198.51.100.2/30"


class Outside:
    """Every address of the module answers on TCP port 8000 with its own address; `PRIVATE` serves names on port 53.

    Args:
        log: File for the listener's messages.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._namespace = f"hgrt{os.getpid() % 100000}"
        self._link = f"hgrt{os.getpid() % 100000}v"
        self._listener: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Makes the namespace and starts the listener."""
        namespace, link = self._namespace, self._link
        _ip("netns", "add", namespace)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("addr", "add", _LINK, "dev", link)
        _ip("link", "set", link, "up")
        _ip("-n", namespace, "addr", "add", _PEER, "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", device, "up")
        _ip("-n", namespace, "route", "add", "default", "via", _LINK.split("/", maxsplit=1)[0])
        for address in (PUBLIC, PLATFORM, PRIVATE, OPENED, METADATA):
            _ip("-n", namespace, "addr", "add", f"{address}/32", "dev", "lo")
            _ip("route", "add", f"{address}/32", "via", _PEER.split("/", maxsplit=1)[0], "dev", link)
        with self._log.open("ab") as log:
            self._listener = subprocess.Popen(
                ["ip", "netns", "exec", namespace, sys.executable, "-c", _LISTENER, NAME, PUBLIC],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._listener.stdout is not None
        assert self._listener.stdout.readline() == b"ready\n", self._log.read_text()

    def close(self) -> None:
        """Removes everything again."""
        if self._listener is not None:
            self._listener.kill()
            self._listener.wait()
            assert self._listener.stdout is not None
            self._listener.stdout.close()
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("netns", "del", self._namespace)
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "del", self._link)
        until(lambda: self._link not in _ip("-j", "link"), "the link is gone", 10)


def outside(log: Path) -> Iterator[Outside]:
    """The body of a fixture: the world outside, for as long as it is used."""
    world = Outside(log)
    try:
        world.open()
        yield world
    finally:
        world.close()


def addresses_of_host() -> list[str]:
    """IPv4 addresses of this machine, loopback left out."""
    found = json.loads(_ip("-j", "-4", "addr"))
    return [
        info["local"]
        for interface in found
        for info in interface["addr_info"]
        if not info["local"].startswith("127.")
    ]


def remove_rules(executor: str) -> None:
    """Removes the rules of an executor that is gone for good: they stay as long as it has left containers."""
    if shutil.which("iptables") and os.geteuid() == 0:
        script = remove_script(ChainRules(bridge_prefix(executor)))
        subprocess.run(["/bin/sh", "-c", script], check=True, capture_output=True)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


_LISTENER = """
import selectors, socket, sys
name, address = sys.argv[1:]
streams = socket.create_server(("0.0.0.0", 8000))
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("10.211.77.2", 53))
chosen = selectors.DefaultSelector()
chosen.register(streams, selectors.EVENT_READ)
chosen.register(names, selectors.EVENT_READ)
print("ready", flush=True)
question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\\0"
while True:
    for key, _ in chosen.select():
        if key.fileobj is streams:
            connection, _ = streams.accept()
            with connection:
                connection.sendall(connection.getsockname()[0].encode())
            continue
        query, client = names.recvfrom(512)
        asked = query[12:query.index(b"\\0", 12) + 5]
        known = asked[:-4] == question and asked[-4:-2] == b"\\0\\1"
        answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4" + socket.inet_aton(address) if known else b""
        flags = b"\\x81\\x80" if asked[:-4] == question else b"\\x81\\x83"
        names.sendto(query[:2] + flags + b"\\0\\1\\0" + bytes([known]) + b"\\0\\0\\0\\0" + asked + answer, client)
"""

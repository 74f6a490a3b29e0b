"""TCP ports on loopback for what tests start."""

from __future__ import annotations

import contextlib
import os
import socket

from integration_tests.spread import PROCESS

_taken: set[int] = set()
_FIRST, _END = 20_000, 32_000


def free_ports(count: int) -> list[int]:
    """TCP ports on loopback that nobody uses now, and that the kernel gives to nobody by itself."""
    found: list[int] = []
    first, end = _range()
    for port in range(first, end):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _taken:
                found.append(port)
                _taken.add(port)
        if len(found) == count:
            return found
    raise AssertionError(f"there are no {count} free ports from {first} to {end}")


def _range() -> tuple[int, int]:
    """The first port and the end of those of this process: several that share the tests share no port."""
    count = int(os.environ.get(f"{PROCESS}_COUNT", "1"))
    number = int(os.environ.get(PROCESS, "gw0").removeprefix("gw"))
    width = (_END - _FIRST) // count
    first = _FIRST + number % count * width  # one that crashed is replaced by one with a number above
    return first + os.getpid() % (width * 2 // 3), first + width

"""TCP ports on loopback for what tests start."""

from __future__ import annotations

import contextlib
import os
import socket

_taken: set[int] = set()


def free_ports(count: int) -> list[int]:
    """TCP ports on loopback that nobody uses now, and that the kernel gives to nobody by itself."""
    found: list[int] = []
    first = 20_000 + os.getpid() % 8_000
    for port in range(first, 32_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _taken:
                found.append(port)
                _taken.add(port)
        if len(found) == count:
            return found
    raise AssertionError(f"there are no {count} free ports above {first}")

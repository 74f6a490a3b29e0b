"""A kernel that runs programs for arm64: QEMU, known to it for as long as tests need it."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from integration_tests.components.lacking import lacking

PLATFORM = "linux/arm64"
_KNOWN = Path("/proc/sys/fs/binfmt_misc")
_FORMAT = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
"""What the kernel is to be told, with the flag that makes it hold the emulator open for containers."""


@contextmanager
def emulation() -> Iterator[None]:
    """Has the kernel emulate arm64, unless it does so already or needs not."""
    entry = _KNOWN / "qemu-aarch64"
    if platform.machine() == "aarch64" or entry.exists():
        yield
        return
    if os.geteuid() != 0 or not _FORMAT.exists():
        lacking("the kernel does not run arm64: as root, with Debian's qemu-user-static, tests have it do so")
    if not (_KNOWN / "register").exists():
        command = ["mount", "-t", "binfmt_misc", "none", str(_KNOWN)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lacking(f"the kernel has no binfmt_misc: {done.stderr.strip()}")
    (_KNOWN / "register").write_bytes(_FORMAT.read_bytes().strip())
    try:
        yield
    finally:
        entry.write_text("-1")

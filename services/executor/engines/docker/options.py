"""How the Docker engine works on one host."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 2**20
UNPRIVILEGED = 65532
"""User and group of workers when the executor is root: the usual number of a user without a name."""


@dataclass(frozen=True, slots=True)
class DockerEngineOptions:
    """How the Docker engine works.

    Attributes:
        state: State directory of the executor, absolute; workers' directories and code bundles are below it.
        url: Where the engine listens, such as "unix:///var/run/docker.sock".
        host_state: What the engine's host calls the state directory; found out when None.
        orphan_ttl: Seconds without an executor after which a worker ends.
        uid: User of workers.
        gid: Group of workers.
        pids_limit: Most processes and threads of one worker.
        tmp_bytes: Most that `/tmp` of a worker holds. It counts as memory of the worker.
        platform: Platform of the images that it runs, emulated unless it is the engine's; empty for that.
        disk_interval: Seconds between two looks at what workers with a disk limit have written.
    """

    state: Path
    url: str = "unix:///var/run/docker.sock"
    host_state: Path | None = None
    orphan_ttl: float = 60.0
    uid: int = UNPRIVILEGED
    gid: int = UNPRIVILEGED
    pids_limit: int = 4096
    tmp_bytes: int = 1024 * MEBIBYTE
    platform: str = ""
    disk_interval: float = 3.0


def own_user() -> tuple[int, int]:
    """User and group that workers run as when nothing else is said: never root.

    An executor that is not root cannot give files to others, so its workers run as itself.
    """
    if os.geteuid() == 0:
        return UNPRIVILEGED, UNPRIVILEGED
    return os.geteuid(), os.getegid()

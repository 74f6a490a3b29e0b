"""What the engine's host calls the files of this executor, which may run in a container itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import docker
from docker.errors import NotFound

from services.common.errors import FailedPrecondition

_MOUNTS = Path("/proc/self/mountinfo")
_OWN = re.compile(r"/containers/([0-9a-f]{64})/(?:hostname|hosts|resolv\.conf) /etc/")
_HINT = "set HANGAR_EXECUTOR_HOST_STATE to what the engine's host calls the directory"


@dataclass(frozen=True, slots=True)
class HostPaths:
    """Translates paths below the state directory.

    Attributes:
        state: The state directory as this process calls it.
        host_state: The same as the engine's host calls it.
        own_image: Image of the container that this process runs in, empty when it is in none of this engine.
    """

    state: PurePosixPath
    host_state: PurePosixPath
    own_image: str = ""

    def of(self, path: str | Path) -> str:
        """Returns what the host calls a path below the state directory.

        Raises:
            ValueError: It is not below it.
        """
        return str(self.host_state / PurePosixPath(path).relative_to(self.state))


def own_container(mounts: Path = _MOUNTS) -> str:
    """Returns the id of the container that this process runs in, empty when it is in none.

    The engine mounts files of the container's own directory into it, whatever the control groups are.
    """
    try:
        text = mounts.read_text()
    except OSError:
        return ""
    found = _OWN.search(text)
    return found[1] if found else ""


def find_host_paths(api: docker.APIClient, state: Path, host_state: Path | None, own: str) -> HostPaths:
    """Finds out what the engine's host calls the state directory.

    Args:
        api: The engine.
        state: The state directory.
        host_state: The answer, when the operator gave it.
        own: Id of the container that this process runs in, empty for none.

    Raises:
        FailedPrecondition: This process is in a container, and the state directory is not mounted there from the host.
    """
    here = PurePosixPath(state)
    if not own:
        return HostPaths(here, PurePosixPath(host_state or state))
    try:
        description = api.inspect_container(own)
    except NotFound:
        if host_state is not None:
            return HostPaths(here, PurePosixPath(host_state))
        message = (
            f"this executor runs in container {own[:12]}, which its Docker engine does not know, so the engine "
            f"cannot be told where {state} is: {_HINT}"
        )
        raise FailedPrecondition(message, reason="HOST_STATE_UNKNOWN") from None
    found = host_state or host_path(description["Mounts"], here)
    if found is None:
        message = (
            f"this executor runs in a container and its state directory {state} is not mounted there from the host, "
            f"so workers could not share it: mount a volume or a directory at {state} or above it, or {_HINT}"
        )
        raise FailedPrecondition(message, reason="STATE_NOT_MOUNTED")
    return HostPaths(here, PurePosixPath(found), str(description["Image"]))


def host_path(mounts: list[dict[str, Any]], path: PurePosixPath) -> PurePosixPath | None:
    """Returns where a path in a container lies on its host, None when no mount of the host holds it.

    Args:
        mounts: The mounts of the container as the engine describes it.
        path: The path in the container.
    """
    best: tuple[PurePosixPath, dict[str, Any]] | None = None
    for mount in mounts:
        target = PurePosixPath(mount["Destination"])
        if path.is_relative_to(target) and (best is None or len(target.parts) > len(best[0].parts)):
            best = target, mount
    if best is None or best[1]["Type"] not in {"bind", "volume"} or not best[1].get("Source"):
        return None
    return PurePosixPath(best[1]["Source"]) / path.relative_to(best[0])

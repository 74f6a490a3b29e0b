"""Paths on the engine's host, for an executor in a container."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from docker.errors import NotFound

from services.common.errors import FailedPrecondition
from services.executor.engines.docker.host_paths import find_host_paths, host_path, own_container

ID = "ab" * 32
MOUNTINFO = f"""
126 109 254:0 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda rw
127 109 254:0 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/vda rw
"""


def mount(kind: str, source: str, target: str) -> dict[str, Any]:
    """A mount as the engine describes it."""
    return {"Type": kind, "Source": source, "Destination": target}


class ApiFake:
    """Knows one container."""

    def __init__(self, mounts: list[dict[str, Any]]) -> None:
        self.mounts = mounts

    def inspect_container(self, number: str) -> dict[str, Any]:
        if number != ID:
            raise NotFound("no such container")
        return {"Mounts": self.mounts, "Image": "sha256:1"}


@pytest.mark.parametrize(
    ("mounts", "path", "expected"),
    [
        ([mount("bind", "/srv/data", "/data")], "/data/executor", "/srv/data/executor"),
        (
            [mount("volume", "/var/lib/docker/volumes/v/_data", "/data")],
            "/data",
            "/var/lib/docker/volumes/v/_data",
        ),
        ([mount("bind", "/a", "/data"), mount("bind", "/b", "/data/executor")], "/data/executor/x", "/b/x"),
        ([mount("bind", "/a", "/data")], "/database", None),
        ([mount("tmpfs", "", "/data")], "/data", None),
        ([], "/data", None),
    ],
)
def test_the_deepest_mount_holds_a_path(mounts: list[dict[str, Any]], path: str, expected: str | None):
    """Directories and volumes of the host are found, what is only in memory is not."""
    found = host_path(mounts, PurePosixPath(path))
    assert (str(found) if found else None) == expected


def test_the_own_container_is_found_by_its_mounts(tmp_path: Path):
    """The engine mounts files of the container's directory; elsewhere there are none."""
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTINFO)
    assert own_container(file) == ID
    file.write_text("22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n")
    assert own_container(file) == ""


def test_outside_of_containers_paths_are_the_same():
    """An executor on the host needs no translation; below the state directory only."""
    paths = find_host_paths(ApiFake([]), Path("/state"), None, "")
    assert paths.of("/state/workers/1") == "/state/workers/1"
    with pytest.raises(ValueError, match="elsewhere"):
        paths.of("/elsewhere")


def test_a_state_directory_that_is_not_mounted_is_refused():
    """The message says what to mount where; the setting wins over what is found out."""
    with pytest.raises(FailedPrecondition, match="mount a volume or a directory at /state"):
        find_host_paths(ApiFake([]), Path("/state"), None, ID)
    with pytest.raises(FailedPrecondition, match="HANGAR_EXECUTOR_HOST_STATE"):
        find_host_paths(ApiFake([]), Path("/state"), None, "cd" * 32)
    given = find_host_paths(ApiFake([]), Path("/state"), Path("/on/host"), "cd" * 32)
    assert given.of("/state/workers/1") == "/on/host/workers/1"
    found = find_host_paths(ApiFake([mount("bind", "/h", "/state")]), Path("/state"), None, ID)
    assert (found.of("/state/code/x"), found.own_image) == ("/h/code/x", "sha256:1")

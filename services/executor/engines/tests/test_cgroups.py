"""Control groups of version 2, on a directory that looks like one: this is what the kernel would be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.executor.engines import cgroups
from services.executor.engines.base import WorkerResources
from services.executor.engines.cgroups import ControlGroupsV2, find_control_groups, own_limits


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory of an engine's groups."""
    place = tmp_path / "hangar"
    place.mkdir()
    return place


def test_version_2_limits_are_what_the_kernel_reads(root: Path) -> None:
    """Memory is in bytes, swap is off, processor time is a quota per period, and processes are counted."""
    place = root / "worker-7"
    place.mkdir()
    for name in ("memory.swap.max", "cgroup.kill"):
        (place / name).touch()
    groups = ControlGroupsV2(root, frozenset({"memory", "cpu", "pids"}))
    group = groups.create(7, WorkerResources(cpu_millis=1500, memory_bytes=2**30), 64)
    written = {
        name: (place / name).read_text() for name in ("memory.max", "memory.swap.max", "cpu.max", "pids.max")
    }
    assert written == {
        "memory.max": str(2**30),
        "memory.swap.max": "0",
        "cpu.max": "150000 100000",
        "pids.max": "64",
    }
    assert group.join == (str(place / "cgroup.procs"),)
    assert group.kill == str(place / "cgroup.kill")
    assert group.oom == str(place / "memory.events")


def test_without_limits_nothing_is_written(root: Path) -> None:
    """A worker without limits has a group without limits."""
    ControlGroupsV2(root, frozenset({"memory", "cpu", "pids"})).create(1, WorkerResources(), 0)
    assert list((root / "worker-1").iterdir()) == []


def test_version_2_freezes(root: Path) -> None:
    """Freezing and thawing is one file."""
    groups = ControlGroupsV2(root, frozenset({"memory"}))
    groups.create(1, WorkerResources(), 0)
    groups.set_frozen(1, True)
    assert (root / "worker-1" / "cgroup.freeze").read_text() == "1"
    groups.set_frozen(1, False)
    assert (root / "worker-1" / "cgroup.freeze").read_text() == "0"


def test_groups_of_user_code_are_removed_as_well(root: Path) -> None:
    """A group goes with the groups that were made in it."""
    groups = ControlGroupsV2(root, frozenset())
    groups.create(1, WorkerResources(), 0)
    (root / "worker-1" / "inner" / "innermost").mkdir(parents=True)
    assert groups.worker_ids() == {1}
    assert groups.remove(1)
    assert groups.worker_ids() == set()
    assert groups.remove(1)


def test_version_2_is_used_where_it_has_the_controllers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delegated group of version 2 hands its controllers down to the engine's groups."""
    own = tmp_path / "user.slice" / "hangar.service"
    own.mkdir(parents=True)
    (own / "cgroup.controllers").write_text("cpuset cpu memory pids\n")
    (own / "cgroup.subtree_control").write_text("")
    monkeypatch.setattr(cgroups, "_own_groups", lambda: {"": "/user.slice/hangar.service"})
    monkeypatch.setattr(cgroups, "_mounts", lambda: {"": (tmp_path, "/")})
    groups = find_control_groups("engine")
    assert groups is not None
    assert groups.controllers == {"cpu", "memory", "pids", "freezer"}
    assert (own / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (own / "engine" / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"


def test_no_groups_where_none_are_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without control groups the engine limits by watching."""
    monkeypatch.setattr(cgroups, "_mounts", dict)
    assert find_control_groups("engine") is None


def test_the_limits_of_a_container_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest limit on the way to the root counts, and "max" is none."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    (inner / "cpu.max").write_text("max 100000\n")
    (tmp_path / "outer" / "memory.max").write_text(f"{2**31}\n")
    (tmp_path / "outer" / "cpu.max").write_text("250000 100000\n")
    monkeypatch.setattr(cgroups, "_own_groups", lambda: {"": "/outer/inner"})
    monkeypatch.setattr(cgroups, "_mounts", lambda: {"": (tmp_path, "/")})
    assert own_limits() == (2500, 2**31)

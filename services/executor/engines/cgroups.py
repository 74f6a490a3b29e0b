"""Control groups of workers, version 1 and 2, where this process may make them.

All groups are below one of this process's own group, so limits of the executor hold for its workers as well.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from services.executor.engines.base import WorkerResources

_PERIOD_MICROS = 100_000
_PREFIX = "worker-"
_REMOVAL_SECONDS = 5.0
_FREEZE_SECONDS = 2.0
_UNLIMITED_BYTES = 2**60
"""Version 1 writes a huge number where there is no limit."""


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """The files of one worker's group, empty where the kernel or the settings have no such thing.

    Attributes:
        join: Files that a process writes 0 to.
        oom: Counts processes that the kernel killed for memory.
        peak: Highest memory use.
        members: Lists the processes.
        kill: Kills all of them when 1 is written.
    """

    join: tuple[str, ...]
    oom: str
    peak: str
    members: str
    kill: str


class ControlGroups(ABC):
    """The groups of one engine's workers.

    Attributes:
        controllers: What can be limited here: "memory", "cpu", "pids"; and "freezer".
    """

    controllers: frozenset[str]

    @abstractmethod
    def create(self, worker_id: int, resources: WorkerResources, pids_limit: int) -> WorkerGroup:
        """Makes the group of a worker with its limits.

        Raises:
            OSError: The kernel refuses.
        """

    @abstractmethod
    def directories(self, worker_id: int) -> list[Path]:
        """The directories of a worker's group, whether they exist or not."""

    @abstractmethod
    def set_frozen(self, worker_id: int, frozen: bool) -> None:
        """Stops the processes of a group where they are, or lets them go on; returns when they do.

        Raises:
            OSError: There is no such group.
        """

    @abstractmethod
    def memory(self, worker_id: int) -> int:
        """Memory in use in bytes, 0 when not measured."""

    @abstractmethod
    def worker_ids(self) -> set[int]:
        """Workers that have a group."""

    @abstractmethod
    def close(self) -> None:
        """Removes what holds the groups, when there are none left."""

    def members(self, worker_id: int) -> set[int]:
        """Processes in a worker's group, of all controllers."""
        found: set[int] = set()
        for directory in self.directories(worker_id):
            try:
                found.update(map(int, (directory / "cgroup.procs").read_text().split()))
            except OSError:
                continue
        return found

    def remove(self, worker_id: int) -> bool:
        """Kills what is left in a worker's group and removes the group. True when nothing is left of it."""
        deadline = time.monotonic() + _REMOVAL_SECONDS
        left = [directory for directory in self.directories(worker_id) if directory.exists()]
        if left and self.members(worker_id):
            with suppress(FileNotFoundError):
                self.set_frozen(worker_id, False)
        while left:
            for pid in self.members(worker_id):
                _kill(pid)
            left = [directory for directory in left if not _remove_tree(directory)]
            if left and time.monotonic() > deadline:
                return False
            if left:
                time.sleep(0.002)
        return True


class ControlGroupsV1(ControlGroups):
    """One hierarchy per controller.

    Args:
        roots: Directory of the engine's groups by controller.
    """

    def __init__(self, roots: dict[str, Path]) -> None:
        self.roots = roots
        self.controllers = frozenset(roots)

    def create(self, worker_id: int, resources: WorkerResources, pids_limit: int) -> WorkerGroup:
        """See `ControlGroups`."""
        places = {name: root / f"{_PREFIX}{worker_id}" for name, root in self.roots.items()}
        for place in places.values():
            place.mkdir(parents=True, exist_ok=True)
        memory = places.get("memory")
        if memory is not None and resources.memory_bytes:
            _write(memory / "memory.limit_in_bytes", resources.memory_bytes)
            _write_if_there(memory / "memory.memsw.limit_in_bytes", resources.memory_bytes)
        if "cpu" in places and resources.cpu_millis:
            _write(places["cpu"] / "cpu.cfs_period_us", _PERIOD_MICROS)
            _write(places["cpu"] / "cpu.cfs_quota_us", _quota(resources.cpu_millis))
        if "pids" in places and pids_limit:
            _write(places["pids"] / "pids.max", pids_limit)
        first = next(iter(places.values()))
        return WorkerGroup(
            join=tuple(str(place / "cgroup.procs") for place in places.values()),
            oom=str(memory / "memory.oom_control") if memory else "",
            peak=str(memory / "memory.max_usage_in_bytes") if memory else "",
            members=str(first / "cgroup.procs"),
            kill="",
        )

    def directories(self, worker_id: int) -> list[Path]:
        """See `ControlGroups`."""
        return [root / f"{_PREFIX}{worker_id}" for root in self.roots.values()]

    def set_frozen(self, worker_id: int, frozen: bool) -> None:
        """See `ControlGroups`."""
        if "freezer" in self.roots:
            state = self.roots["freezer"] / f"{_PREFIX}{worker_id}" / "freezer.state"
            wanted = "FROZEN" if frozen else "THAWED"
            _write(state, wanted)
            _wait_until(lambda: state.read_text().strip() == wanted)

    def memory(self, worker_id: int) -> int:
        """See `ControlGroups`."""
        root = self.roots.get("memory")
        return _number(root / f"{_PREFIX}{worker_id}" / "memory.usage_in_bytes") if root else 0

    def close(self) -> None:
        """See `ControlGroups`."""
        for root in self.roots.values():
            _remove_group(root)

    def worker_ids(self) -> set[int]:
        """See `ControlGroups`."""
        return {number for root in self.roots.values() for number in _worker_ids(root)}


class ControlGroupsV2(ControlGroups):
    """One hierarchy for all controllers.

    Args:
        root: Directory of the engine's groups.
        controllers: Those that are enabled for groups below it.
    """

    def __init__(self, root: Path, controllers: frozenset[str]) -> None:
        self._root = root
        self.controllers = controllers | {"freezer"}

    def create(self, worker_id: int, resources: WorkerResources, pids_limit: int) -> WorkerGroup:
        """See `ControlGroups`."""
        place = self._place(worker_id)
        place.mkdir(exist_ok=True)
        has_memory = "memory" in self.controllers
        if has_memory and resources.memory_bytes:
            _write(place / "memory.max", resources.memory_bytes)
            _write_if_there(place / "memory.swap.max", 0)
        if "cpu" in self.controllers and resources.cpu_millis:
            _write(place / "cpu.max", f"{_quota(resources.cpu_millis)} {_PERIOD_MICROS}")
        if "pids" in self.controllers and pids_limit:
            _write(place / "pids.max", pids_limit)
        kill = place / "cgroup.kill"
        return WorkerGroup(
            join=(str(place / "cgroup.procs"),),
            oom=str(place / "memory.events") if has_memory else "",
            peak=str(place / "memory.peak") if has_memory else "",
            members=str(place / "cgroup.procs"),
            kill=str(kill) if kill.exists() else "",
        )

    def directories(self, worker_id: int) -> list[Path]:
        """See `ControlGroups`."""
        return [self._place(worker_id)]

    def set_frozen(self, worker_id: int, frozen: bool) -> None:
        """See `ControlGroups`."""
        place = self._place(worker_id)
        _write(place / "cgroup.freeze", int(frozen))
        if (place / "cgroup.events").exists():
            _wait_until(lambda: f"frozen {int(frozen)}" in (place / "cgroup.events").read_text().splitlines())

    def memory(self, worker_id: int) -> int:
        """See `ControlGroups`."""
        return _number(self._place(worker_id) / "memory.current") if "memory" in self.controllers else 0

    def close(self) -> None:
        """See `ControlGroups`."""
        _remove_group(self._root)

    def worker_ids(self) -> set[int]:
        """See `ControlGroups`."""
        return _worker_ids(self._root)

    def _place(self, worker_id: int) -> Path:
        return self._root / f"{_PREFIX}{worker_id}"


def find_control_groups(name: str) -> ControlGroups | None:
    """The groups that this process may make, None when it may make none.

    Args:
        name: Name of the directory that the groups of this engine are made in.
    """
    own = _own_groups()
    mounts = _mounts()
    roots: dict[str, Path] = {}
    for controller in ("memory", "cpu", "pids", "freezer"):
        mount = mounts.get(controller)
        if mount is not None and controller in own:
            place = _below(mount, own[controller]) / name
            if _make(place):
                roots[controller] = place
    if "memory" in roots:
        return ControlGroupsV1(roots)
    unified = mounts.get("")
    if unified is None or "" not in own:
        return None
    return _delegated(_below(unified, own[""]), name)


def own_limits() -> tuple[int, int]:
    """Processor time (in thousandths of a core) and memory (in bytes) that this process's own groups allow.

    Either is 0 when there is no limit, as on a host; in a container these are the container's.
    """
    own, mounts = _own_groups(), _mounts()
    cpu: list[int] = []
    memory: list[int] = []
    for controller, group in own.items():
        if controller not in mounts:
            continue
        mount = mounts[controller]
        place = _below(mount, group)
        while place.is_relative_to(mount[0]):
            memory += [_number(place / "memory.limit_in_bytes"), _number(place / "memory.max")]
            cpu.append(_cpu_limit(place))
            place = place.parent
    smallest_memory = min((value for value in memory if 0 < value < _UNLIMITED_BYTES), default=0)
    return min((value for value in cpu if value > 0), default=0), smallest_memory


def _cpu_limit(place: Path) -> int:
    try:
        if (place / "cpu.max").exists():
            quota, period = (place / "cpu.max").read_text().split()
        else:
            quota = (place / "cpu.cfs_quota_us").read_text().strip()
            period = (place / "cpu.cfs_period_us").read_text().strip()
    except (OSError, ValueError):
        return 0
    return int(quota) * 1000 // int(period) if quota.isdecimal() else 0


def _delegated(own: Path, name: str) -> ControlGroups | None:
    """Version 2: the controllers have to be handed down, which a group with processes in it may not do."""
    try:
        wanted = {"memory", "cpu", "pids"} & set((own / "cgroup.controllers").read_text().split())
        if not wanted or not _make(own / name):
            return None
        _hand_down(own, wanted, name)
        _write(own / name / "cgroup.subtree_control", " ".join(f"+{one}" for one in sorted(wanted)))
    except OSError:
        return None
    return ControlGroupsV2(own / name, frozenset(wanted))


def _hand_down(own: Path, wanted: set[str], name: str) -> None:
    if wanted <= set((own / "cgroup.subtree_control").read_text().split()):
        return
    control = " ".join(f"+{one}" for one in sorted(wanted))
    try:
        _write(own / "cgroup.subtree_control", control)
    except OSError as error:
        members = set(map(int, (own / "cgroup.procs").read_text().split()))
        if error.errno != errno.EBUSY or members != {os.getpid()}:
            raise
        # The group is ours alone: this process moves into a leaf of its own and so frees it.
        leaf = own / f"{name}-executor"
        leaf.mkdir(exist_ok=True)
        _write(leaf / "cgroup.procs", 0)
        _write(own / "cgroup.subtree_control", control)


def _own_groups() -> dict[str, str]:
    """The groups that this process is in, by controller; version 2 under the empty name."""
    groups: dict[str, str] = {}
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def _mounts() -> dict[str, tuple[Path, str]]:
    """Where hierarchies are mounted, and which group is at the mount, by controller."""
    mounts: dict[str, tuple[Path, str]] = {}
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return {}
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(" ", 2)
        place = (Path(fields[4]), fields[3])
        if kind == "cgroup2":
            mounts[""] = place
        elif kind == "cgroup":
            for option in options.split(","):
                mounts.setdefault(option, place)
    return mounts


def _below(mount: tuple[Path, str], group: str) -> Path:
    place, root = mount
    inside = group.removeprefix(root.rstrip("/")) if group.startswith(root) else ""
    return place / inside.lstrip("/")


def _make(place: Path) -> bool:
    try:
        place.mkdir(exist_ok=True)
    except OSError:
        return False
    return os.access(place, os.W_OK)


def _quota(cpu_millis: int) -> int:
    return max(cpu_millis * _PERIOD_MICROS // 1000, 1000)


def _worker_ids(root: Path) -> set[int]:
    names = (place.name.removeprefix(_PREFIX) for place in root.glob(f"{_PREFIX}*"))
    return {int(name) for name in names if name.isdecimal()}


def _remove_tree(directory: Path) -> bool:
    """Removes a group and the groups that user code made in it."""
    for path, names, _ in os.walk(directory, topdown=False):
        for name in names:
            _remove_group(Path(path, name))
    return _remove_group(directory)


def _remove_group(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _wait_until(condition: Callable[[], bool]) -> None:
    """Gives the kernel time to do what it was told."""
    deadline = time.monotonic() + _FREEZE_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _write(path: Path, value: int | str) -> None:
    path.write_text(str(value))


def _write_if_there(path: Path, value: int | str) -> None:
    if path.exists():
        _write(path, value)

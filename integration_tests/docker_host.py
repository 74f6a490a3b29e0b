"""The containers of one executor, as the engine shows them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from docker.errors import NotFound
from docker.models.networks import Network

from integration_tests.components.engine import connect
from integration_tests.outside import remove_rules

EXECUTOR_LABEL, WORKER_LABEL = "hangar.executor", "hangar.worker"


class WorkerContainer(NamedTuple):
    """A container of a worker."""

    worker_id: int
    id: str
    state: str

    @property
    def name(self) -> str:
        """Name of the worker, as `notes.worker` gives it."""
        return f"worker-{self.worker_id}"


class DockerHost:
    """Looks at an engine beside the executor.

    Args:
        url: Where the engine listens.
        state: State directory of the executor. It gets its identity when the executor starts first.
    """

    def __init__(self, url: str, state: Path) -> None:
        self.client = connect(url)
        self._state = state

    @property
    def identity(self) -> str:
        """The value of the label of all that the executor makes; empty before it has started."""
        path = self._state / "identity"
        return path.read_text().strip() if path.exists() else ""

    def containers(self) -> list[WorkerContainer]:
        """Containers of the executor in the order of their workers, in whatever state."""
        if not self.identity:
            return []
        label = f"{EXECUTOR_LABEL}={self.identity}"
        found = self.client.api.containers(all=True, filters={"label": label})
        return sorted(
            WorkerContainer(int(each["Labels"][WORKER_LABEL]), each["Id"], each["State"]) for each in found
        )

    def networks(self) -> list[Network]:
        """Networks of the executor."""
        if not self.identity:
            return []
        label = f"{EXECUTOR_LABEL}={self.identity}"
        found: list[Network] = self.client.networks.list(filters={"label": label})
        return found

    def running(self) -> set[str]:
        """Names of the workers that live, as `notes.worker` gives them."""
        return {each.name for each in self.containers() if each.state == "running"}

    def kill(self, worker: str) -> None:
        """`kill -9` of all in a worker's container, by the name that `notes.worker` gives."""
        [found] = [each for each in self.containers() if each.name == worker]
        self.client.api.kill(found.id)

    def pids_of(self, numbers: set[int]) -> set[int]:
        """Process ids, on this machine, of the first process in the containers of some workers."""
        found: set[int] = set()
        for each in self.containers():
            if each.worker_id not in numbers:
                continue
            try:
                state: dict[str, Any] = self.client.api.inspect_container(each.id)["State"]
            except NotFound:  # it has ended and was removed meanwhile
                continue
            found.add(state["Pid"])
        return found

    def remove_all(self) -> None:
        """Removes what an executor that is gone for good has left: its workers outlive it by design."""
        for container in self.containers():
            with suppress(NotFound):
                self.client.api.remove_container(container.id, force=True, v=True)
        for network in self.networks():
            network.remove()
        if self.identity:
            remove_rules(self.identity)

    def close(self) -> None:
        """Closes the connection."""
        self.client.close()

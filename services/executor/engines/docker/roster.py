"""The workers of a Docker engine: which live, which have ended, and how that is found out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import docker
from docker.errors import APIError, NotFound

from services.executor.engines.base import UnknownWorkerError, WorkerExit
from services.executor.engines.docker import directories
from services.executor.engines.docker.client import EngineClient
from services.executor.engines.docker.containers import (
    DISK_LABEL,
    IMAGE_LABEL,
    LOG_LABEL,
    WORKER_LABEL,
    container_name,
    labels_filter,
)
from services.executor.engines.docker.ends import MEMORY_LIMIT, exit_of, needs_last_words
from services.executor.engines.docker.outputs import Outputs
from services.executor.engines.docker.starts import Starts
from services.executor.engines.docker.worker_container import WorkerContainer

LIVING = frozenset({"running", "paused", "restarting"})
"""States of containers that have started and not ended."""
_LAST_WORDS_LINES, _LAST_WORDS_CHARS = 20, 2000


class Listed(NamedTuple):
    """A container of this executor, as the engine lists it."""

    worker_id: int
    state: str
    disk_bytes: int
    log: str
    image: str


class Roster:
    """Knows every worker from its launch until it is forgotten, and reports each end once.

    The engine's events only say where to look: what a container's state is when it is looked at counts.

    Args:
        client: The engine.
        starts: Knows which containers may have been left by launches that failed.
        outputs: Copies what programs print.
        keep: Runs work in the background until the engine is closed.
    """

    def __init__(
        self,
        client: EngineClient,
        starts: Starts,
        outputs: Outputs,
        keep: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._client = client
        self._starts = starts
        self._keep = keep
        self._outputs = outputs
        self.identity = ""
        """The value of the label `hangar.executor` of its containers. Known once the engine has started."""
        self.living: dict[int, WorkerContainer] = {}
        """Workers whose end was not reported yet."""
        self.launching: dict[int, asyncio.Task[None]] = {}
        """Launches that were not answered yet."""
        self.gone: set[int] = set()
        """Workers that were reported or forgotten."""
        self.exits: asyncio.Queue[WorkerExit] = asyncio.Queue()
        """What `events` reports."""
        self.connections = 0
        """How often the connection to the engine's events was made."""

    def name_of(self, worker_id: int) -> str:
        """Returns the name of a worker's container."""
        return container_name(self.identity, worker_id)

    def track(self, worker_id: int, directory: Path, disk_bytes: int, log: str = "") -> WorkerContainer:
        """Adds a worker."""
        name = self.name_of(worker_id)
        worker = WorkerContainer(worker_id, name, directory, disk_bytes, log, self.connections)
        self.living[worker_id] = worker
        return worker

    def worker(self, worker_id: int) -> WorkerContainer:
        """Returns a worker that lives.

        Raises:
            UnknownWorkerError: There is none of that number.
        """
        try:
            return self.living[worker_id]
        except KeyError:
            raise UnknownWorkerError(f"this host has no worker {worker_id} that lives") from None

    async def containers(self) -> list[Listed]:
        """Returns all containers of this executor, running or not."""
        filters = labels_filter(self.identity)
        found = await self._client.insist(lambda api: api.containers(all=True, filters=filters))
        return sorted(
            (
                Listed(
                    int(each["Labels"][WORKER_LABEL]),
                    each["State"],
                    int(each["Labels"].get(DISK_LABEL) or 0),
                    each["Labels"].get(LOG_LABEL) or "",
                    each["Labels"].get(IMAGE_LABEL) or "",
                )
                for each in found
                if str(each["Labels"].get(WORKER_LABEL)).isdecimal()
            ),
            key=lambda each: each.worker_id,
        )

    def container_ended(self, worker_id: int) -> None:
        """The engine says that a container has ended."""
        worker = self.living.get(worker_id)
        if worker is not None:
            self.look(worker)

    def look(self, worker: WorkerContainer) -> None:
        """Finds out whether a worker has ended, and reports it if so."""
        if not worker.is_settling and not worker.ended.done():
            worker.is_settling = True
            self._keep(self._report(worker))

    async def _report(self, worker: WorkerContainer) -> None:
        launching = self.launching.get(worker.worker_id)
        if launching is not None:
            await asyncio.wait([launching])
        try:
            state = await self._client.insist(lambda api: _state(api, worker.name))
            if self.living.get(worker.worker_id) is not worker:
                return  # it could not be started
            if state is not None and state["Status"] in LIVING:
                return
            ended = await self._exit(worker, state)
        finally:
            worker.is_settling = False
        del self.living[worker.worker_id]
        self.gone.add(worker.worker_id)
        worker.ended.set_result(ended)
        self.exits.put_nowait(ended)

    async def _exit(self, worker: WorkerContainer, state: dict[str, Any] | None) -> WorkerExit:
        record = await asyncio.to_thread(directories.exit_record, worker.directory)
        last_words = ""
        if worker.is_program:
            await self._outputs.copy(worker)
        if needs_last_words(state, record) and not worker.kill_reason:
            last_words = await self._client.insist(lambda api: _last_words(api, worker.name))
        return exit_of(
            worker.worker_id,
            state,
            record,
            kill_reason=worker.kill_reason,
            evicted=worker.evicted,
            restarted=self.connections != worker.connection,
            supervised=not worker.is_program,
            last_words=last_words,
        )

    async def reconcile(self) -> None:
        """Compares what is there with what should be: events may have been missed."""
        listed = {found.worker_id: found for found in await self.containers()}
        for worker in list(self.living.values()):
            found = listed.get(worker.worker_id)
            if worker.worker_id in self.launching:
                continue
            if found is None or found.state not in LIVING:
                self.look(worker)
            elif not worker.is_settling:
                worker.connection = self.connections  # it outlived a restart of the engine
        for number in listed:
            name = self.name_of(number)
            if name in self._starts.abandoned and number not in self.launching:
                await self._starts.remove(name, None)
                self._starts.abandoned.discard(name)


def _state(api: docker.APIClient, name: str) -> dict[str, Any] | None:
    try:
        description = api.inspect_container(name)
    except NotFound:
        return None
    return {**description["State"], MEMORY_LIMIT: description["HostConfig"].get("Memory", 0)}


def _last_words(api: docker.APIClient, name: str) -> str:
    try:
        text = api.logs(name, stdout=True, stderr=True, tail=_LAST_WORDS_LINES)
    except APIError:
        return ""
    return str(text.decode(errors="replace")).strip()[-_LAST_WORDS_CHARS:]

"""What programs in containers print: copied from the engine's log into a file of the worker's directory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import docker
import structlog
from docker.errors import APIError

from services.executor.engines.docker.client import EngineClient
from services.executor.engines.docker.worker_container import WorkerContainer

log = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 1.0
_POSITION = "output.json"
"""File in a worker's directory that says how far its output was copied, for whoever adopts it."""


class Position(NamedTuple):
    """How far an output was copied: the engine's time of the last piece, and how many of that time."""

    at: str = ""
    pieces: int = 0


class Outputs:
    """Copies what programs print, at intervals and once more when they have ended.

    Args:
        client: The engine.
    """

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def run(self, living: Mapping[int, WorkerContainer]) -> None:
        """Copies the output of all programs that live, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            for worker in list(living.values()):
                if worker.is_program and not worker.copying.locked():
                    await self.copy(worker)

    async def copy(self, worker: WorkerContainer) -> None:
        """Copies what a program has printed by now. A container that is not there has printed nothing."""
        async with worker.copying:
            try:
                await self._client.insist(lambda api: _copy(api, worker))
            except APIError as error:
                log.debug("engine.no_output", worker=worker.worker_id, error=str(error))
            except OSError as error:
                log.warning("engine.output_not_copied", worker=worker.worker_id, error=str(error))


def _copy(api: docker.APIClient, worker: WorkerContainer) -> None:
    place = worker.directory / _POSITION
    position = _read(place)
    with (worker.directory / worker.log).open("ab") as file:
        last = Position()
        for piece in _pieces(api, worker.name, position):
            at, _, text = piece.partition(b" ")
            last = Position(at.decode(), last.pieces + 1 if at.decode() == last.at else 1)
            if last > position:
                file.write(text)
        file.flush()
    if last > position:
        place.write_text(json.dumps(last))


def _pieces(api: docker.APIClient, name: str, position: Position) -> Iterator[bytes]:
    """Pieces of output from the second of a position on, each behind its time and a space."""
    since = int(datetime.fromisoformat(position.at).timestamp()) if position.at else 0
    options = {"since": since} if since else {}
    pieces: Iterator[bytes] = api.logs(
        name, stdout=True, stderr=True, stream=True, follow=False, timestamps=True, **options
    )
    return pieces


def _read(path: Path) -> Position:
    try:
        at, count = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return Position()
    return Position(str(at), int(count))

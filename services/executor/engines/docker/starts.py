"""Makes and starts containers, and takes back what could not be started."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import docker
import structlog
from docker.errors import APIError

from services.executor.engines.base import LaunchFailedError, WorkerSpec
from services.executor.engines.docker.client import EngineClient, EngineDownError, explanation
from services.executor.engines.docker.containers import EXECUTOR_LABEL
from services.executor.engines.docker.start_failures import start_failure

log = structlog.get_logger(__name__)

_DOWN_SECONDS = 30.0
"""How long a launch waits for an engine that is away."""
_CONFLICT, _NOT_FOUND = 409, 404


class Starts:
    """Starts containers, a few at a time: an engine on a busy host is not faster for being asked more at once.

    Args:
        client: The engine.
    """

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._turn = asyncio.Semaphore(max(2, os.cpu_count() or 1))
        self.abandoned: set[str] = set()
        """Names of containers that may be there although their launch failed, as the engine was away."""

    async def start(self, spec: WorkerSpec, name: str, body: dict[str, Any]) -> None:
        """Makes and starts a container. One of that name that was started before is left as it is.

        Raises:
            LaunchFailedError: It could not be made or started; nothing of it is left.
            ImageFailedError: Its image cannot run workers; nothing of it is left.
        """
        async with self._turn:
            try:
                if await self._create(spec, name, body):
                    await self._start(spec, name)
            except EngineDownError as error:
                self.abandoned.add(name)
                raise LaunchFailedError(f"{error} It was asked for {_DOWN_SECONDS:.0f} s") from error

    async def _create(self, spec: WorkerSpec, name: str, body: dict[str, Any]) -> bool:
        """Makes the container. False when there is one that was started before."""
        self.abandoned.discard(name)
        try:
            await self._client.insist(lambda api: api.create_container_from_config(body, name), _DOWN_SECONDS)
        except APIError as error:
            if error.status_code != _CONFLICT or "name" not in explanation(error).lower():
                raise start_failure(spec, explanation(error)) from error
            return await self._was_only_made(spec, name, body)
        return True

    async def _was_only_made(self, spec: WorkerSpec, name: str, body: dict[str, Any]) -> bool:
        """The name is taken: by a call whose answer got lost, or by a worker that was started before."""
        try:
            found = await self._client.insist(lambda api: api.inspect_container(name), _DOWN_SECONDS)
        except APIError as error:
            raise start_failure(spec, explanation(error)) from error
        if (found["Config"]["Labels"] or {}).get(EXECUTOR_LABEL) != body["Labels"][EXECUTOR_LABEL]:
            raise LaunchFailedError(f"the name {name} is taken by a container that is not of this executor")
        return bool(found["State"]["Status"] == "created")

    async def _start(self, spec: WorkerSpec, name: str) -> None:
        try:
            await self._client.insist(lambda api: api.start(name), _DOWN_SECONDS)
        except APIError as error:
            await self.remove(name)
            raise start_failure(spec, explanation(error)) from error

    async def remove(self, name: str, seconds: float | None = _DOWN_SECONDS) -> None:
        """Removes a container and its volumes, in whatever state. One that is gone is fine.

        Raises:
            EngineDownError: The engine is away for longer.
        """

        def ask(api: docker.APIClient) -> None:
            try:
                api.remove_container(name, v=True, force=True)
            except APIError as error:
                # "removal is already in progress" is a conflict
                if error.status_code not in {_NOT_FOUND, _CONFLICT}:
                    raise

        try:
            await self._client.insist(ask, seconds)
        except APIError as error:
            log.warning("engine.not_removed", container=name, error=explanation(error))

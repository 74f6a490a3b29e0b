"""Follows the engine's events in a thread of its own, and comes back when the engine does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import docker
import requests
import structlog
from docker.errors import DockerException

from services.executor.engines.docker.client import connect
from services.executor.engines.docker.containers import WORKER_LABEL, labels_filter

log = structlog.get_logger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_OVERLAP_SECONDS = 5
"""How far back events are asked for: what happens while the engine opens a stream is in none otherwise."""
_JOIN_SECONDS = 5.0


class Watch:
    """Tells which containers of an executor ended.

    Events that happen while the engine is away are not repeated by it: after every connection `on_connected` is called,
    and whoever is told looks for itself.

    Args:
        url: Where the engine listens.
        executor: Identity of the executor.
        on_end: Called on the event loop with the number of a worker whose container ended, or was removed.
        on_connected: Called on the event loop when events are followed, for the first time and again.
    """

    def __init__(
        self, url: str, executor: str, on_end: Callable[[int], None], on_connected: Callable[[], None]
    ) -> None:
        self._url = url
        self._executor = executor
        self._on_end = on_end
        self._on_connected = on_connected
        self._loop = asyncio.get_running_loop()
        self._closing = threading.Event()
        self._stream: Any = None
        self._thread = threading.Thread(target=self._run, name="docker-events", daemon=True)

    def start(self) -> None:
        """Begins to follow."""
        self._thread.start()

    async def close(self) -> None:
        """Ends the thread."""
        self._closing.set()
        stream = self._stream
        if stream is not None:
            with suppress(Exception):  # the library fails in many ways to close what is closed already
                stream.close()
        await asyncio.to_thread(self._thread.join, _JOIN_SECONDS)

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                self._follow()
            except (requests.exceptions.RequestException, DockerException, OSError, ValueError) as error:
                log.debug("engine.events_lost", error=str(error))
            pause = (
                _FIRST_PAUSE if time.monotonic() - began > _LONGEST_PAUSE else min(2 * pause, _LONGEST_PAUSE)
            )
            self._closing.wait(pause)

    def _follow(self) -> None:
        client: docker.DockerClient = connect(self._url)
        try:
            filters = {**labels_filter(self._executor), "type": "container", "event": ["die", "destroy"]}
            since = int(time.time()) - _OVERLAP_SECONDS
            self._stream = client.api.events(since=since, filters=filters, decode=True)
            if self._closing.is_set():
                return
            self._tell(self._on_connected)
            for event in self._stream:
                if self._closing.is_set():
                    return
                worker = event.get("Actor", {}).get("Attributes", {}).get(WORKER_LABEL, "")
                if worker.isdecimal():
                    self._tell(self._on_end, int(worker))
        finally:
            self._stream = None
            client.close()

    def _tell(self, function: Callable[..., None], *arguments: int) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function, *arguments)

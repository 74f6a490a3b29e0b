"""Calls to the Docker engine: in a few threads of their own, and again while it is away."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import docker
import requests
import structlog
from docker.errors import APIError, DockerException
from docker.utils import version_lt

from services.common.errors import FailedPrecondition

log = structlog.get_logger(__name__)

OLDEST_API = "1.41"
"""Of Docker 20.10."""
_UNIX = "unix://"
_THREADS = 16
_ANSWER_SECONDS = 120
"""Longest wait for one answer. The start of a container can take long on a busy host."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0

T = TypeVar("T")


class EngineDownError(Exception):
    """The engine does not answer. What was asked may have been done."""


class EngineClient:
    """The engine, asked from an event loop.

    Args:
        url: Where it listens.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="docker")
        self._library: docker.DockerClient | None = None

    @property
    def library(self) -> docker.DockerClient:
        """The library's client; there after `open`."""
        assert self._library is not None
        return self._library

    async def open(self) -> None:
        """Connects and finds out whether the engine will do.

        Raises:
            FailedPrecondition: It cannot be reached, or is too old. The message names the socket and what to do.
        """
        try:
            self._library = await self._run(lambda: connect(self.url))
        except DockerException as error:
            raise FailedPrecondition(_unreachable(self.url, error), reason="ENGINE_UNREACHABLE") from error
        version = self.library.api.api_version
        if version_lt(version, OLDEST_API):
            raise FailedPrecondition(
                f"the Docker engine at {self.url} speaks API {version}; {OLDEST_API} is needed: install Docker 20.10 "
                "or later, or set HANGAR_EXECUTOR_DOCKER to another engine",
                reason="ENGINE_TOO_OLD",
            )

    async def call(self, method: Callable[[docker.APIClient], T], *, is_down: bool = False) -> T:
        """Asks the engine once.

        Args:
            method: What is asked.
            is_down: True when it was away just now.

        Raises:
            APIError: It refuses.
            EngineDownError: It does not answer.
        """
        api = self.library.api
        try:
            if is_down:
                await self._run(lambda: probe(self.url))
            return await self._run(lambda: method(api))
        except APIError:
            raise
        except (requests.exceptions.RequestException, DockerException, OSError) as error:
            raise EngineDownError(
                f"the Docker engine at {self.url} does not answer ({_cause(error)}): is it running?"
            ) from error

    async def insist(self, method: Callable[[docker.APIClient], T], seconds: float | None = None) -> T:
        """Asks until there is an answer. What is asked must be harmless when it was done before.

        Args:
            method: What is asked.
            seconds: How long, None for as long as it takes.

        Raises:
            APIError: It refuses.
            EngineDownError: It did not answer in that time.
        """
        began = time.monotonic()
        pause = _FIRST_PAUSE
        is_down = False
        while True:
            try:
                return await self.call(method, is_down=is_down)
            except EngineDownError as error:
                is_down = True
                if seconds is not None and time.monotonic() - began >= seconds:
                    raise
                if pause == _LONGEST_PAUSE:
                    log.warning("engine.down", url=self.url, error=str(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _run(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def close(self) -> None:
        """Waits for what was asked, and disconnects."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        if self._library is not None:
            self._library.close()


def connect(url: str) -> docker.DockerClient:
    """Returns a client of the library, with the newest API that both know.

    Raises:
        DockerException: The engine does not answer.
    """
    probe(url)
    client = docker.DockerClient(
        base_url=url, version="auto", timeout=_ANSWER_SECONDS, max_pool_size=_THREADS
    )
    # Proxies and credentials in the user's client configuration are not for an engine on this host.
    client.api.trust_env = False
    return client


def probe(url: str) -> None:
    """Finds out whether anything listens on a unix socket: the library leaves a socket open when nothing does.

    Raises:
        DockerException: Nothing does.
    """
    if not url.startswith(_UNIX):
        return
    path = url.removeprefix(_UNIX)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(path if path.startswith("/") else f"/{path}")
        except OSError as error:
            raise DockerException(f"{type(error).__name__}: {error}") from error


def explanation(error: APIError) -> str:
    """What the engine says about a refusal, on one line."""
    return " ".join(str(error.explanation or error).split())


def _unreachable(url: str, error: Exception) -> str:
    text = str(error)
    if "FileNotFoundError" in text:
        hint = "nothing is there: install and start Docker, or set HANGAR_EXECUTOR_DOCKER to the socket of its engine"
    elif "PermissionError" in text:
        hint = "this user may not open it: run the executor as a member of the group that owns the socket"
    else:
        hint = f"{_cause(error)}: start Docker, or set HANGAR_EXECUTOR_DOCKER to where its engine listens"
    return f"the Docker engine at {url} cannot be reached: {hint}"


def _cause(error: Exception) -> str:
    """The innermost reason, without the library's nesting."""
    deepest: BaseException = error
    while (below := deepest.__cause__ or deepest.__context__) is not None:
        deepest = below
    return str(deepest) or type(deepest).__name__

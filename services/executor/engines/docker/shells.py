"""Where scripts that change the host's filter are run."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

import docker
from docker.errors import DockerException

from services.common.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")
_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Finished:
    """A script that has ended."""

    code: int
    output: str


class Shell(Protocol):
    """Runs scripts where the host's filter is."""

    async def run(self, script: str) -> Finished:
        """Runs a script with `sh` and returns how it ended, with what it printed."""
        ...


class LocalShell:
    """Runs scripts as child processes: for an executor in the same network namespace as the engine."""

    async def run(self, script: str) -> Finished:
        """Runs a script."""
        return await asyncio.to_thread(self._run, script)

    @staticmethod
    def _run(script: str) -> Finished:
        done = subprocess.run(
            ["/bin/sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=_SECONDS,
        )
        return Finished(done.returncode, done.stdout.decode(errors="replace"))


class HelperShell:
    """Runs scripts in short-lived containers with the host's network: for an executor in a container.

    Args:
        client: The engine.
        image: Image with `sh` and `iptables`: the executor's own.
        executor: Identity of the executor, for the label.
    """

    def __init__(self, client: docker.DockerClient, image: str, executor: str) -> None:
        self._client = client
        self._image = image
        self._executor = executor

    async def run(self, script: str) -> Finished:
        """Runs a script."""
        return await asked(self._run, script)

    def _run(self, script: str) -> Finished:
        container = self._client.containers.create(
            self._image,
            entrypoint=["/bin/sh", "-c", script],
            command=[],
            user="0:0",
            network_mode="host",
            cap_drop=["ALL"],
            cap_add=["NET_ADMIN", "NET_RAW"],
            security_opt=["no-new-privileges"],
            labels={"hangar.helper": self._executor},
        )
        try:
            container.start()
            code = int(container.wait(timeout=60)["StatusCode"])
            return Finished(code, container.logs().decode(errors="replace"))
        finally:
            container.remove(force=True)


async def asked(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls the engine in a thread.

    Raises:
        Unavailable: The engine refused or does not answer.
    """
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except (DockerException, OSError) as error:
        cause = getattr(error, "explanation", None) or error
        raise Unavailable(f"the Docker engine failed: {cause}", reason="ENGINE_FAILED") from error

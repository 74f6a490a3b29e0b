"""An engine whose images are files, with a BuildKit that asks builds for what the real one asks for."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc

from hangar.buildkit.v1.buildkit_pb2 import BuildLog, BuildStatus, BuildVertex
from services.image_builder.engine import BuilderEngine, StoredImage
from services.image_builder.engine_streams import Headers, Streams
from services.image_builder.tests.buildkit_client import receive, secret

_SECRET = re.compile(r"--mount=type=secret,id=([\w.-]+)")


class FakeDocker:
    """What builds and what is there.

    Args:
        root: Directory of the images.
        platform: Platform of its engine.
    """

    def __init__(self, root: Path, platform: str = "linux/amd64") -> None:
        self.root = root
        self.platform = platform
        self.tells = self.fails = False
        """Whether builds print the secrets that they are given, and whether they fail."""
        self.last_words = "it broke"
        """What is printed by builds that fail."""
        self.started: list[str] = []
        """Names of the images whose builds have begun, in order."""
        self.running = 0
        """Builds that have not ended."""
        self._may_go = asyncio.Event()
        (root / "images").mkdir(parents=True)

    def go(self) -> None:
        """Lets builds end."""
        self._may_go.set()

    def hold(self) -> None:
        """Lets builds end no more."""
        self._may_go.clear()

    async def wait(self) -> None:
        """Waits until builds may end."""
        await self._may_go.wait()


class FakeEngine(BuilderEngine):
    """The engine of a `FakeDocker`."""

    def __init__(self, docker: FakeDocker) -> None:
        super().__init__("")
        self._docker = docker
        self._sessions: dict[str, grpc.aio.Channel] = {}

    async def take_over(self, path: str, headers: Headers) -> Streams:
        """A connection on which a client of gRPC speaks."""
        arrived: asyncio.Future[Streams] = asyncio.Future()
        server = await asyncio.start_server(
            lambda reader, writer: arrived.set_result((reader, writer)), "127.0.0.1", 0
        )
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        channel.get_state(try_to_connect=True)
        streams = await arrived
        server.close()
        self._sessions[str(headers["X-Docker-Expose-Session-Uuid"])] = channel
        return streams

    async def build(self, parameters: Mapping[str, str], on_event: Callable[[dict[str, Any]], None]) -> None:
        """Waits until builds may end, and makes the image a file."""
        name = parameters["t"].removeprefix("hangar/")
        channel = self._sessions.pop(parameters["session"])
        self._docker.started.append(name)
        self._docker.running += 1

        def tell(vertex: BuildVertex, text: str = "") -> None:
            logs = [BuildLog(vertex=vertex.digest, stream=1, msg=text.encode())] if text else []
            status = BuildStatus(vertexes=[vertex], logs=logs).SerializeToString()
            on_event({"id": "moby.buildkit.trace", "aux": base64.b64encode(status).decode()})

        try:
            step = BuildVertex(digest="1", name="[1/4] FROM base")
            step.started.GetCurrentTime()
            tell(step)
            files = await receive(channel, "dockerfile")
            await self._docker.wait()
            step = BuildVertex(digest="2", name="[2/4] RUN check")
            step.started.GetCurrentTime()
            tell(step, f"hello from {name}\n")
            for each in dict.fromkeys(_SECRET.findall(files["Dockerfile"].decode())):
                content = await secret(channel, each)
                if content is not None and self._docker.tells:
                    tell(step, f"{content.decode()}\n")
            if self._docker.fails:
                step.completed.GetCurrentTime()
                step.error = "executor failed running [x]: exit code: 3"
                tell(step, f"{self._docker.last_words}\n")
                on_event({"error": step.error})
                return
            image = {"platform": parameters["platform"], "labels": json.loads(parameters["labels"])}
            self._file(parameters["t"]).write_text(json.dumps(image))
        finally:
            self._docker.running -= 1
            await channel.close()

    async def platform(self) -> str:
        """That of its Docker."""
        return self._docker.platform

    async def image(self, reference: str) -> StoredImage | None:
        """An image whose file exists."""
        file = self._file(reference)
        if not file.exists():
            return None
        image = json.loads(file.read_text())
        made = datetime(2026, 1, 1, tzinfo=UTC)
        return StoredImage("sha256:1", image["labels"], 5, made, image["platform"])

    async def read_file(self, reference: str, path: str) -> bytes:
        """Its images have no files."""
        return b""

    async def runs(self, platform: str) -> bool:
        """Its own platform, and one more."""
        return platform in {"linux/amd64", "linux/386"}

    async def labelled(self, label: str) -> list[StoredImage]:
        """Images with a label, or with one of a value."""
        names = sorted(path.name for path in (self._docker.root / "images").iterdir())
        found = [each for name in names if (each := await self.image(f"hangar/{name}")) is not None]
        name, _, value = label.partition("=")
        return [each for each in found if name in each.labels and value in {"", each.labels[name]}]

    async def remove(self, reference: str) -> None:
        """Removes the file."""
        self._file(reference).unlink(missing_ok=True)

    def _file(self, reference: str) -> Path:
        return self._docker.root / "images" / reference.removeprefix("hangar/")

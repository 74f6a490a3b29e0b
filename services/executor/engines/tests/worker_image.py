"""An image that workers run from, made of this environment's packages: no network is needed."""

from __future__ import annotations

import io
import secrets
import tarfile
from importlib import metadata
from pathlib import Path

import docker

import flyte
from services.executor.engines.base import ImageDefinition, PreparedImage, Progress

_BASE = "python:3.11-slim-bookworm"
_DISTRIBUTIONS = (
    "pydantic",
    "pydantic_core",
    "annotated-types",
    "typing-extensions",
    "typing-inspection",
    "cloudpickle",
)
_ENVIRONMENT = "ENV PYTHONPATH=/opt/packages"
_DOCKERFILE = f"""
FROM {_BASE}
COPY packages /opt/packages
{_ENVIRONMENT}
RUN python3 -m compileall -q /opt/packages \\
 && (command -v python || ln -s "$(command -v python3)" /usr/local/bin/python)
"""


class WorkerImage:
    """Builds the image, and removes it.

    Args:
        url: The engine that gets it.
        name: Repository of the tag.
    """

    def __init__(self, url: str, name: str = "hangar-test-worker") -> None:
        self.reference = f"{name}:{secrets.token_hex(4)}"
        self._client = docker.DockerClient(base_url=url)
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as archive:
            _add(archive, "Dockerfile", _DOCKERFILE.encode())
            for path, name in _files():
                archive.add(path, f"packages/{name}")
        context.seek(0)
        said = self._client.api.build(
            fileobj=context, custom_context=True, tag=self.reference, rm=True, forcerm=True, decode=True
        )
        lines = list(said)
        assert not [line for line in lines if "error" in line], lines

    def copy_to(self, client: docker.DockerClient) -> None:
        """Gives the image to another engine as one layer: an engine without an overlay copies all of it per layer."""
        container = self._client.api.create_container(self.reference, ["true"])
        try:
            repository, _, tag = self.reference.partition(":")
            client.api.import_image_from_stream(
                self._client.api.export(container), repository=repository, tag=tag, changes=[_ENVIRONMENT]
            )
        finally:
            self._client.api.remove_container(container)

    def close(self) -> None:
        self._client.images.remove(self.reference, force=True)
        self._client.close()


def _files() -> list[tuple[Path, str]]:
    found = []
    for distribution in _DISTRIBUTIONS:
        for file in metadata.files(distribution) or []:
            if "__pycache__" not in file.parts:
                found.append((Path(str(file.locate())), str(file)))
    package = Path(flyte.__path__[0])
    for path in package.rglob("*"):
        name = path.relative_to(package)
        if path.is_file() and not {"__pycache__", "tests"} & set(name.parts):
            found.append((path, f"flyte/{name}"))
    return found


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


class FixedImages:
    """Gives the same image for every definition."""

    def __init__(self, reference: str) -> None:
        self.image = PreparedImage(reference, reference)
        self.forgotten: list[PreparedImage] = []

    async def ensure(self, definition: ImageDefinition, progress: Progress) -> PreparedImage:
        progress("ready")
        return self.image

    def forget(self, image: PreparedImage) -> None:
        self.forgotten.append(image)


class NoNetworks:
    """Gives workers no network."""

    def __init__(self) -> None:
        self.applied = 0

    async def start(self) -> None:
        self.applied += 1

    async def network_of(self, project: str, domain: str) -> str:
        return "none"

    async def reapply(self) -> None:
        self.applied += 1

    async def close(self) -> None:
        self.applied = 0

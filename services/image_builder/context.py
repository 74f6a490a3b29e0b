"""The directory that a build runs on: context and secrets, removed with the build."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import structlog

from services.common import archives
from services.common.blobs import BlobStore
from services.common.errors import InvalidArgument, NotFound
from services.common.image_layers import Archive
from services.common.sdk_layer import SdkLayer
from services.image_builder import inside
from services.image_builder.buildkit import BuildError
from services.image_builder.dockerfile import Recipe, SdkContent
from services.image_builder.host_settings import HostSettings

_log = structlog.get_logger(__name__)
_PREFIX = "build-"
_PROCESS = "process"
_TOOLS = ("prepare_python.py", "install_sdk.py")


@dataclass(frozen=True, slots=True)
class Context:
    """What a build runs on.

    Attributes:
        path: The build context, with a `Dockerfile` in it.
        secrets: Files of the secrets by identifier.
        base: The build context of the author's Dockerfile, None without one.
        process: File to note in which process builds.
        config: Directory that Docker's command line takes for its own, None for the usual one.
    """

    path: Path
    secrets: Mapping[str, Path]
    base: Path | None
    process: Path
    config: Path | None = None


class Contexts:
    """Makes directories for builds.

    Args:
        directory: Where.
        sdk: The platform's SDK.
        blobs: Where the archives of authors are.
    """

    def __init__(self, directory: Path, sdk: SdkLayer, blobs: BlobStore) -> None:
        self._directory = directory
        self._sdk = sdk
        self._blobs = blobs

    def sdk_content(self) -> SdkContent:
        """Returns the SDK as recipes name it."""
        tools = {name: (resources.files(inside) / name).read_text(encoding="utf-8") for name in _TOOLS}
        return SdkContent(self._sdk.digest, self._sdk.requirements, tools)

    def clear(self) -> None:
        """Removes what a process that died has left behind, and ends the builder that it has left running."""
        for leftover in self._directory.glob(f"{_PREFIX}*"):
            _end_builder(leftover)
            shutil.rmtree(leftover, ignore_errors=True)

    @asynccontextmanager
    async def make(
        self,
        recipe: Recipe,
        host: HostSettings,
        secrets: Mapping[str, bytes],
        installer: Path | None,
    ) -> AsyncIterator[Context]:
        """Makes the directory of one build, and removes it in the end.

        Args:
            recipe: How to build.
            host: Settings of this host.
            secrets: Secrets that layers see, by key.
            installer: The `uv` that installs packages; None when nothing is installed.

        Raises:
            BuildError: An archive of the author was not uploaded, or is none.
            HangarError: The blob store does not answer.
            OSError: The directory cannot be written.
        """
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._directory))
        filling = asyncio.create_task(
            asyncio.to_thread(self._fill, directory, recipe, host, secrets, installer)
        )
        try:
            context = await asyncio.shield(filling)
            for place, archive in recipe.archives.items():
                await self._unpack(archive, context.path / place, directory)
            if context.base is not None and recipe.base is not None and recipe.base.context is not None:
                await self._unpack(recipe.base.context, context.base, directory)
            yield context
        finally:
            await asyncio.wait([filling])  # a thread cannot be cancelled
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    @contextmanager
    def private(self) -> Iterator[Path]:
        """Makes a directory for what one build only may see, and removes it in the end."""
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._directory))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    async def _unpack(self, archive: Archive, place: Path, scratch: Path) -> None:
        file = scratch / f"{archive.sha256}.tar"
        try:
            await self._blobs.get_file(archive.key, file, sha256=archive.sha256)
        except NotFound as error:
            message = f"files of the image ({archive.key}) were not uploaded: run it again with this version of flyte"
            raise BuildError("FilesMissing", message) from error
        unpacking = asyncio.create_task(asyncio.to_thread(archives.unpack, file, place))
        try:
            await asyncio.shield(unpacking)
        except InvalidArgument as error:
            raise BuildError("FilesRefused", f"files of the image: {error.message}") from error
        finally:
            await asyncio.wait([unpacking])
            file.unlink(missing_ok=True)

    def _fill(
        self,
        directory: Path,
        recipe: Recipe,
        host: HostSettings,
        secrets: Mapping[str, bytes],
        installer: Path | None,
    ) -> Context:
        # The name is the same for every build: by it the engine knows what it has received before.
        path = directory / "context"
        for name, text in {"Dockerfile": recipe.dockerfile, **recipe.files}.items():
            _write(path / name, text)
        # One file with a time of its content: the engine, which looks at sizes and times, is sent it once.
        (path / "sdk.zip").write_bytes(self._sdk.archive)
        changed = int(self._sdk.digest[:7], 16)
        os.utime(path / "sdk.zip", (changed, changed))
        if installer is not None:
            _link(installer, path / "tools" / "uv")
        base = None
        if recipe.base is not None:
            base = directory / "base"
            base.mkdir()
            _write(directory / "base.Dockerfile", recipe.base.text)
            _write(directory / "base.Dockerfile.dockerignore", "# what is left out was not sent\n")
        files = {f"hangar-{name}": content for name, content in host.files.items()}
        files |= {f"hangar-secret-{key}": content for key, content in secrets.items()}
        return Context(path, _write_secrets(directory / "secrets", files), base, directory / _PROCESS)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _write_secrets(directory: Path, files: Mapping[str, bytes]) -> dict[str, Path]:
    directory.mkdir(mode=0o700)
    found = {}
    for name, content in files.items():
        path = directory / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        found[name] = path
    return found


def _end_builder(directory: Path) -> None:
    """Ends the process group of a builder that outlived its service; another process of its number is left alone."""
    try:
        pid = int((directory / _PROCESS).read_text())
        works_in = Path(f"/proc/{pid}/cwd").readlink()
    except (OSError, ValueError):  # it noted none, or has ended
        return
    if works_in != directory.resolve():
        return
    _log.info("a builder of an earlier process is ended", pid=pid)
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # on another disk
        shutil.copy2(source, target)

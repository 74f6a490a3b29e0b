"""The directory that a build runs on: context and secrets, removed with the build."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path

import uv

from services.common.sdk_layer import SdkLayer
from services.image_builder import inside
from services.image_builder.dockerfile import Recipe, SdkContent
from services.image_builder.host_settings import HostSettings

_PREFIX = "build-"
_TOOLS = ("prepare_python.py", "install_sdk.py")


class Contexts:
    """Makes directories for builds.

    Args:
        directory: Where.
        sdk: The platform's SDK.
        installer: Path of `uv`; empty for that of this installation.
    """

    def __init__(self, directory: Path, sdk: SdkLayer, installer: str = "") -> None:
        self._directory = directory
        self._sdk = sdk
        self._installer = Path(installer or uv.find_uv_bin())

    def sdk_content(self) -> SdkContent:
        """Returns the SDK as recipes name it."""
        tools = {name: (resources.files(inside) / name).read_text(encoding="utf-8") for name in _TOOLS}
        return SdkContent(self._sdk.digest, self._sdk.requirements, tools)

    def clear(self) -> None:
        """Removes what a process that died has left behind."""
        for leftover in self._directory.glob(f"{_PREFIX}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    @asynccontextmanager
    async def make(
        self, recipe: Recipe, host: HostSettings
    ) -> AsyncIterator[tuple[Path, Mapping[str, Path]]]:
        """Makes the directory of one build, and removes it in the end.

        Yields:
            The build context, and the files of the secrets by identifier.
        """
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._directory))
        filling = asyncio.create_task(asyncio.to_thread(self._fill, directory, recipe, host))
        try:
            yield await asyncio.shield(filling)
        finally:
            await asyncio.wait([filling])  # a thread cannot be cancelled
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    def _fill(self, directory: Path, recipe: Recipe, host: HostSettings) -> tuple[Path, dict[str, Path]]:
        # The name is the same for every build: by it the engine knows what it has received before.
        context = directory / "context"
        for name, text in {"Dockerfile": recipe.dockerfile, **recipe.files}.items():
            path = context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (context / "sdk").mkdir()
        self._sdk.copy_into(context / "sdk")
        _link(self._installer, context / "tools" / "uv")
        return context, _write_secrets(directory / "secrets", host)


def _write_secrets(directory: Path, host: HostSettings) -> dict[str, Path]:
    directory.mkdir(mode=0o700)
    found = {}
    for name, content in host.files.items():
        path = directory / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        found[f"hangar-{name}"] = path
    return found


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # on another disk
        shutil.copy2(source, target)

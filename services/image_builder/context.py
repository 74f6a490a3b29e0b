"""What a build runs on: recipe, SDK and installer as they are, archives of authors unpacked while it lasts."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from services.common import archives
from services.common.blobs import BlobStore
from services.common.errors import InvalidArgument, NotFound
from services.common.image_layers import Archive
from services.common.sdk_layer import SdkLayer
from services.image_builder import inside
from services.image_builder.dockerfile import Recipe, SdkContent
from services.image_builder.failures import BuildError
from services.image_builder.trees import Tree, stamp

_PREFIX = "build-"
_TOOLS = ("prepare_python.py", "compile_python.py", "install_sdk.py")


@dataclass(frozen=True, slots=True)
class Context:
    """What a build runs on.

    Attributes:
        tree: The build context.
        base: The build context of the author's Dockerfile, None without one.
    """

    tree: Tree
    base: Tree | None


class Contexts:
    """Makes what builds run on.

    Args:
        directory: Where archives are unpacked.
        sdk: The platform's SDK.
        blobs: Where the archives of authors are.
    """

    def __init__(self, directory: Path, sdk: SdkLayer, blobs: BlobStore) -> None:
        self._directory = directory
        self._sdk = sdk
        self._blobs = blobs
        self._archive = b""

    def sdk_content(self) -> SdkContent:
        """Returns the SDK as recipes name it."""
        tools = {name: (resources.files(inside) / name).read_text(encoding="utf-8") for name in _TOOLS}
        return SdkContent(self._sdk.digest, self._sdk.requirements, tools)

    def clear(self) -> None:
        """Removes what a process that died has left behind."""
        for leftover in self._directory.glob(f"{_PREFIX}*"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink()

    @asynccontextmanager
    async def make(self, recipe: Recipe, installer: Path | None) -> AsyncIterator[Context]:
        """Makes what one build runs on; what is unpacked for it is removed in the end.

        Args:
            recipe: How to build.
            installer: The `uv` that installs packages; None when nothing is installed.

        Raises:
            BuildError: An archive of the author was not uploaded, or is none.
            HangarError: The blob store does not answer.
            OSError: The directory cannot be written.
        """
        files: dict[str, bytes | Path] = {path: text.encode() for path, text in recipe.files.items()}
        if not self._archive:
            self._archive = await asyncio.to_thread(lambda: self._sdk.archive)
        files["sdk.zip"] = self._archive
        if installer is not None:
            files["tools/uv"] = installer
        wanted = dict(recipe.archives)
        base = recipe.base.context if recipe.base is not None else None
        if not wanted and base is None:
            yield Context(Tree(files), Tree() if recipe.base is not None else None)
            return
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._directory))
        try:
            unpacked = {}
            for number, (place, archive) in enumerate(wanted.items()):
                unpacked[place] = directory / str(number)
                await self._unpack(archive, unpacked[place], directory)
            if base is not None:
                await self._unpack(base, directory / "base", directory)
            author = Tree(directories={"": directory / "base"} if base is not None else {})
            yield Context(Tree(files, unpacked), author if recipe.base is not None else None)
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    async def _unpack(self, archive: Archive, place: Path, scratch: Path) -> None:
        file = scratch / f"{archive.sha256}.tar"
        try:
            await self._blobs.get_file(archive.key, file, sha256=archive.sha256)
        except NotFound as error:
            message = f"files of the image ({archive.key}) were not uploaded: run it again with this version of flyte"
            raise BuildError("FilesMissing", message) from error
        unpacking = asyncio.create_task(asyncio.to_thread(_unpack, file, place))
        try:
            await asyncio.shield(unpacking)
        except InvalidArgument as error:
            raise BuildError("FilesRefused", f"files of the image: {error.message}") from error
        finally:
            await asyncio.wait([unpacking])
            file.unlink(missing_ok=True)


def _unpack(archive: Path, place: Path) -> None:
    archives.unpack(archive, place)
    stamp(place)

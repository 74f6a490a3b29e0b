"""The `uv` that installs packages inside images: this installation's own, or a static one that runs in any image."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import structlog
import uv

from services.common.commands import run_command
from services.common.package_settings import host_environ
from services.common.platforms import architecture, host_platform
from services.image_builder.failures import BuildError

_log = structlog.get_logger(__name__)
_TARGETS = {
    "linux/amd64": "x86_64-unknown-linux-musl",
    "linux/arm64": "aarch64-unknown-linux-musl",
}
"""What `uv` calls the platforms that there is a static one for."""
_FETCHING = ".fetching-"
_SHOWN_LINES = 10


class Installers:
    """Gives installers for the kernels that builds run on, whatever the image on it is.

    A static one needs no C library, so that it runs in images with musl, and beside emulated programs: it asks the
    image's Python what to install. It comes from the package index of this host, once, when it is needed.

    Args:
        directory: Where fetched ones are kept.
        override: Path of one for all images, `{arch}` standing for the architecture of the engine; empty for none.
        index_url: Package index in place of this host's; empty for that.
    """

    def __init__(self, directory: Path, override: str = "", index_url: str = "") -> None:
        self._directory = directory
        self._override = override
        self._index_url = index_url
        self._fetching = asyncio.Lock()

    def given(self, engine: str, image: str) -> Path | None:
        """Returns what is there without a question: the operator's, or this installation's own.

        Args:
            engine: Platform of the engine that builds.
            image: Platform of the image.

        Returns:
            The installer; None when only a static one can run there.

        Raises:
            BuildError: The operator's is not there.
        """
        if self._override and ("{arch}" in self._override or engine == host_platform()):
            path = Path(self._override.replace("{arch}", architecture(engine)))
            if not path.is_file():
                message = (
                    f"HANGAR_IMAGE_BUILDER_UV names {path}, which is no file: name a uv for {engine}, or none"
                )
                raise BuildError("InstallerUnavailable", message, is_system=True)
            return path
        return Path(uv.find_uv_bin()) if engine == image == host_platform() else None

    @property
    def is_override(self) -> bool:
        """True when the operator has named one: no other one is tried."""
        return bool(self._override)

    def clear(self) -> None:
        """Removes what a process that died while it fetched has left behind."""
        for draft in self._directory.glob(f"{_FETCHING}*"):
            shutil.rmtree(draft, ignore_errors=True)

    async def static(self, engine: str) -> Path:
        """Returns a static one for an engine, fetched now unless it is here.

        Args:
            engine: Platform of the engine that builds.

        Raises:
            BuildError: There is none, or the package index has none.
        """
        target = _TARGETS.get(engine)
        if target is None:
            raise _unavailable(engine, f"there is none for {engine}")
        path = self._directory / f"uv-{version('uv')}-{target}"
        async with self._fetching:
            if not path.exists():
                await self._fetch(engine, target, path)
        return path

    async def _fetch(self, engine: str, target: str, path: Path) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=_FETCHING, dir=self._directory))
        command = [uv.find_uv_bin(), "pip", "install", "--python", sys.executable, "--target", str(draft)]
        command += ["--no-deps", "--only-binary", ":all:", "--python-platform", target, "--no-progress"]
        try:
            lines: list[str] = []
            environ = await asyncio.to_thread(host_environ, os.environ, self._index_url)
            code = await run_command(
                [*command, f"uv=={version('uv')}"], lines.append, environ, works_in=draft
            )
            if code:
                said = "\n".join(lines[-_SHOWN_LINES:])
                raise _unavailable(engine, f"uv {version('uv')} for {target} cannot be fetched:\n{said}")
            (draft / "bin" / "uv").replace(path)
            _log.info("static installer fetched", path=str(path))
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _unavailable(engine: str, why: str) -> BuildError:
    message = (
        "packages are installed in images with musl or of a foreign platform by a static uv, which comes from this "
        f"host's package index: let that offer it, or name one for {engine} in HANGAR_IMAGE_BUILDER_UV. {why}"
    )
    return BuildError("InstallerUnavailable", message, is_system=True)

"""Packages of one Python environment, installed by `uv`."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import uv

from services.common import installers
from services.common.commands import run_command
from services.common.image_layers import Archive, InstallLayer, ProjectLayer
from services.common.package_settings import host_environ
from services.executor.engines.base import ImageFailedError, Progress

_SHOWN_LINES = 15
_NOISE = ("Activate with", "Creating virtual environment", "Using ")
"""Lines of `uv` that name a place that will not exist for long."""
_OVERRIDES = "flyte; sys_platform == 'never'\nhangar-sdk; sys_platform == 'never'\n"
"""A requirement of these names, of the author or of a package, installs nothing: the SDK is there already."""
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Finished:
    """What came of a run of `uv`.

    Attributes:
        code: Its exit code.
        lines: What it said.
    """

    code: int
    lines: Sequence[str]

    @property
    def shown(self) -> str:
        """The last lines, for people."""
        return "\n".join(self.lines[-_SHOWN_LINES:])


async def run_uv(
    arguments: Sequence[str],
    progress: Progress,
    works_in: Path,
    more: Mapping[str, str] = _NOTHING,
    *,
    project: bool = False,
) -> Finished:
    """Runs `uv` with the settings of this host.

    Args:
        arguments: Its arguments.
        progress: Called with its lines.
        works_in: Directory that it works in.
        more: Further environment variables; an empty one is unset.
        project: True for the settings of the directory's project to count beside those of the host.

    Raises:
        HangarError: Settings of this host cannot be used.
    """
    lines: list[str] = []

    def read(line: str) -> None:
        if line and not line.startswith(_NOISE):
            lines.append(line)
            progress(line.strip())

    environ = {**await asyncio.to_thread(host_environ, os.environ), **more}
    if project:
        environ |= await asyncio.to_thread(_beside_project, environ, works_in)
    environ = {name: value for name, value in environ.items() if value}
    code = await run_command([uv.find_uv_bin(), *arguments], read, environ, works_in=works_in)
    return Finished(code, lines)


def _beside_project(environ: Mapping[str, str], directory: Path) -> dict[str, str]:
    """Makes the host's file of settings that of the user, since a named one would count instead of the project's."""
    config = directory.with_name(f"{directory.name}-config") / "uv"
    config.mkdir(parents=True, exist_ok=True)
    if environ.get("UV_CONFIG_FILE"):
        shutil.copyfile(environ["UV_CONFIG_FILE"], config / "uv.toml")
    return {"UV_CONFIG_FILE": "", "UV_NO_CONFIG": "", "XDG_CONFIG_HOME": str(config.parent)}


class EnvironmentPackages:
    """Installs packages into one environment.

    Args:
        path: Its directory.
        empty: An empty directory.
        sdk_requirements: What the SDK needs.
        say: Called with lines for people.
        secrets: Gives the secrets that an installer sees, as variables.
        unpack: Puts files of an author into a directory.
    """

    def __init__(
        self,
        path: Path,
        empty: Path,
        sdk_requirements: Sequence[str],
        say: Progress,
        secrets: Callable[[InstallLayer], dict[str, str]],
        unpack: Callable[[Archive, Path], Awaitable[None]],
    ) -> None:
        self._path = path
        self._empty = empty
        self._say = say
        self._secrets = secrets
        self._unpack = unpack
        self._python = str(path / "bin" / "python")
        self._overrides, self._sdk = path / "overrides.txt", path / "sdk-requirements.txt"
        self._overrides.write_text(_OVERRIDES)
        self._sdk.write_text("".join(f"{line}\n" for line in sdk_requirements))

    async def install(self, layer: InstallLayer, locked: Path | None = None, what: str = "") -> None:
        """Installs packages, in versions that the SDK can live with.

        Args:
            layer: The packages.
            locked: File that names them, in place of the layer.
            what: What they are, for people.

        Raises:
            ImageFailedError: They cannot be installed.
        """
        name, text = layer.file
        directory = self._path / "layer"
        directory.mkdir(exist_ok=True)
        (directory / name).write_text(text)
        files = ["--requirements", str(locked or directory / name)]
        if not layer.requires_hashes:  # which the SDK's requirements have not
            files += ["--requirements", str(self._sdk)]
        works_in = directory if layer.settings else self._empty
        done = await run_uv(
            [*self._pip, *files, *layer.arguments],
            self._say,
            works_in,
            self._secrets(layer),
            project=bool(layer.settings),
        )
        if done.code:
            names = what or ", ".join(layer.requirements) or "the SDK's own requirements"
            raise _failed(f"the packages of the image cannot be installed ({names}", done)
        if layer.requires_hashes:
            await self._fit_sdk()
        await asyncio.to_thread(shutil.rmtree, directory)

    async def install_project(self, layer: ProjectLayer) -> None:
        """Installs what a lock file names, and the project itself when it is asked for.

        Raises:
            ImageFailedError: It cannot be installed.
        """
        if layer.tool == "uv":
            await self._sync(layer, layer.local)
            if layer.source is not None:
                await self._sync(layer, layer.source, project=True)
            return
        async with self._project(layer, None) as directory:
            output = self._path / "locked.txt"
            command = layer.export("uv", str(directory), str(output), self._python)
            exported = await run_uv(command[1:], self._say, self._empty, self._secrets(layer.install))
            if exported.code:
                raise _failed(f"what {layer.lock_name} locks cannot be read (poetry export", exported)
            await self.install(layer.install, output, layer.lock_name)

    async def _sync(self, layer: ProjectLayer, files: Archive | None, *, project: bool = False) -> None:
        """Has `uv` install what it has locked. Settings of the host for which it would lock anew do not count."""
        async with self._project(layer, files) as directory:
            command = layer.sync("uv", self._python, project=project)
            environ = {"UV_PROJECT_ENVIRONMENT": str(self._path), "UV_EXCLUDE_NEWER": ""}
            environ |= self._secrets(layer.install)
            done = await run_uv(command[1:], self._say, directory, environ, project=True)
        if done.code:
            what = "the project" if project else f"what {layer.lock_name} locks"
            raise _failed(f"{what} cannot be installed (uv sync", done)
        await self._fit_sdk()

    async def _fit_sdk(self) -> None:
        """Installs what the SDK lacks; fails where that would replace what was installed."""
        command = ["pip", "list", "--format", "freeze", "--python", self._python]
        listed = await run_uv(command, lambda line: None, self._empty)
        installed = self._path / "installed.txt"
        installed.write_text("".join(f"{line}\n" for line in listed.lines if "==" in line))
        files = ["--requirements", str(self._sdk), "--constraints", str(installed)]
        done = await run_uv([*self._pip, *files], self._say, self._empty)
        if done.code:
            raise _failed(
                "the packages of the image leave no room for what the SDK needs (uv pip install", done
            )

    @property
    def _pip(self) -> list[str]:
        return ["pip", "install", "--python", self._python, "--overrides", str(self._overrides)]

    @asynccontextmanager
    async def _project(self, layer: ProjectLayer, files: Archive | None) -> AsyncIterator[Path]:
        """Makes the directory of a project, and removes it in the end."""
        directory = self._path / "project"
        if files is not None:
            await self._unpack(files, directory)
        directory.mkdir(exist_ok=True)
        for name, text in (("pyproject.toml", layer.pyproject), (layer.lock_name, layer.lock)):
            (directory / name).unlink(missing_ok=True)  # it may be a link that leads outside
            (directory / name).write_text(text)
        yield directory
        await asyncio.to_thread(shutil.rmtree, directory)


def _failed(what: str, done: Finished) -> ImageFailedError:
    return ImageFailedError(
        installers.failure_code(done.shown),
        f"{what}, exit code {done.code}):\n{done.shown}",
        is_system=installers.is_outage(done.shown),
        exit_code=done.code,
    )

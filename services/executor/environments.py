"""Python environments made of image definitions with `uv`, each once, named by their content.

An environment is built beside its place and moved there when it is complete, under a lock that holds between
processes as well: it is there whole or not at all, and what fails leaves nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import uv

from services.common import archives, disk, installers
from services.common.blobs import BlobStore
from services.common.errors import NotFound, ResourceExhausted
from services.common.image_layers import Archive, CopyLayer, InstallLayer, ProjectLayer
from services.common.platforms import host_platform
from services.common.sdk_layer import SdkLayer
from services.executor.engines.base import ImageFailedError, Progress
from services.executor.environment_plan import EnvironmentPlan, plan
from services.executor.file_lock import file_lock, is_locked

_FORMAT = 2
"""Part of every key: a change of how environments are made makes new ones."""
_SHOWN_LINES = 15
_NOISE = ("Activate with", "Creating virtual environment", "Using ")
"""Lines of `uv` that name a place that will not exist for long."""
_BUILDING = ".building-"
_IMAGE_DIRECTORY = "HANGAR_IMAGE_DIRECTORY"
"""Variable that tells workers where files of the author are (`flyte._runtime.order`)."""
_OVERRIDES = "flyte; sys_platform == 'never'\nhangar-sdk; sys_platform == 'never'\n"
"""A requirement of these names, of the author or of a package, installs nothing: the SDK is there already."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python environment that is ready.

    Attributes:
        key: Its identity and the name of its directory.
        path: Its directory.
        env_vars: Environment variables that the definition sets.
    """

    key: str
    path: Path
    env_vars: dict[str, str]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"

    @property
    def files(self) -> Path:
        """Directory of the author's files."""
        return self.path / "files"


class Environments:
    """Makes and keeps environments below one directory.

    Args:
        directory: Where they are.
        sdk: The SDK that goes into each; that of this installation when not given.
        blobs_url: URL of the blob store, which has files of authors; empty where there are none.
    """

    def __init__(self, directory: Path, sdk: SdkLayer | None = None, blobs_url: str = "") -> None:
        self._directory = directory
        self._sdk = sdk or SdkLayer()
        self._blobs_url = blobs_url
        self._builds: dict[str, _Build] = {}

    async def ensure(self, definition_json: str, progress: Progress) -> Environment:
        """Returns the environment of a definition, made now if it does not exist.

        Args:
            definition_json: Canonical JSON of the definition; empty for the default image.
            progress: Called with lines for people while it is made.

        Raises:
            ImageFailedError: It cannot be made. Nothing is left, and a later call tries again.
        """
        environment, wanted = await self.described(definition_json)
        key = environment.key
        if environment.python.exists():
            await asyncio.to_thread(_touch, environment.path)
            return environment
        build = self._builds.get(key)
        if build is None:
            build = self._builds[key] = _Build()
            build.task = asyncio.create_task(
                self._make(environment, wanted, build), name=f"environment-{key}"
            )
            build.task.add_done_callback(lambda _: self._builds.pop(key, None))
        build.listeners.append(progress)
        await asyncio.shield(build.task)
        return environment

    async def described(self, definition_json: str) -> tuple[Environment, EnvironmentPlan]:
        """Returns what the environment of a definition is or would be, and how it is made.

        Raises:
            ImageFailedError: It is no definition, or not one for this engine.
        """
        wanted = plan(definition_json, host_platform())
        key = await asyncio.to_thread(self._key, wanted)
        environment = Environment(key, self._directory / key, dict(wanted.env_vars))
        if wanted.copies:
            environment.env_vars[_IMAGE_DIRECTORY] = str(environment.files)
        return environment, wanted

    def find(self, key: str) -> Path | None:
        """Returns the directory of an environment that is ready, None when there is none."""
        path = self._directory / key
        return path if (path / "bin" / "python").exists() else None

    def ready(self) -> list[str]:
        """Returns the keys of the environments that are ready."""
        return [path.name for path in self._directory.glob("*") if self.find(path.name)]

    async def remove(self, key: str) -> bool:
        """Removes an environment. Returns False, and leaves it, while a process runs in it."""
        async with file_lock(self._lock_path(key)):
            path = self._directory / key
            if not path.exists():
                return True
            if path in await asyncio.to_thread(_in_use, self._directory):
                return False
            doomed = Path(tempfile.mkdtemp(prefix=f"{_BUILDING}{key}-", dir=self._directory))
            path.replace(doomed / "environment")
            await asyncio.to_thread(shutil.rmtree, doomed, ignore_errors=True)
            return True

    def unused(self, seconds: float) -> list[str]:
        """Returns the keys of the environments that nothing was started in for so long."""
        limit = time.time() - seconds
        return [key for key in self.ready() if (self._directory / key).stat().st_mtime <= limit]

    async def close(self) -> None:
        """Stops what is being made; nothing of it is left."""
        for build in list(self._builds.values()):
            build.task.cancel()
        await asyncio.gather(*(build.task for build in self._builds.values()), return_exceptions=True)

    async def clear_leftovers(self) -> None:
        """Removes what processes that died while they built have left behind."""
        await asyncio.to_thread(self._clear)

    def _clear(self) -> None:
        for draft in self._directory.glob(f"{_BUILDING}*"):
            if not is_locked(self._lock_path(draft.name.removeprefix(_BUILDING).rpartition("-")[0])):
                shutil.rmtree(draft, ignore_errors=True)

    def _key(self, wanted: EnvironmentPlan) -> str:
        """Environment variables are no part of the key: they change no file."""
        content = [
            _FORMAT,
            wanted.python,
            [repr(layer) for layer in wanted.layers],
            self._sdk.digest,
            list(self._sdk.requirements),
        ]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()

    def _lock_path(self, key: str) -> Path:
        return self._directory / "locks" / f"{key}.lock"

    async def _make(self, environment: Environment, wanted: EnvironmentPlan, build: _Build) -> None:
        async with file_lock(self._lock_path(environment.key)):
            if environment.python.exists():
                return
            self._directory.mkdir(parents=True, exist_ok=True)
            for left in self._directory.glob(f"{_BUILDING}{environment.key}-*"):  # whoever made it has died
                await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
            draft = Path(tempfile.mkdtemp(prefix=f"{_BUILDING}{environment.key}-", dir=self._directory))
            try:
                await self._fill(draft / "environment", wanted, build.say)
                shutil.rmtree(environment.path, ignore_errors=True)
                (draft / "environment").replace(environment.path)
            except OSError as error:
                message = f"the environment cannot be written below {self._directory}: {error}"
                if disk.is_full(error):
                    raise ImageFailedError("DiskFull", self._full()) from error
                raise ImageFailedError("ImageBuildError", message) from error
            except ImageFailedError as error:
                if disk.is_full(error):  # as the output of uv says
                    raise ImageFailedError("DiskFull", f"{self._full()}\n{error.message}") from error
                raise
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    def _full(self) -> str:
        return disk.full_message(self._directory, 0, "the environment")

    async def _fill(self, path: Path, wanted: EnvironmentPlan, progress: Progress) -> None:
        progress(f"making a Python {wanted.python} environment")
        python = _interpreter(wanted.python)
        created = await _run_uv(
            ["venv", "--no-project", "--relocatable", "--python", python, str(path)], progress
        )
        if created.code:
            raise await _no_python(wanted.python, created)
        overrides = path / "overrides.txt"
        overrides.write_text(_OVERRIDES)
        layers = wanted.layers
        if all(isinstance(layer, CopyLayer) for layer in layers):
            layers = (InstallLayer(()), *layers)  # what the SDK needs
        # Bytecode is made by those who import first, of what they import: to compile everything takes longer than to
        # install it, and workers of this engine are the user that owns the environment.
        for layer in layers:
            if isinstance(layer, CopyLayer):
                progress(f"copying {layer.what} to {layer.destination}")
                await self._unpack(layer.archive, path / "files" / layer.destination)
            elif isinstance(layer, ProjectLayer):
                await self._install_project(path, layer, overrides, progress)
            else:
                await self._install(path, layer, overrides, progress)
        site_packages = next(path.glob("lib/python3*/site-packages"))
        await asyncio.to_thread(self._sdk.copy_into, site_packages)

    async def _install(
        self,
        path: Path,
        layer: InstallLayer,
        overrides: Path,
        progress: Progress,
        more: Sequence[str] = (),
        what: str = "",
    ) -> None:
        requirements = path / "requirements.txt"
        requirements.write_text("\n".join((*layer.requirements, *self._sdk.requirements)) + "\n")
        command = ["pip", "install", "--python", str(path / "bin" / "python")]
        files = ["--requirements", str(requirements), "--overrides", str(overrides)]
        environ = _secrets(layer)
        done = await _run_uv([*command, *files, *layer.arguments, *more], progress, environ)
        if done.code:
            names = what or ", ".join(layer.requirements) or "the SDK's own requirements"
            raise ImageFailedError(
                installers.failure_code(done.shown),
                f"the packages of the image cannot be installed ({names}, exit code {done.code}):\n{done.shown}",
            )

    async def _install_project(
        self, path: Path, layer: ProjectLayer, overrides: Path, progress: Progress
    ) -> None:
        """Installs what a lock file names, and the project itself when it is asked for."""
        directory = path / "project"
        if layer.source is not None:
            await self._unpack(layer.source, directory)
        directory.mkdir(exist_ok=True)
        (directory / "pyproject.toml").write_text(layer.pyproject)
        (directory / layer.lock_name).write_text(layer.lock)
        output, python = path / "locked.txt", str(path / "bin" / "python")
        environ = {"UV_PROJECT_ENVIRONMENT": str(path / "none")} | _secrets(layer.install)
        command = layer.export("uv", str(directory), str(output), python)
        exported = await _run_uv(command[1:], progress, environ)
        if exported.code:
            raise ImageFailedError(
                "ImageBuildError",
                f"what {layer.lock_name} locks cannot be read (exit code {exported.code}):\n{exported.shown}",
            )
        locked = ("--requirements", str(output))
        await self._install(path, layer.install, overrides, progress, locked, layer.lock_name)
        if layer.source is not None:
            arguments = ("--no-deps", str(directory))
            await self._install(path, layer.install, overrides, progress, arguments, "the project")
        await asyncio.to_thread(shutil.rmtree, directory)

    async def _unpack(self, archive: Archive, place: Path) -> None:
        file = place.parent / f"{archive.sha256}.tar"
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            await BlobStore(self._blobs_url).get_file(archive.key, file, sha256=archive.sha256)
            await asyncio.to_thread(archives.unpack, file, place)
        except NotFound as error:
            message = f"files of the image ({archive.key}) were not uploaded: run it again with this version of flyte"
            raise ImageFailedError("FilesMissing", message) from error
        except ResourceExhausted as error:
            raise ImageFailedError("DiskFull", error.message) from error
        finally:
            file.unlink(missing_ok=True)


class _Build:
    """An environment that is being made, and who wants to hear of it."""

    def __init__(self) -> None:
        self.listeners: list[Progress] = []
        self.task: asyncio.Task[None]

    def say(self, line: str) -> None:
        for listener in self.listeners:
            listener(line)


@dataclass(frozen=True, slots=True)
class _Finished:
    code: int
    lines: Sequence[str]

    @property
    def shown(self) -> str:
        """The last lines, for people."""
        return "\n".join(self.lines[-_SHOWN_LINES:])


def _interpreter(version: str) -> str:
    """What to ask `uv` for: this process's own interpreter when it fits, so that it need not search."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    executable = getattr(sys, "_base_executable", "")
    return executable if version == own and executable else version


def _secrets(layer: InstallLayer) -> dict[str, str]:
    """The secrets that an installer sees: variables of this process, under the name that the layer gives them."""
    missing = next((each for each in layer.secrets if not os.environ.get(each.variable)), None)
    if missing is not None:
        raise ImageFailedError(
            "SecretMissing",
            f"the image needs the secret {missing.key!r} while it is made: set the environment variable "
            f"{missing.variable} where the backend runs, and start it again",
        )
    return {secret.variable: os.environ[secret.variable] for secret in layer.secrets}


def _touch(path: Path) -> None:
    """Notes that an environment is used."""
    with suppress(OSError):
        os.utime(path)


def _in_use(directory: Path) -> set[Path]:
    """The environments below a directory that processes run in."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        for word in process.info["cmdline"] or ():
            path = Path(word)
            if path.is_relative_to(directory):
                found.add(directory / path.relative_to(directory).parts[0])
    return found


async def _run_uv(
    arguments: Sequence[str], progress: Progress, more: Mapping[str, str] | None = None
) -> _Finished:
    environ = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    environ.update(more or {})
    environ["NO_COLOR"] = "1"
    process = await asyncio.create_subprocess_exec(
        uv.find_uv_bin(),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environ,
    )
    lines: list[str] = []
    try:
        assert process.stdout is not None
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            if line and not line.startswith(_NOISE):
                lines.append(line)
                progress(line.strip())
        return _Finished(await process.wait(), lines)
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise


async def _no_python(version: str, failed: _Finished) -> ImageFailedError:
    listed = await _run_uv(
        ["python", "list", "--only-installed", "--output-format", "json"], lambda line: None
    )
    try:
        # Warnings may come before it.
        document = next(line for line in listed.lines if line.startswith("["))
        found = sorted({str(entry["version"]) for entry in json.loads(document)}, reverse=True)
    except (StopIteration, ValueError, KeyError, TypeError):
        found = []
    have = f"found here: {', '.join(found)}" if found else "no Python was found here"
    return ImageFailedError(
        "PythonNotFound",
        f"Python {version} is not available on this host and could not be downloaded ({have}). Install it, "
        f"or ask for another one: flyte.Image.from_debian_base(python_version=…)\n{failed.shown}",
    )

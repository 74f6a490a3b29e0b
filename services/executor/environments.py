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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import psutil

from services.common import archives, disk
from services.common.blobs import BlobStore
from services.common.errors import InvalidArgument, NotFound, ResourceExhausted
from services.common.image_definition import NEWEST
from services.common.image_layers import Archive, CopyLayer, InstallLayer, ProjectLayer
from services.common.platforms import host_platform
from services.common.redaction import Redaction
from services.common.sdk_layer import SdkLayer
from services.executor.engines.base import ImageFailedError, Progress
from services.executor.environment_packages import EnvironmentPackages, Finished, run_uv
from services.executor.environment_plan import EnvironmentPlan, plan
from services.executor.file_lock import file_lock, is_locked

_FORMAT = 2
"""Part of every key: a change of how environments are made makes new ones."""
_BUILDING = ".building-"
_EMPTY = ".empty"
"""Directory that `uv` works in: of the one in which this process runs, nothing counts."""
_IMAGE_DIRECTORY = "HANGAR_IMAGE_DIRECTORY"
"""Variable that tells workers where files of the author are (`flyte._runtime.order`)."""
_NO_SECRETS: Mapping[str, bytes] = MappingProxyType({})


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


async def _keep(environment: Path) -> None:
    """Where nothing waits in environments there is nothing to let go."""


class Environments:
    """Makes and keeps environments below one directory.

    Args:
        directory: Where they are.
        sdk: The SDK that goes into each; that of this installation when not given.
        blobs_url: URL of the blob store, which has files of authors; empty where there are none.
        release: Ends what only waits for work in the environment of a directory.
    """

    def __init__(
        self,
        directory: Path,
        sdk: SdkLayer | None = None,
        blobs_url: str = "",
        release: Callable[[Path], Awaitable[None]] = _keep,
    ) -> None:
        self._directory = directory
        self._sdk = sdk or SdkLayer()
        self._blobs_url = blobs_url
        self._release = release
        self._builds: dict[str, _Build] = {}

    async def ensure(
        self,
        definition_json: str,
        progress: Progress,
        secrets: Mapping[str, bytes] = _NO_SECRETS,
        *,
        fresh: bool = False,
    ) -> Environment:
        """Returns the environment of a definition, made now if it does not exist.

        Who is cancelled while he waits for it as the only one ends its making.

        Args:
            definition_json: Canonical JSON of the definition; empty for the default image.
            progress: Called with lines for people while it is made.
            secrets: Secrets that the caller has given, by key; the others are variables of this process.
            fresh: True to make it anew. The one that is there is lost when the new one is complete.

        Raises:
            ImageFailedError: It cannot be made. Nothing is left of it, and a later call tries again.
            HangarError: Settings of this host cannot be used.
        """
        environment, wanted = await self.described(definition_json)
        key = environment.key
        if environment.python.exists() and not fresh:
            await asyncio.to_thread(_touch, environment.path)
            return environment
        build = self._builds.get(key)
        if build is None:
            build = self._builds[key] = _Build(wanted, secrets, fresh=fresh)
            build.task = asyncio.create_task(
                self._make(environment, wanted, build), name=f"environment-{key}"
            )
            build.task.add_done_callback(partial(self._forget, key, build))
        build.listeners.append(progress)
        try:
            await asyncio.shield(build.task)
        finally:
            build.listeners.remove(progress)
            if not build.listeners and not build.task.done():
                self._forget(key, build)  # who comes now has it made anew
                build.task.cancel()
                await asyncio.wait([build.task])
        return environment

    def _forget(self, key: str, build: _Build, _task: object = None) -> None:
        if self._builds.get(key) is build:
            del self._builds[key]

    async def described(self, definition_json: str) -> tuple[Environment, EnvironmentPlan]:
        """Returns what the environment of a definition is or would be, and how it is made.

        Raises:
            ImageFailedError: It is no definition, or not one for this engine.
        """
        wanted = plan(definition_json, host_platform(), os.environ.get(NEWEST, ""))
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

    async def users(self, key: str) -> list[int]:
        """Returns the processes that run in an environment. What only waits for work in it is ended first."""
        path = self._directory / key
        await self._release(path)
        return await asyncio.to_thread(_users, path)

    async def remove(self, key: str) -> bool:
        """Removes an environment. Returns False, and leaves it, while a process runs in it."""
        async with file_lock(self._lock_path(key)):
            path = self._directory / key
            if not path.exists():
                return True
            if await self.users(key):
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
        tasks = [build.task for build in self._builds.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

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
            if environment.python.exists() and not build.fresh:
                return
            (self._directory / _EMPTY).mkdir(parents=True, exist_ok=True)
            for left in self._directory.glob(f"{_BUILDING}{environment.key}-*"):  # whoever made it has died
                await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
            draft = Path(tempfile.mkdtemp(prefix=f"{_BUILDING}{environment.key}-", dir=self._directory))
            try:
                await self._fill(draft / "environment", wanted, build)
                await self._put(draft / "environment", environment)
            except OSError as error:
                message = f"the environment cannot be written below {self._directory}: {error}"
                if disk.is_full(error):
                    raise ImageFailedError("DiskFull", self._full(), is_system=True) from error
                raise ImageFailedError("ImageBuildError", message, is_system=True) from error
            except ImageFailedError as error:
                error.message = build.redaction.redact(error.message)
                if disk.is_full(error):  # as the output of uv says
                    error.code, error.message = "DiskFull", f"{self._full()}\n{error.message}"
                    error.is_system = True
                raise
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    async def _put(self, made: Path, environment: Environment) -> None:
        """Moves an environment to its place. One that is there until now is lost now, unless something runs in it."""
        if environment.path.exists():
            users = await self.users(environment.key)
            if users:
                raise ImageFailedError("ImageInUse", in_use(environment.key, users), is_system=True)
            environment.path.replace(made.with_name("replaced"))
        made.replace(environment.path)

    def _full(self) -> str:
        return disk.full_message(self._directory, 0, "the environment")

    async def _fill(self, path: Path, wanted: EnvironmentPlan, build: _Build) -> None:
        build.say(f"making a Python {wanted.python} environment")
        python = _interpreter(wanted.python)
        command = ["venv", "--no-project", "--relocatable", "--python", python, str(path)]
        empty = self._directory / _EMPTY
        created = await run_uv(command, build.say, empty)
        if created.code:
            raise await self._no_python(wanted.python, created)
        packages = EnvironmentPackages(
            path, empty, self._sdk.requirements, build.say, build.environ, self._unpack
        )
        if all(isinstance(layer, CopyLayer) for layer in wanted.layers):
            await packages.install(InstallLayer(()))  # what the SDK needs
        # Bytecode is made by those who import first, of what they import: to compile everything takes longer than to
        # install it, and workers of this engine are the user that owns the environment.
        for number, layer in zip(wanted.numbers, wanted.layers, strict=True):
            try:
                await self._add(path, layer, packages, build.say)
            except ImageFailedError as error:
                error.layer = number
                raise
        site_packages = next(path.glob("lib/python3*/site-packages"))
        await _in_thread(self._sdk.copy_into, site_packages)

    async def _add(
        self,
        path: Path,
        layer: InstallLayer | ProjectLayer | CopyLayer,
        packages: EnvironmentPackages,
        progress: Progress,
    ) -> None:
        if isinstance(layer, CopyLayer):
            progress(f"copying {layer.what} to {layer.destination}")
            await self._unpack(layer.archive, path / "files" / layer.destination, path / "files")
        elif isinstance(layer, ProjectLayer):
            await packages.install_project(layer)
        else:
            await packages.install(layer)

    async def _unpack(self, archive: Archive, place: Path, root: Path | None = None) -> None:
        """Unpacks files of the author into a place in a directory of the environment, itself when not given."""
        file = (root or place).with_name(f"{archive.sha256}.tar")
        try:
            await BlobStore(self._blobs_url).get_file(archive.key, file, sha256=archive.sha256)
            await _in_thread(archives.unpack, file, place, root)
        except NotFound as error:
            message = f"files of the image ({archive.key}) were not uploaded: run it again with this version of flyte"
            raise ImageFailedError("FilesMissing", message) from error
        except InvalidArgument as error:
            raise ImageFailedError("ImageBuildError", error.message) from error
        except ResourceExhausted as error:
            raise ImageFailedError("DiskFull", error.message, is_system=True) from error
        finally:
            file.unlink(missing_ok=True)

    async def _no_python(self, version: str, failed: Finished) -> ImageFailedError:
        command = ["python", "list", "--only-installed", "--output-format", "json"]
        listed = await run_uv(command, lambda line: None, self._directory / _EMPTY)
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
            exit_code=failed.code,
        )


class _Build:
    """An environment that is being made, and who wants to hear of it."""

    def __init__(self, wanted: EnvironmentPlan, secrets: Mapping[str, bytes], *, fresh: bool) -> None:
        self.fresh = fresh
        self.listeners: list[Progress] = []
        self.task: asyncio.Task[None]
        installers = [
            layer.install if isinstance(layer, ProjectLayer) else layer
            for layer in wanted.layers
            if not isinstance(layer, CopyLayer)
        ]
        self._secrets = {
            each: secrets[each.key].decode() if each.key in secrets else os.environ.get(each.variable, "")
            for layer in installers
            for each in layer.secrets
        }
        self.redaction = Redaction().hiding(self._secrets.values()).hiding_addresses(repr(wanted.layers))

    def say(self, line: str) -> None:
        """Tells everybody."""
        shown = self.redaction.redact(line)
        for listener in self.listeners:
            listener(shown)

    def environ(self, layer: InstallLayer) -> dict[str, str]:
        """The secrets that an installer sees: variables, under the name that the layer gives them."""
        missing = next((each for each in layer.secrets if not self._secrets[each]), None)
        if missing is not None:
            raise ImageFailedError(
                "SecretMissing",
                f"the image needs the secret {missing.key!r} while it is made: set the environment variable "
                f"{missing.variable} where you call flyte, or where the backend runs",
            )
        return {secret.variable: self._secrets[secret] for secret in layer.secrets}


def _interpreter(version: str) -> str:
    """What to ask `uv` for: this process's own interpreter when it fits, so that it need not search."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    executable = getattr(sys, "_base_executable", "")
    return executable if version == own and executable else version


def _touch(path: Path) -> None:
    """Notes that an environment is used."""
    with suppress(OSError):
        os.utime(path)


def _users(environment: Path) -> list[int]:
    """The processes that run in the environment of a directory."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(Path(word).is_relative_to(environment) for word in process.info["cmdline"] or ())
    ]


def in_use(key: str, users: Sequence[int]) -> str:
    """Returns the message for an environment that cannot be removed or replaced.

    Args:
        key: The environment.
        users: The processes that run in it.
    """
    who = (
        f"workers of tasks run in it (processes {', '.join(map(str, users))})"
        if users
        else "something runs in it"
    )
    return f"environment {key} is in use: {who}. Try it again when nothing does"


async def _in_thread(work: Callable[..., object], *arguments: object) -> None:
    """Runs something that blocks to its end, even when nobody wants it any more: what it writes is removed then."""
    task = asyncio.create_task(asyncio.to_thread(work, *arguments))
    try:
        await asyncio.shield(task)
    finally:
        await asyncio.wait([task])

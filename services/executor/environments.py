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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import uv

from services.common import disk
from services.common.sdk_layer import SdkLayer
from services.executor.engines.base import ImageFailedError, Progress
from services.executor.environment_plan import EnvironmentPlan, Install, plan
from services.executor.file_lock import file_lock, is_locked

_FORMAT = 1
"""Part of every key: a change of how environments are made makes new ones."""
_SHOWN_LINES = 15
_NOISE = ("Activate with", "Creating virtual environment", "Using ")
"""Lines of `uv` that name a place that will not exist for long."""
_BUILDING = ".building-"
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


class Environments:
    """Makes and keeps environments below one directory.

    Args:
        directory: Where they are.
        sdk: The SDK that goes into each; that of this installation when not given.
    """

    def __init__(self, directory: Path, sdk: SdkLayer | None = None) -> None:
        self._directory = directory
        self._sdk = sdk or SdkLayer()
        self._builds: dict[str, _Build] = {}

    async def ensure(self, definition_json: str, progress: Progress) -> Environment:
        """Returns the environment of a definition, made now if it does not exist.

        Args:
            definition_json: Canonical JSON of the definition; empty for the default image.
            progress: Called with lines for people while it is made.

        Raises:
            ImageFailedError: It cannot be made. Nothing is left, and a later call tries again.
        """
        wanted = plan(definition_json)
        key = await asyncio.to_thread(self._key, wanted)
        environment = Environment(key, self._directory / key, dict(wanted.env_vars))
        if environment.python.exists():
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
            [[list(install.requirements), list(install.arguments)] for install in wanted.installs],
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
        installs = wanted.installs or (Install(()),)
        for install in installs:
            # Bytecode is made once, at the end: a later layer may replace files of an earlier one.
            compiling = ("--compile-bytecode",) if install is installs[-1] else ()
            await self._install(
                path, replace(install, arguments=(*install.arguments, *compiling)), overrides, progress
            )
        site_packages = next(path.glob("lib/python3*/site-packages"))
        await asyncio.to_thread(self._sdk.copy_into, site_packages)

    async def _install(self, path: Path, install: Install, overrides: Path, progress: Progress) -> None:
        requirements = path / "requirements.txt"
        requirements.write_text("\n".join((*install.requirements, *self._sdk.requirements)) + "\n")
        command = ["pip", "install", "--python", str(path / "bin" / "python")]
        files = ["--requirements", str(requirements), "--overrides", str(overrides)]
        done = await _run_uv([*command, *files, *install.arguments], progress)
        if done.code:
            names = ", ".join(install.requirements) or "the SDK's own requirements"
            raise ImageFailedError(
                "ImageBuildError", f"the packages of the image cannot be installed ({names}):\n{done.shown}"
            )


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


async def _run_uv(arguments: Sequence[str], progress: Progress) -> _Finished:
    environ = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
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

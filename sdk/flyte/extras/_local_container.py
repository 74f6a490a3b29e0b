"""Runs a container task on this machine, with the Docker engine that its `docker` command knows."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyte import errors
from flyte._local._variables import current_variables
from flyte._types import dumps
from flyte.extras._container_values import filled, from_bytes, is_place, to_bytes

if TYPE_CHECKING:
    from flyte._types import Variable
    from flyte.extras._container_task import ContainerTask

_TAIL_CHARS = 2000
_MOST_PROCESSES = 4096
_NOBODY = 65532
_NO_CONTAINER = 125
"""Exit code of `docker run` when there was no container."""


async def run_container(task: ContainerTask, inputs_document: bytes) -> bytes:
    """Runs the container of a task and returns its outputs document. Cancelled, it ends the container.

    Raises:
        flyte.errors.NonRecoverableError: There is no Docker engine here, or the image has to be made first.
        flyte.errors.RuntimeUserError: The program failed, or did not write its outputs.
    """
    docker = await _docker(task)
    values: dict[str, Any] = json.loads(inputs_document)
    with _directories() as (inputs, outputs):
        for variable in task.interface.inputs:
            if variable.name not in values:
                continue
            place, value = inputs / variable.name, values[variable.name]
            if is_place(variable.schema):
                await asyncio.to_thread(variable.codec.decode(value).download_sync, place)
                values[variable.name] = f"{task.input_data_dir}/{variable.name}"
            else:
                place.write_bytes(to_bytes(value, variable.schema))
        name = f"flyte-local-{uuid.uuid4().hex[:12]}"
        command = [docker, "run", "--rm", "--name", name, *_options(task, inputs, outputs)]
        words = filled(task.command, values)
        if words:
            command += ["--entrypoint", words[0]]
        command += [task.reference, *words[1:], *filled(task.arguments, values)]
        try:
            code, said = await _followed(command)
        except BaseException:
            await _quietly(docker, "rm", "--force", name)
            raise
        if code:
            raise errors.RuntimeUserError(
                "ContainerExited",
                f"the container of {task.name} {_how(code)}; its last words: {said.strip() or '(none)'}",
            )
        return await asyncio.to_thread(_outputs, task, outputs)


async def _docker(task: ContainerTask) -> str:
    found = shutil.which("docker")
    if not task.reference:
        raise errors.NonRecoverableError(
            "FeatureNotAvailableError",
            f"{task.name} cannot run in local mode: its image has layers and would have to be made first. Run it on a "
            "backend with a Docker host, or name an image that is there already",
        )
    if found is None or await _quietly(found, "version"):
        problem = (
            "there is no `docker` command here" if found is None else "its Docker engine does not answer"
        )
        raise errors.NonRecoverableError(
            "FeatureNotAvailableError",
            f"{task.name} cannot run in local mode: {problem}. Install and start Docker, or run it on a backend with a "
            "Docker host (HANGAR_EXECUTOR_ENGINE=docker)",
        )
    return found


@contextmanager
def _directories() -> Iterator[tuple[Path, Path]]:
    """Directories of inputs and outputs that the container's user can use."""
    with tempfile.TemporaryDirectory(prefix="flyte-container-", ignore_cleanup_errors=True) as place:
        inputs, outputs = Path(place, "inputs"), Path(place, "outputs")
        Path(place).chmod(0o755)
        inputs.mkdir()
        outputs.mkdir()
        if os.geteuid() == 0:
            os.chown(outputs, _NOBODY, _NOBODY)
        yield inputs, outputs


def _options(task: ContainerTask, inputs: Path, outputs: Path) -> list[str]:
    user, group = (os.geteuid(), os.getegid()) if os.geteuid() else (_NOBODY, _NOBODY)
    options = ["--user", f"{user}:{group}", "--read-only", "--tmpfs", "/tmp:rw,exec,nosuid,nodev,mode=1777"]  # noqa: S108
    options += [
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--pids-limit",
        str(_MOST_PROCESSES),
    ]
    options += ["--mount", f"type=bind,source={inputs},target={task.input_data_dir},readonly"]
    options += ["--mount", f"type=bind,source={outputs},target={task.output_data_dir}"]
    variables: Mapping[str, str] = {"HOME": "/tmp", **task.env_vars, **current_variables()}  # noqa: S108
    return options + [part for item in variables.items() for part in ("--env", "=".join(item))]


async def _followed(command: list[str]) -> tuple[int, str]:
    """Runs a command, prints what it prints, and returns its exit code and the end of that."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    tail = ""
    try:
        while chunk := await process.stdout.read(65536):
            text = chunk.decode(errors="replace")
            sys.stdout.write(text)
            tail = (tail + text)[-_TAIL_CHARS:]
        sys.stdout.flush()
        return await process.wait(), tail
    except BaseException:
        process.kill()
        await process.wait()
        raise


async def _quietly(*command: str) -> int:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()


def _how(code: int) -> str:
    return "could not be made" if code == _NO_CONTAINER else f"exited with code {code}"


def _outputs(task: ContainerTask, directory: Path) -> bytes:
    document = {}
    for file, variable in zip(task.to_container()["output_files"], task.interface.outputs, strict=True):
        path = directory / file
        inside = f"{task.output_data_dir}/{file}"
        is_directory = variable.schema.get("format") == "dir"
        if path.is_symlink() or not (path.is_dir() if is_directory else path.is_file()):
            what = "directory" if is_directory else "file"
            raise errors.RuntimeUserError(
                "OutputMissing",
                f"{task.name} exited with code 0 and has not written output {file!r}: there is no {what} {inside}",
            )
        if is_place(variable.schema):
            document[variable.name] = _kept(variable, path)
            continue
        try:
            document[variable.name] = from_bytes(path.read_bytes(), variable.schema)
        except ValueError as error:
            raise errors.RuntimeUserError(
                "OutputInvalid", f"{task.name}: {inside} is no {variable.codec.name}: {error}"
            ) from None
    return dumps(document)


def _kept(variable: Variable, path: Path) -> Any:
    """The form of a file or directory, kept where local mode keeps those of tasks."""
    from flyte.io import Dir, File

    kept = Dir.from_local_sync(path) if path.is_dir() else File.from_local_sync(path)
    return variable.codec.encode(kept)

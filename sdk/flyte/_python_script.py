"""`flyte.run_python_script`: a Python file as it is, run as a task."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyte._client._twins import twin
from flyte._environment import TaskEnvironment
from flyte._image import Image
from flyte._resources import Resources
from flyte.io import Dir

if TYPE_CHECKING:
    from flyte._local import LocalRun
    from flyte.remote import Run

_TAIL_LINES = 80
_VERSION = "1"

env = TaskEnvironment("python_script")


@dataclass
class ScriptResult:
    """How a script ended.

    Attributes:
        exit_code: Its exit code; negative for the signal that ended it.
        output: The last lines that it wrote, to standard output and standard error.
        directory: What it left in its output directory, None when none was asked for.
    """

    exit_code: int
    output: str
    directory: Dir[Any] | None = None


@env.task
def run_script(
    name: str, files: dict[str, bytes], arguments: list[str], output_dir: str | None
) -> ScriptResult:
    """Run a script in a directory of its own; what it writes is in the log of the action.

    Args:
        name: The script, one of the files.
        files: Contents by relative path.
        arguments: What its `sys.argv` has after its name.
        output_dir: Directory that it writes results to, relative to the one that it runs in.
    """
    with tempfile.TemporaryDirectory(prefix="script-") as place:
        for path, content in files.items():
            target = Path(place, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        kept = Path(place, output_dir) if output_dir is not None else None
        if kept is not None:
            kept.mkdir(parents=True, exist_ok=True)
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        with subprocess.Popen(
            [sys.executable, "-u", name, *arguments],
            cwd=place,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
        ) as process:
            try:
                assert process.stdout is not None  # it is a pipe
                for line in process.stdout:
                    print(line, end="", flush=True)  # noqa: T201 - the log of the action
                    tail.append(line)
            except BaseException:
                process.kill()
                raise
        directory: Dir[Any] | None = Dir.from_local_sync(str(kept)) if kept is not None else None
        return ScriptResult(process.returncode, "".join(tail), directory)


@twin
async def run_python_script(
    script: str | Path,
    *,
    cpu: int | float | str | None = None,
    memory: str | None = None,
    gpu: int | None = None,
    gpu_type: str | None = None,
    image: str | Image | None = None,
    packages: Sequence[str] = (),
    timeout: int | float | timedelta | None = None,
    extra_args: Sequence[str] = (),
    output_dir: str | None = None,
    include_files: Sequence[str] = (),
    queue: str | None = None,
    name: str | None = None,
    mode: Any = None,
) -> Run | LocalRun:
    """Runs a Python file as it is, without tasks in it; returns at once, as `flyte.run`.

    The result is a `ScriptResult`. A script that ends with another exit code than 0 has run nevertheless: the run
    succeeds, and the result has the code.

    Args:
        script: The file.
        cpu: Cores.
        memory: Memory, such as "2Gi".
        gpu: Number of GPUs.
        gpu_type: Their type, such as "A100".
        image: Image that has what the script imports, or its address.
        packages: Packages that the default image gets.
        timeout: Longest run time in seconds.
        extra_args: Arguments of the script.
        output_dir: Directory, relative to the script's, whose content is kept as the result's `directory`.
        include_files: Further files, as patterns relative to the script's directory.
        queue: Queue of the run.
        name: Name of the run.
        mode: As in `flyte.with_runcontext`.

    Raises:
        ValueError: The script or what a pattern names does not exist, or two parameters exclude each other.

    Example:
        ```python
        run = flyte.run_python_script("train.py", cpu=2, memory="4Gi", packages=["scikit-learn"], output_dir="out")
        print(run.result().exit_code)
        ```
    """
    from flyte._run import with_runcontext

    files = _files(Path(script), include_files)
    task = run_script.override(
        short_name=Path(script).name[:60], timeout=timeout, resources=_resources(cpu, memory, gpu, gpu_type)
    ).in_environment(env.clone_with(env.name, image=_image(image, packages)))
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]
    context = with_runcontext(
        mode=mode, name=name, queue=queue, copy_style="none", version=f"{_VERSION}-{digest}"
    )
    run: Run | LocalRun = await context.run.aio(
        task, Path(script).name, files, list(extra_args), _inside(output_dir)
    )
    return run


def _files(script: Path, patterns: Sequence[str]) -> dict[str, bytes]:
    """The script and what comes with it."""
    if not script.is_file():
        raise ValueError(f"script {str(script)!r} does not exist, or is no file")
    directory = script.resolve().parent
    files = {script.name: script.read_bytes()}
    for pattern in patterns:
        found = [path for path in sorted(directory.glob(pattern)) if path.is_file()]
        if not found:
            raise ValueError(f"include_files: {pattern!r} names no file below {directory}")
        files |= {path.relative_to(directory).as_posix(): path.read_bytes() for path in found}
    return files


def _resources(
    cpu: int | float | str | None, memory: str | None, gpu: int | None, gpu_type: str | None
) -> Resources | None:
    if gpu_type is not None:
        device: int | str | None = f"{gpu_type}:{gpu or 1}"
    else:
        device = gpu
    if cpu is None and memory is None and device is None:
        return None
    return Resources(cpu=cpu, memory=memory, gpu=device)


def _image(image: str | Image | None, packages: Sequence[str]) -> Image:
    if image is not None and packages:
        raise ValueError("image and packages exclude each other: add the packages to the image")
    if isinstance(image, str):
        return Image.from_base(image)
    base = image or Image.from_debian_base()
    return base.with_pip_packages(*packages) if packages else base


def _inside(output_dir: str | None) -> str | None:
    if output_dir is not None and (Path(output_dir).is_absolute() or ".." in Path(output_dir).parts):
        raise ValueError(f"output_dir={output_dir!r} must be below the directory of the script")
    return output_dir

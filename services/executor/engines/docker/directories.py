"""Directories of workers: prepared for the worker's user, and read as what they are, files of a stranger."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

from services.executor.engines.base import WorkerSpec
from services.executor.engines.docker.containers import work_directory
from services.executor.engines.docker.options import DockerEngineOptions
from services.executor.engines.worker_process import EXIT, PROCESS, RECORD, write_record
from services.executor.worker_files import open_plain

_LONGEST_RECORD = 64 * 1024


def prepare(spec: WorkerSpec, options: DockerEngineOptions) -> None:
    """Makes a worker's directory ready for its container, and gives it to the worker's user.

    Raises:
        OSError: It cannot be written.
    """
    spec.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    Path(work_directory(spec)).mkdir(mode=0o700, exist_ok=True)
    record = {
        "worker": spec.worker_id,
        "token": spec.token,
        "concurrency": spec.concurrency,
        "orphan_ttl": options.orphan_ttl,
    }
    write_record(spec.directory / RECORD, record)
    if os.geteuid() == 0:
        _give(spec.directory, options.uid, options.gid)


def _give(directory: Path, uid: int, gid: int) -> None:
    os.chown(directory, uid, gid)
    for place, names, files in os.walk(directory):
        for name in (*names, *files):
            os.chown(Path(place, name), uid, gid, follow_symlinks=False)


def read_record(path: Path) -> dict[str, Any] | None:
    """Reads a JSON object that user code may have written: never through a link, from a pipe, or without end."""
    try:
        with open_plain(path) as file:
            document = json.loads(file.read(_LONGEST_RECORD))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def token_of(directory: Path) -> str:
    """The token of a worker, empty when its record is gone."""
    record = read_record(directory / RECORD)
    token = record.get("token") if record is not None else None
    return token if isinstance(token, str) else ""


def exit_record(directory: Path) -> dict[str, Any] | None:
    """How its supervisor says that a worker ended, None when it did not say."""
    return read_record(directory / EXIT)


def has_run(directory: Path) -> bool:
    """Says whether a supervisor ever ran there."""
    return any((directory / name).exists() for name in (PROCESS, EXIT))


def remove(directory: Path) -> None:
    """Removes the directory of a worker that nobody needs any more."""
    shutil.rmtree(directory, ignore_errors=True)


def size_on_disk(directory: Path) -> int:
    """Bytes that a directory takes on its disk, links not followed. What vanishes meanwhile is not counted."""
    total = 0
    pending = [str(directory)]
    seen: set[tuple[int, int]] = set()
    while pending:
        try:
            entries = os.scandir(pending.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISDIR(found.st_mode):
                    pending.append(entry.path)
                elif found.st_nlink > 1:
                    if (found.st_dev, found.st_ino) in seen:
                        continue
                    seen.add((found.st_dev, found.st_ino))
                total += found.st_blocks * 512
    return total

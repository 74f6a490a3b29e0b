"""`flyte.ctx().checkpoint`: what a task saves on its way, and finds again when it is tried again."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar, overload

from flyte import errors

T = TypeVar("T")

_FILE, _DIRECTORY = b"flyte checkpoint: file\n", b"flyte checkpoint: tree\n"
_PIECE = 1024 * 1024


class CheckpointStore(Protocol):
    """Where the checkpoints of a task are."""

    def newest(self) -> BinaryIO | None:
        """The newest checkpoint of this attempt and of earlier ones, None without one."""

    def replacement(self) -> AbstractContextManager[Any]:
        """A file that replaces this attempt's checkpoint when its block ends without an error."""


class Checkpoint:
    """State that a task saves on its way, for the time that it is tried again.

    `load` finds what this or an earlier attempt saved last, whatever became of its worker, its host or the platform.
    Both have blocking twins: `load_sync`, `save_sync`.

    Example:
        ```python
        @env.task(retries=3)
        async def train(epochs: int) -> float:
            saved = await flyte.ctx().checkpoint.load()
            state = pickle.loads(saved) if saved is not None else State()
            while state.epoch < epochs:
                state.train_one_epoch()
                await flyte.ctx().checkpoint.save(pickle.dumps(state))
            return state.loss
        ```
    """

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store

    def save_sync(self, data: bytes | str | os.PathLike[str]) -> None:
        """Save a checkpoint in place of the one before. Returns when it is durable.

        Args:
            data: The bytes themselves, or the path of a file or of a directory.

        Raises:
            TypeError: It is none of these.
            FileNotFoundError: There is nothing at the path.
            flyte.errors.RuntimeUserError: It is larger than the task's disk limit ("DiskLimitExceeded").
        """
        if not isinstance(data, bytes | bytearray | memoryview | str | os.PathLike):
            raise TypeError(f"a checkpoint is bytes, or the path of a file or directory, not {data!r}")
        if isinstance(data, str | os.PathLike):
            path = Path(data)
            if not path.exists():
                raise FileNotFoundError(
                    f"there is no file or directory {str(path)!r} to save; encode text to save it"
                )
            with self._store.replacement() as file:
                _write_path(path, file)
        else:
            with self._store.replacement() as file:
                file.write(_FILE)
                file.write(data)

    async def save(self, data: bytes | str | os.PathLike[str]) -> None:
        """As `save_sync`, without blocking the event loop."""
        await _in_thread(lambda: self.save_sync(data))

    @overload
    def load_sync(self, path: None = None) -> bytes | None: ...
    @overload
    def load_sync(self, path: str | os.PathLike[str]) -> Path | None: ...
    def load_sync(self, path: str | os.PathLike[str] | None = None) -> bytes | Path | None:
        """Give what was saved last by this attempt or an earlier one; None when nothing was.

        Args:
            path: Where to put it, as the file or directory that it was saved as. None to get bytes.

        Returns:
            The bytes, or the path.

        Raises:
            flyte.errors.RuntimeUserError: A directory was saved, and no path was given ("CheckpointIsDirectory").
            FileExistsError: There is something else at the path.
        """
        file = self._store.newest()
        if file is None:
            return None
        with file:
            is_directory = file.readline(len(_FILE)) == _DIRECTORY
            if path is not None:
                return _read_path(Path(path), file, is_directory)
            if is_directory:
                raise errors.RuntimeUserError(
                    "CheckpointIsDirectory",
                    "the checkpoint is a directory: say where to put it, as in checkpoint.load(path)",
                )
            return file.read()

    @overload
    async def load(self, path: None = None) -> bytes | None: ...
    @overload
    async def load(self, path: str | os.PathLike[str]) -> Path | None: ...
    async def load(self, path: str | os.PathLike[str] | None = None) -> bytes | Path | None:
        """As `load_sync`, without blocking the event loop."""
        return await _in_thread(lambda: self.load_sync(path))


async def _in_thread(function: Callable[[], T]) -> T:
    return await asyncio.to_thread(function)


def _write_path(path: Path, file: BinaryIO) -> None:
    if path.is_dir():
        file.write(_DIRECTORY)
        with tarfile.open(fileobj=file, mode="w|") as archive:
            archive.add(path, arcname=".")
        return
    file.write(_FILE)
    with path.open("rb") as source:
        shutil.copyfileobj(source, file, _PIECE)


def _read_path(path: Path, file: BinaryIO, is_directory: bool) -> Path:
    if path.is_dir() != is_directory and path.exists():
        kind = "directory" if is_directory else "file"
        raise FileExistsError(
            f"the checkpoint is a {kind}, and {str(path)!r} is something else: choose another path"
        )
    if is_directory:
        path.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=file, mode="r|") as archive:
            if hasattr(tarfile, "data_filter"):
                archive.extractall(path, filter="data")
            else:
                archive.extractall(path)  # noqa: S202 - the task's own archive
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as target:
        shutil.copyfileobj(file, target, _PIECE)
    return path


class DirectoryCheckpoints:
    """Checkpoints in a directory that all attempts of a task share."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "checkpoint"

    def newest(self) -> BinaryIO | None:
        """The file, None when there is none."""
        try:
            return self._path.open("rb")
        except FileNotFoundError:
            return None

    def replacement(self) -> AbstractContextManager[Any]:
        """A new file in its place."""
        return _Replacement(self._path)


class _Replacement:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> io.BufferedWriter:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, self._draft = tempfile.mkstemp(dir=self._path.parent, prefix=".checkpoint-")
        self._file = os.fdopen(descriptor, "wb")
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            Path(self._draft).replace(self._path)
        else:
            Path(self._draft).unlink()

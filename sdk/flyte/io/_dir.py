"""`flyte.io.Dir`."""

from __future__ import annotations

import asyncio
import fnmatch
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from flyte import errors
from flyte.io._file import File, _checked_name
from flyte.io._local_place import files_below
from flyte.io._names import to_key
from flyte.io._places import STORE, home, local_path, name_of, place_of
from flyte.io._pydantic import Validated
from flyte.io._reference import location_of, reference

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # a plain `File` is complete for type checkers

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")


class Dir(Validated, Generic[T]):
    """A directory of files, wherever it is. Tasks pass the reference on; bytes move when somebody reads or writes.

    Stores know files only: a directory without files is not there.

    Args:
        path: Where it is: a URL, or a path of this machine.
        name: Name shown to people and used by downloads; the last part of the path unless given.
        format: What is in its files; for people.
        hash: Content hash, which counts in cache keys instead of the location.

    Example:
        ```python
        @env.task
        async def names(directory: flyte.io.Dir) -> list[str]:
            return [file.name async for file in directory.walk()]
        ```
    """

    _kind = "dir"

    def __init__(self, path: str, name: str | None = None, format: str = "", hash: str | None = None) -> None:
        if not isinstance(path, (str, Path)):
            raise TypeError(f"Dir(path={path!r}) must be a path or a URL")
        self.path = f"{str(path).rstrip('/')}/" if str(path).startswith(STORE) else str(path)
        self.name = name or name_of(self.path)
        self.format = format
        self.hash = hash or None

    # -- where directories come from ----------------------------------------------------------------------

    @classmethod
    async def from_local(
        cls,
        local_path: str | Path,
        remote_destination: str | None = None,
        dir_cache_key: str | None = None,
        batch_size: int | None = None,
    ) -> Dir[T]:
        """Store a directory of this machine; see `from_local_sync`."""
        return await asyncio.to_thread(
            cls.from_local_sync, local_path, remote_destination, dir_cache_key, batch_size
        )

    @classmethod
    def from_local_sync(
        cls,
        local_path: str | Path,
        remote_destination: str | None = None,
        dir_cache_key: str | None = None,
        batch_size: int | None = None,
    ) -> Dir[T]:
        """Store a directory of this machine with everything below it. Links are followed.

        Args:
            local_path: The directory.
            remote_destination: URL that it goes to. Unless given the platform finds a place.
            dir_cache_key: Content hash.
            batch_size: Most files that are sent at a time, as many as is good unless given.

        Raises:
            ValueError: There is no such directory, or a link in it leads to a directory above.
            flyte.errors.BaseRuntimeError: It cannot be stored.
        """
        source = Path(local_path).expanduser()
        if not source.is_dir():
            what = "is a file: use flyte.io.File.from_local" if source.exists() else "does not exist"
            raise ValueError(f"{source} {what}")
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ValueError(f"batch_size={batch_size!r} must be a number of files above 0")
        names = [name for name, _ in files_below(source)]
        if not names and remote_destination is None:
            return cls.empty()
        place = home() if remote_destination is None else place_of(remote_destination)
        step = batch_size or max(len(names), 1)
        location = remote_destination.rstrip("/") + "/" if remote_destination is not None else None
        for start in range(0, len(names), step):
            location = place.send_all(source, names[start : start + step], location)
        return cls(location or "", source.resolve().name, hash=dir_cache_key)

    @classmethod
    def new_remote(cls, dir_name: str | None = None, hash: str | None = None) -> Dir[T]:
        """A directory that has no files yet: write some with ``directory.new_file(name)``.

        Args:
            dir_name: Its name.
            hash: Content hash.
        """
        return cls(home().new(_checked_name(dir_name or uuid.uuid4().hex) + "/"), hash=hash)

    @classmethod
    def from_existing_remote(cls, path: str, dir_cache_key: str | None = None) -> Dir[T]:
        """A directory that is stored already. Nothing is copied or looked at.

        Args:
            path: Its URL, such as ``s3://bucket/prefix``.
            dir_cache_key: Content hash, which counts in cache keys instead of the URL.
        """
        if not path:
            raise ValueError("path is empty: Dir.empty() is a directory without files")
        return cls(path, hash=dir_cache_key)

    @classmethod
    def empty(cls) -> Dir[T]:
        """A directory without files."""
        return cls("")

    @property
    def is_empty(self) -> bool:
        """Whether there are no files in it. Looks there, so in asynchronous code ask `exists` instead."""
        try:
            return not self._entries()
        except errors.RuntimeUserError as error:
            if error.code != "FileNotFound":
                raise
            return True

    def new_file(self, name: str) -> File[Any]:
        """A file below it that does not exist yet: open it with "wb".

        Args:
            name: Its path below the directory, such as "part-0.csv" or "2025/part-0.csv".
        """
        return self._file(name)

    # -- content ------------------------------------------------------------------------------------------

    async def walk(self, recursive: bool = True, max_depth: int | None = None) -> AsyncIterator[File[Any]]:
        """Yield its files, those below other directories as well.

        Args:
            recursive: False for the files directly in it.
            max_depth: How many levels down; 1 is the files directly in it.
        """
        for file in await asyncio.to_thread(list, self.walk_sync(recursive, max_depth=max_depth)):
            yield file

    def walk_sync(
        self, recursive: bool = True, file_pattern: str = "*", max_depth: int | None = None
    ) -> Iterator[File[Any]]:
        """Yield its files in the order of their paths.

        Args:
            recursive: False for the files directly in it.
            file_pattern: Only files whose name matches, such as "*.csv".
            max_depth: How many levels down; 1 is the files directly in it.
        """
        if max_depth is not None and max_depth < 1:
            raise ValueError(f"max_depth={max_depth!r} must be 1 or more")
        deepest = 1 if not recursive else max_depth
        for path, _ in self._entries():
            depth = path.count("/") + 1
            if (deepest is None or depth <= deepest) and fnmatch.fnmatchcase(
                path.rpartition("/")[2], file_pattern
            ):
                yield self._file(path)

    async def list_files(self) -> list[File[Any]]:
        """The files directly in it."""
        return await asyncio.to_thread(self.list_files_sync)

    def list_files_sync(self) -> list[File[Any]]:
        """The files directly in it."""
        return list(self.walk_sync(recursive=False))

    async def get_file(self, file_name: str) -> File[Any] | None:
        """A file below it by its path, None when there is none."""
        return await asyncio.to_thread(self.get_file_sync, file_name)

    def get_file_sync(self, file_name: str) -> File[Any] | None:
        """A file below it by its path, None when there is none."""
        if not self.path:
            return None
        file = self._file(file_name)
        return file if file.exists_sync() else None

    async def download(self, local_path: str | Path | None = None) -> str:
        """Copy its files to this machine; see `download_sync`."""
        return await asyncio.to_thread(self.download_sync, local_path)

    def download_sync(self, local_path: str | Path | None = None) -> str:
        """Copy its files to this machine.

        Args:
            local_path: The directory that they go to, made when it does not exist. A new temporary one unless given.

        Returns:
            The path of the directory.

        Raises:
            flyte.errors.RuntimeUserError: It does not exist, or is not one that this task may read.
        """
        if local_path is None:
            target = Path(tempfile.mkdtemp(prefix="flyte-")) / (self.name or "directory")
        else:
            target = Path(local_path).expanduser()
        target.mkdir(parents=True, exist_ok=True)
        names = [name for name, _ in self._entries()]
        for parent in sorted({(target / name).parent for name in names}):
            parent.mkdir(parents=True, exist_ok=True)
        if names:
            place_of(self.path).fetch_all(self.path, names, target)
        elif self.path and not self._is_here():
            raise errors.RuntimeUserError("FileNotFound", f"there are no files in {self.path}")
        return str(target)

    async def exists(self) -> bool:
        """Whether there are files in it."""
        return await asyncio.to_thread(self.exists_sync)

    def exists_sync(self) -> bool:
        """Whether there are files in it; of this machine, whether there is such a directory."""
        return self._is_here() or bool(self.path and local_path(self.path) is None and self._entries())

    def _is_here(self) -> bool:
        """Whether it is a directory of this machine."""
        here = local_path(self.path) if self.path else None
        return here is not None and here.is_dir()

    def _entries(self) -> list[tuple[str, int]]:
        return place_of(self.path).entries(self.path) if self.path else []

    def _file(self, name: str) -> File[Any]:
        parts = name.split("/")
        if not self.path or any(part in ("", ".", "..") for part in parts):
            raise ValueError(f"{name!r} is no path of a file below {self!r}")
        if self.path.startswith(STORE):
            return File(self.path + to_key(name))
        if "://" in self.path:
            from urllib.parse import quote

            return File(f"{self.path.rstrip('/')}/{quote(name)}")
        return File(str(Path(self.path).expanduser() / name))

    # -- as a value ---------------------------------------------------------------------------------------

    def _form(self) -> dict[str, Any]:
        if not self.path:
            return reference("dir", "", empty=True, hash=self.hash)
        shown = self.name if self.name != name_of(self.path) else ""
        return reference("dir", self.path, name=shown, format=self.format, hash=self.hash)

    @classmethod
    def _from_form(cls, obj: Any) -> Dir[T]:
        if (
            isinstance(obj, dict)
            and obj.get("empty") is True
            and obj.get("kind") == "dir"
            and not obj.get("uri")
        ):
            return cls("")
        location = location_of(obj, "dir")
        if isinstance(obj, str):
            return cls(location)
        return cls(location, obj.get("name"), str(obj.get("format") or ""), obj.get("hash"))

    def __repr__(self) -> str:
        return f"Dir(path={self.path!r})" if self.path else "Dir.empty()"

    def __str__(self) -> str:
        return self.path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dir) and self._form() == other._form()

    def __hash__(self) -> int:
        return hash(self.path)

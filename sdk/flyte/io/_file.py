"""`flyte.io.File`."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Generic

from flyte import errors
from flyte.io import _handles
from flyte.io._hashing import HashMethod, check_method, hash_of
from flyte.io._names import to_key
from flyte.io._places import home, local_path, name_of, place_of
from flyte.io._pydantic import Validated
from flyte.io._reference import location_of, reference

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # a plain `File` is complete for type checkers

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")

_LONGEST_NAME = 200


class File(Validated, Generic[T]):
    """A file, wherever it is. Tasks pass the reference on; bytes move when somebody reads or writes.

    Args:
        path: Where it is: a URL, or a path of this machine.
        name: Name shown to people and used by downloads; the last part of the path unless given.
        format: What is in it, such as "csv"; for people.
        hash: Content hash, which counts in cache keys instead of the location.

    Example:
        ```python
        @env.task
        async def count(file: flyte.io.File) -> int:
            async with file.open("rb") as opened:
                return len((await opened.read()).splitlines())
        ```
    """

    _kind = "file"

    def __init__(self, path: str, name: str | None = None, format: str = "", hash: str | None = None) -> None:
        if not isinstance(path, (str, Path)) or not str(path):
            raise TypeError(f"File(path={path!r}) must be a path or a URL")
        self.path = str(path)
        self.name = name or name_of(self.path)
        self.format = format
        self.hash = hash or None
        self._hash_method: HashMethod | None = None

    # -- where files come from ----------------------------------------------------------------------------

    @classmethod
    async def from_local(
        cls,
        local_path: str | Path,
        remote_destination: str | None = None,
        hash_method: HashMethod | str | Any | None = None,
    ) -> File[T]:
        """Store a file of this machine; see `from_local_sync`."""
        return await asyncio.to_thread(cls.from_local_sync, local_path, remote_destination, hash_method)

    @classmethod
    def from_local_sync(
        cls,
        local_path: str | Path,
        remote_destination: str | None = None,
        hash_method: HashMethod | str | Any | None = None,
    ) -> File[T]:
        """Store a file of this machine.

        Args:
            local_path: The file.
            remote_destination: URL that it goes to, with a slash at the end to keep its name. Unless given the platform
                finds a place.
            hash_method: Content hash: the hash itself, an object such as `hashlib.sha256()`, or a `HashMethod`.

        Raises:
            ValueError: There is no such file.
            flyte.errors.BaseRuntimeError: It cannot be stored.
        """
        source = Path(local_path).expanduser()
        if not source.is_file():
            what = "is a directory: use flyte.io.Dir.from_local" if source.is_dir() else "does not exist"
            raise ValueError(f"{source} {what}")
        check_method(hash_method)
        content_hash = hash_method if isinstance(hash_method, str) else None
        if content_hash is None and hash_method is not None:
            with source.open("rb") as file:
                content_hash = hash_of(hash_method, file)
        if remote_destination is None:
            location = home().send(source)
        else:
            location = remote_destination + (source.name if remote_destination.endswith("/") else "")
            place_of(location).send(source, location)
        return cls(location, source.name, hash=content_hash)

    @classmethod
    def new_remote(
        cls, file_name: str | None = None, hash_method: HashMethod | str | Any | None = None
    ) -> File[T]:
        """A file that does not exist yet: open it with "wb".

        Args:
            file_name: Name of the file, "data" unless given.
            hash_method: As in `from_local`; computed while the file is written.
        """
        check_method(hash_method)
        file: File[T] = cls(home().new(_checked_name(file_name or "data")))
        file._set_hash_method(hash_method)
        return file

    @classmethod
    def named_remote(cls, name: str) -> File[T]:
        """A file of the running attempt under a name of your choice: the same name is the same file.

        Raises:
            flyte.errors.NotInTaskContextError: No task runs here.
        """
        from flyte._context import ctx

        context = ctx()
        if context is None:
            raise errors.NotInTaskContextError(
                "File.named_remote is for running tasks: use File.new_remote here"
            )
        place = home()
        base = getattr(place, "base", None) or f"{Path(context.raw_data_path).as_uri()}/{context.action.name}"

        return cls(f"{base}/named/{to_key(_checked_name(name))}", name)

    @classmethod
    def from_existing_remote(cls, path: str, file_cache_key: str | None = None) -> File[T]:
        """A file that is stored already. Nothing is copied or looked at.

        Args:
            path: Its URL, such as ``s3://bucket/key``, ``gs://bucket/key`` or ``file:///path``. What is not in the
                platform's store is opened with the credentials of the process that reads it.
            file_cache_key: Content hash, which counts in cache keys instead of the URL.
        """
        return cls(path, hash=file_cache_key)

    # -- content ------------------------------------------------------------------------------------------

    def open(
        self,
        mode: str = "rb",
        block_size: int | None = None,
        cache_type: str = "readahead",
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
    ) -> _handles.AsyncFile:
        """Open it: ``async with file.open("rb") as opened: await opened.read()``.

        Args:
            mode: "rb" or "wb"; "r" or "w" for text in UTF-8. Stored files do not change: writing replaces.
            block_size: Bytes that are read at once.
            cache_type: Only "readahead" and "none": files are on this host, or read in blocks.
            cache_options: Refused.
            compression: "gzip", "bz2", "xz", "lzma", or "infer" from the name.

        Raises:
            ValueError: An argument has no meaning.
            flyte.errors.FeatureNotAvailableError: An argument is not available.
        """
        _handles.check_options(mode, block_size, cache_type, cache_options, compression)
        return _handles.AsyncFile(lambda: self._opened(mode, block_size, compression))

    def open_sync(
        self,
        mode: str = "rb",
        block_size: int | None = None,
        cache_type: str = "readahead",
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
    ) -> IO[Any]:
        """Open it: ``with file.open_sync("rb") as opened: opened.read()``. As `open`, but blocking."""
        _handles.check_options(mode, block_size, cache_type, cache_options, compression)
        return self._opened(mode, block_size, compression)

    def _opened(self, mode: str, block_size: int | None, compression: str | None) -> IO[Any]:
        hashed = self._hashed if "w" in mode and self._hash_method is not None else None
        return _handles.opened(place_of(self.path), self.path, mode, block_size, compression, hashed)

    def _hashed(self, file: IO[bytes]) -> None:
        file.seek(0)
        self.hash = hash_of(self._hash_method, file)

    def _set_hash_method(self, method: Any) -> None:
        if isinstance(method, str):
            self.hash = method or None
        elif method is not None:
            self._hash_method = method

    async def download(self, local_path: str | Path | None = None) -> str:
        """Copy it to this machine; see `download_sync`."""
        return await asyncio.to_thread(self.download_sync, local_path)

    def download_sync(self, local_path: str | Path | None = None) -> str:
        """Copy it to this machine.

        Args:
            local_path: Where to: a file, or a directory (one that exists, or with a slash at the end), where it
                keeps its name. A new temporary directory unless given.

        Returns:
            The path of the copy.

        Raises:
            flyte.errors.RuntimeUserError: There is no such file ("FileNotFound", "ObjectNotFound"), or it is not
                one that this task may read ("NotInReach").
        """
        if local_path is None:
            target = Path(tempfile.mkdtemp(prefix="flyte-")) / self.name
        else:
            target = Path(local_path).expanduser()
            if str(local_path).endswith("/") or target.is_dir():
                target /= self.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._is_at(target):
            return str(target)
        place_of(self.path).fetch(self.path, target)
        return str(target)

    def _is_at(self, target: Path) -> bool:
        here = local_path(self.path)
        return here is not None and here.exists() and target.exists() and here.samefile(target)

    async def exists(self) -> bool:
        """Whether there is such a file."""
        return await asyncio.to_thread(self.exists_sync)

    def exists_sync(self) -> bool:
        """Whether there is such a file."""
        return place_of(self.path).size(self.path) is not None

    # -- as a value ---------------------------------------------------------------------------------------

    def _form(self) -> dict[str, Any]:
        shown = self.name if self.name != name_of(self.path) else ""
        return reference("file", self.path, name=shown, format=self.format, hash=self.hash)

    @classmethod
    def _from_form(cls, obj: Any) -> File[T]:
        location = location_of(obj, "file")
        if isinstance(obj, str):
            return cls(location)
        return cls(location, obj.get("name"), str(obj.get("format") or ""), obj.get("hash"))

    def __repr__(self) -> str:
        return (
            f"File(path={self.path!r})"
            if self.name == name_of(self.path)
            else f"File(path={self.path!r}, name={self.name!r})"
        )

    def __str__(self) -> str:
        return self.path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, File) and self._form() == other._form()

    def __hash__(self) -> int:
        return hash(self.path)


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not name or "/" in name or name in (".", ".."):
        raise ValueError(f"{name!r} is no name of a file: a path has no place in it")
    if "\0" in name or len(to_key(name).encode()) > _LONGEST_NAME:
        raise ValueError(
            f"{name[:80]!r} is no name of a file: use up to {_LONGEST_NAME} bytes, and not the character NUL"
        )
    return name

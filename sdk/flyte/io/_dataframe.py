"""`flyte.io.DataFrame`."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from flyte._types._mismatch import Mismatch
from flyte.io import _frames
from flyte.io._hashing import HashFunction, check_method, hash_of
from flyte.io._places import home, local_path, name_of, place_of
from flyte.io._pydantic import Validated
from flyte.io._reference import location_of, reference

_PIECE = 4 * 1024 * 1024


class DataFrame(Validated):
    """A data frame, wherever it is: a handle that is read when somebody opens it, in the library of their choice.

    Args:
        uri: Where it is.
        format: "parquet" or "csv"; told by the end of the URI unless given.
        columns: Names and types of its columns, as far as they are known.
        hash: Content hash, which counts in cache keys instead of the location.

    Example:
        ```python
        @env.task
        async def total(frame: flyte.io.DataFrame) -> float:
            import pandas as pd

            table = await frame.open(pd.DataFrame).all()
            return float(table["price"].sum())
        ```
    """

    _kind = "dataframe"

    def __init__(
        self,
        uri: str | None = None,
        format: str | None = None,
        columns: Mapping[str, str] | None = None,
        hash: str | None = None,
    ) -> None:
        self.uri = str(uri) if uri is not None else None
        self.format = checked_format(
            format or ("csv" if self.uri and name_of(self.uri).endswith(".csv") else "parquet")
        )
        self.columns = dict(columns or {})
        self.hash = hash or None
        self._value: Any = None
        self._destination: str | None = None
        self._library: _frames.Library | None = None
        self._names: list[str] | None = None

    # -- where frames come from ---------------------------------------------------------------------------

    @classmethod
    def from_df(cls, val: Any, uri: str | None = None) -> DataFrame:
        """A frame of pandas, polars or pyarrow. It is stored when it leaves the task.

        Args:
            val: The frame.
            uri: URL that it goes to; unless given the platform finds a place.

        Raises:
            TypeError: It is no frame.
        """
        library = _frames.library_of(type(val))
        if library is None:
            raise TypeError(
                f"{type(val)!r} is no data frame: use one of {', '.join(each.title for each in _frames.LIBRARIES)}"
            )
        frame = cls(format="csv" if uri and uri.endswith(".csv") else "parquet", columns=library.columns(val))
        frame._value, frame._destination = val, uri
        return frame

    wrap_df = from_df

    @classmethod
    async def from_local(
        cls,
        df: Any,
        columns: Mapping[str, Any] | Sequence[str] | None = None,
        remote_destination: str | None = None,
        hash_method: Any | None = None,
    ) -> DataFrame:
        """Store a frame now; see `from_local_sync`."""
        return await asyncio.to_thread(cls.from_local_sync, df, columns, remote_destination, hash_method)

    @classmethod
    def from_local_sync(
        cls,
        df: Any,
        columns: Mapping[str, Any] | Sequence[str] | None = None,
        remote_destination: str | None = None,
        hash_method: Any | None = None,
    ) -> DataFrame:
        """Store a frame now.

        Args:
            df: A frame of pandas, polars or pyarrow, or the path of a Parquet or CSV file.
            columns: Only these columns.
            remote_destination: URL that it goes to; unless given the platform finds a place.
            hash_method: Content hash: the hash itself, a `HashFunction` of the frame, an object such as
                `hashlib.sha256()` or a `HashMethod` of the stored bytes.

        Raises:
            TypeError: It is no frame.
            ValueError: There is no such file.
            flyte.errors.BaseRuntimeError: It cannot be stored.
        """
        if isinstance(df, (str, Path)):
            if columns is not None:
                raise ValueError("columns= is for frames: a file is stored as it is")
            return cls._from_file(Path(df).expanduser(), remote_destination, hash_method)
        frame = cls.from_df(df, remote_destination)
        return store(frame, list(columns) if columns is not None else None, hash_method)

    @classmethod
    def _from_file(cls, path: Path, destination: str | None, hash_method: Any) -> DataFrame:
        from flyte.io._file import File

        file: File[Any] = File.from_local_sync(path, destination, hash_method)
        return cls(file.path, hash=file.hash)

    @classmethod
    def from_existing_remote(cls, path: str, format: str | None = None) -> DataFrame:
        """A frame that is stored already. Nothing is copied or looked at.

        Args:
            path: URL of a file, such as ``s3://bucket/table.parquet``, or of a directory of files with a slash at
                its end.
            format: "parquet" or "csv"; told by the end of the URL unless given.
        """
        return cls(path, format)

    # -- content ------------------------------------------------------------------------------------------

    def open(self, dataframe_type: Any) -> DataFrame:
        """Choose what it is read as: `pandas.DataFrame`, `polars.DataFrame`, `polars.LazyFrame`, `pyarrow.Table`.

        Raises:
            TypeError: It is no class of data frames.
        """
        library = _frames.library_of(dataframe_type)
        if library is None:
            raise TypeError(
                f"{dataframe_type!r} is no class of data frames: use one of "
                f"{', '.join(each.title for each in _frames.LIBRARIES)}"
            )
        return self.open_as(library)

    def open_as(self, library: _frames.Library) -> DataFrame:
        """The handle that reads it with a library."""
        opened = self._copy()
        opened._library = library
        return opened

    async def all(self) -> Any:
        """The whole frame.

        Raises:
            ValueError: `open` was not called.
            flyte.errors.RuntimeUserError: There is no such file, or a library is missing ("MissingPackage").
        """
        self._opened()
        return await asyncio.to_thread(self.all_sync)

    def all_sync(self) -> Any:
        """The whole frame; see `all`."""
        library = self._opened()
        if self._value is not None:
            frame = _frames.convert(self._value, library)
            return frame if self._names is None else library.pick(frame, self._names)
        if self.uri is None:
            raise ValueError(
                "this DataFrame refers to nothing: make it with from_df, from_local or from_existing_remote"
            )
        return library.concat(
            [read(location, self.format, self._names, library) for location in _files(self.uri)]
        )

    async def iter(self) -> AsyncIterator[Any]:
        """Yield the frame in pieces of about 128 MB, of which one is in memory at a time.

        Raises:
            ValueError: `open` was not called.
        """
        parts = self.iter_sync()
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            yield part

    def iter_sync(self) -> Iterator[Any]:
        """Yield the frame in pieces; see `iter`."""
        library = self._opened()
        if self._value is not None or self.uri is None:
            yield self.all_sync()
            return
        for location in _files(self.uri):
            with place_of(location).reader(location) as file:
                yield from _frames.pieces(file, self.format, self._names, library)

    def _opened(self) -> _frames.Library:
        if self._library is None:
            raise ValueError(
                "say as what the frame is to be read first: await frame.open(pandas.DataFrame).all()"
            )
        return self._library

    def _copy(self) -> DataFrame:
        copy = DataFrame(self.uri, self.format, self.columns, self.hash)
        copy._value, copy._destination = self._value, self._destination
        copy._library, copy._names = self._library, self._names
        return copy

    # -- as a value ---------------------------------------------------------------------------------------

    def _form(self) -> dict[str, Any]:
        columns = [{"name": name, "type": kind} for name, kind in self.columns.items()]
        return reference("dataframe", self.uri or "", format=self.format, columns=columns, hash=self.hash)

    @classmethod
    def _from_form(cls, obj: Any) -> DataFrame:
        location = location_of(obj, "dataframe")
        if isinstance(obj, str):
            return cls(location)
        columns = obj.get("columns") or []
        try:
            known = {str(column["name"]): str(column["type"]) for column in columns}
        except (TypeError, KeyError):
            raise Mismatch(
                "flyte.io.DataFrame", obj, "its columns are not objects of name and type"
            ) from None
        return cls(location, obj.get("format"), known, obj.get("hash"))

    def __repr__(self) -> str:
        where = f"uri={self.uri!r}" if self.uri is not None else "not stored yet"
        columns = f", columns={list(self.columns)}" if self.columns else ""
        return f"DataFrame({where}, format={self.format!r}{columns})"

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, DataFrame) and self.uri is not None and self._form() == other._form()
        )

    def __hash__(self) -> int:
        return hash(self.uri)


def checked_format(form: str) -> str:
    """A format that can be read and written.

    Raises:
        ValueError: It is another one.
    """
    if form not in _frames.FORMATS:
        raise ValueError(f'format={form!r} must be "parquet" or "csv"')
    return form


def store(frame: DataFrame, names: list[str] | None = None, hash_method: Any | None = None) -> DataFrame:
    """Writes a frame that was made by `from_df` to its destination; the handle of what is stored.

    Args:
        frame: The frame.
        names: Only these columns.
        hash_method: As in `DataFrame.from_local`. Unless given the hash is that of the stored bytes.
    """
    value = frame._value
    library = _frames.library_of(type(value))
    assert library is not None
    if names is not None:
        _frames.check_names(list(library.columns(value)), names)
        value = library.pick(value, names)
    if not isinstance(hash_method, HashFunction):
        check_method(hash_method)
    location = frame._destination or home().new(f"frame.{frame.format}")
    writer: Any = place_of(location).writer(location)
    try:
        with _kept_open(writer) as file:
            library.write(value, file, frame.format)
        if isinstance(hash_method, HashFunction):
            found = hash_method(frame._value)
        else:
            writer.seek(0)
            found = hash_of(hash_method, writer) or _content_hash(writer)
    except BaseException:
        writer.discard()
        raise
    writer.close()
    return DataFrame(location, frame.format, library.columns(value), found)


class _kept_open:  # noqa: N801 - a context manager
    """A file that libraries may close: it stays open."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __enter__(self) -> IO[bytes]:
        return self._file

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._file.flush()


def _content_hash(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    buffer = bytearray(_PIECE)
    view = memoryview(buffer)
    while size := file.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(view[:size])
    return f"sha256:{digest.hexdigest()}"


def read(location: str, form: str, names: list[str] | None, library: _frames.Library) -> Any:
    """Reads a stored frame.

    Raises:
        KeyError: It has not all of the columns.
        RuntimeUserError: There is no such file, or a library is missing.
    """
    place = place_of(location)
    if not isinstance(library, _frames.LazyPolars):
        with place.reader(location) as file:
            return library.read(file, form, names)
    path = place.path(location)
    if path is None:  # what is read later has to be here
        path = str(Path(tempfile.mkdtemp(prefix="flyte-")) / f"frame.{form}")
        place.fetch(location, Path(path))
    return library.read(path, form, names)


def _files(location: str) -> list[str]:
    """The files of a location: itself, or those in a directory."""
    here = local_path(location)
    if not location.endswith("/") and (here is None or not here.is_dir()):
        return [location]
    from flyte.io._dir import Dir

    return [file.path for file in Dir[Any](location).walk_sync() if not file.name.startswith(("_", "."))]

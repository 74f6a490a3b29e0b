"""Data frames of pandas, polars and pyarrow: to files and back, in pieces.

A library is imported when its frames are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, Any, TypeAlias

from flyte.io._packages import need

Source: TypeAlias = "str | IO[bytes]"
"""A path, or a file open for reading at any position."""

_GROUP_BYTES = 128 * 1024 * 1024
"""What a piece of a frame takes in memory, about: readers hold one at a time."""
FORMATS = ("parquet", "csv")


class NotStorable(ValueError):
    """A frame has what no file can hold."""


class Library:
    """How frames of one class are written and read.

    Attributes:
        title: The class as people write it.
        immutable: A frame never changes, so that one that was read and is passed on need not be stored again.
    """

    title = ""
    module = ""
    names: tuple[str, ...] = ()
    immutable = False

    def owns(self, cls: type) -> bool:
        """Whether a class is the library's, without importing it."""
        return cls.__module__.partition(".")[0] == self.module and cls.__name__ in self.names

    def columns(self, frame: Any) -> dict[str, str]:
        """Names and types of the columns."""
        raise NotImplementedError

    def pick(self, frame: Any, names: Sequence[str]) -> Any:
        """The frame with these columns only."""
        raise NotImplementedError

    def write(self, frame: Any, file: IO[bytes], form: str) -> None:
        """Writes a frame."""
        raise NotImplementedError

    def read(self, source: Source, form: str, names: list[str] | None) -> Any:
        """Reads a frame, or some of its columns."""
        raise NotImplementedError

    def from_arrow(self, table: Any) -> Any:
        """The frame of a table of pyarrow."""
        raise NotImplementedError

    def to_arrow(self, frame: Any) -> Any:
        """The table of pyarrow with what is in a frame."""
        raise NotImplementedError

    def concat(self, frames: list[Any]) -> Any:
        """One frame with the rows of several, in order."""
        if len(frames) == 1:
            return frames[0]
        pa = need("pyarrow", "joining frames")
        return self.from_arrow(pa.concat_tables([self.to_arrow(frame) for frame in frames]))


class Pandas(Library):
    """`pandas.DataFrame`, through pyarrow."""

    title, module, names = "pandas.DataFrame", "pandas", ("DataFrame",)

    def columns(self, frame: Any) -> dict[str, str]:
        return {str(name): str(kind) for name, kind in frame.dtypes.items()}

    def pick(self, frame: Any, names: Sequence[str]) -> Any:
        return frame[list(names)]

    def write(self, frame: Any, file: IO[bytes], form: str) -> None:
        if form == "csv":
            frame.to_csv(file, index=False)
            return
        pa = need("pyarrow", "storing a frame of pandas as Parquet")
        try:
            schema = pa.Schema.from_pandas(frame)
            names = schema.names[: frame.shape[1]]
            size = int(frame.memory_usage(index=True).sum())
            step = _rows(len(frame), size)
            parts = (frame.iloc[start : start + step] for start in range(0, max(len(frame), 1), step))
            if list(frame.columns) != names:  # numbers, say: the schema tells what they are
                parts = (part.set_axis(names, axis="columns") for part in parts)
            _write_tables((pa.Table.from_pandas(part, schema=schema) for part in parts), schema, file)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise NotStorable(_pandas_reason(frame, error)) from None

    def read(self, source: Source, form: str, names: list[str] | None) -> Any:
        pd = need("pandas", "reading a frame")
        if form == "csv":
            return (
                pd.read_csv(source, usecols=names)
                if names is None
                else pd.read_csv(source, usecols=names)[names]
            )
        return self.from_arrow(_read_table(source, names))

    def from_arrow(self, table: Any) -> Any:
        need("pandas", "reading a frame")
        return table.to_pandas()

    def to_arrow(self, frame: Any) -> Any:
        return need("pyarrow", "converting a frame of pandas").Table.from_pandas(frame)

    def concat(self, frames: list[Any]) -> Any:
        return (
            frames[0]
            if len(frames) == 1
            else need("pandas", "joining frames").concat(frames, ignore_index=True)
        )


class Arrow(Library):
    """`pyarrow.Table`."""

    title, module, names, immutable = "pyarrow.Table", "pyarrow", ("Table",), True

    def columns(self, frame: Any) -> dict[str, str]:
        return {field.name: str(field.type) for field in frame.schema}

    def pick(self, frame: Any, names: Sequence[str]) -> Any:
        return frame.select(list(names))

    def write(self, frame: Any, file: IO[bytes], form: str) -> None:
        if form == "csv":
            need("pyarrow.csv", "writing CSV").write_csv(frame, file)
            return
        step = _rows(frame.num_rows, frame.nbytes)
        parts = (frame.slice(start, step) for start in range(0, max(frame.num_rows, 1), step))
        _write_tables(parts, frame.schema, file)

    def read(self, source: Source, form: str, names: list[str] | None) -> Any:
        if form == "csv":
            csv = need("pyarrow.csv", "reading CSV")
            return csv.read_csv(source, convert_options=csv.ConvertOptions(include_columns=names))
        return _read_table(source, names)

    def from_arrow(self, table: Any) -> Any:
        return table

    def to_arrow(self, frame: Any) -> Any:
        return frame


class Polars(Library):
    """`polars.DataFrame`."""

    title, module, names = "polars.DataFrame", "polars", ("DataFrame",)

    def columns(self, frame: Any) -> dict[str, str]:
        return {name: str(kind) for name, kind in frame.schema.items()}

    def pick(self, frame: Any, names: Sequence[str]) -> Any:
        return frame.select(list(names))

    def write(self, frame: Any, file: IO[bytes], form: str) -> None:
        if form == "csv":
            frame.write_csv(file)
            return
        pl = need("polars", "storing a frame")
        try:
            frame.write_parquet(file, row_group_size=_rows(frame.height, frame.estimated_size()))
        except pl.exceptions.ComputeError as error:
            raise NotStorable(f"{str(error).strip()}; make its columns of types that Parquet has") from None

    def read(self, source: Source, form: str, names: list[str] | None) -> Any:
        pl = need("polars", "reading a frame")
        return pl.read_csv(source, columns=names) if form == "csv" else pl.read_parquet(source, columns=names)

    def from_arrow(self, table: Any) -> Any:
        return need("polars", "reading a frame").from_arrow(table)

    def to_arrow(self, frame: Any) -> Any:
        need("pyarrow", "converting a frame of polars")
        return frame.to_arrow()

    def concat(self, frames: list[Any]) -> Any:
        return frames[0] if len(frames) == 1 else need("polars", "joining frames").concat(frames)


class LazyPolars(Library):
    """`polars.LazyFrame`: written as it is computed, read when it is."""

    title, module, names, immutable = "polars.LazyFrame", "polars", ("LazyFrame",), True

    def columns(self, frame: Any) -> dict[str, str]:
        return {name: str(kind) for name, kind in frame.collect_schema().items()}

    def pick(self, frame: Any, names: Sequence[str]) -> Any:
        return frame.select(list(names))

    def write(self, frame: Any, file: IO[bytes], form: str) -> None:
        frame.sink_csv(file) if form == "csv" else frame.sink_parquet(file)

    def read(self, source: Source, form: str, names: list[str] | None) -> Any:
        pl = need("polars", "reading a frame")
        frame = pl.scan_csv(source) if form == "csv" else pl.scan_parquet(source)
        return frame if names is None else frame.select(names)

    def from_arrow(self, table: Any) -> Any:
        return POLARS.from_arrow(table).lazy()

    def to_arrow(self, frame: Any) -> Any:
        return POLARS.to_arrow(frame.collect())

    def concat(self, frames: list[Any]) -> Any:
        return frames[0] if len(frames) == 1 else need("polars", "joining frames").concat(frames)


POLARS = Polars()
LIBRARIES: tuple[Library, ...] = (Pandas(), POLARS, LazyPolars(), Arrow())


def library_of(cls: Any) -> Library | None:
    """The library of a class of frames, None for other classes. A subclass is more than a frame: it has none."""
    return next((library for library in LIBRARIES if isinstance(cls, type) and library.owns(cls)), None)


def convert(frame: Any, target: Library) -> Any:
    """A frame as one of another library."""
    source = library_of(type(frame))
    if source is None:
        raise TypeError(f"{type(frame)!r} is no class of data frames")
    if source is target:
        return frame
    if {source.module, target.module} == {"polars"}:
        return frame.lazy() if isinstance(target, LazyPolars) else frame.collect()
    return target.from_arrow(source.to_arrow(frame))


def pieces(source: Source, form: str, names: list[str] | None, target: Library) -> Iterator[Any]:
    """Reads a frame piece by piece: one is in memory at a time."""
    if form == "csv":
        csv = need("pyarrow.csv", "reading a frame in pieces")
        batches = csv.open_csv(source, convert_options=csv.ConvertOptions(include_columns=names))
    else:
        pq = need("pyarrow.parquet", "reading a frame in pieces")
        file = pq.ParquetFile(source)
        check_names(file.schema_arrow.names, names)
        batches = (
            batch
            for group in range(file.num_row_groups)
            for batch in file.iter_batches(row_groups=[group], columns=names, batch_size=1 << 30)
        )
    pa = need("pyarrow", "reading a frame in pieces")
    for batch in batches:
        yield target.from_arrow(pa.Table.from_batches([batch]))


def _write_tables(tables: Iterator[Any], schema: Any, file: IO[bytes]) -> None:
    pq = need("pyarrow.parquet", "storing a frame as Parquet")
    repeated = [name for name in schema.names if schema.names.count(name) > 1]
    if repeated:
        raise NotStorable(f"it has several columns {repeated[0]!r}: rename them")
    with pq.ParquetWriter(file, schema) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=max(table.num_rows, 1))


def _pandas_reason(frame: Any, error: Exception) -> str:
    """Why a frame of pandas could not be stored, with the column and what to do."""
    pa = need("pyarrow", "storing a frame of pandas as Parquet")
    if not frame.columns.is_unique:
        return f"it has several columns {frame.columns[frame.columns.duplicated()][0]!r}: rename them"
    for name in frame.columns:
        try:
            pa.Array.from_pandas(frame[name])
        except (ValueError, TypeError, NotImplementedError) as reason:
            return f"column {name!r}: {reason}; make it of one type that Parquet has, with astype(str) say"
    return str(error)


def _read_table(source: Source, names: list[str] | None) -> Any:
    pq = need("pyarrow.parquet", "reading Parquet")
    if names is not None:
        check_names(pq.read_schema(source).names, names)
        if not isinstance(source, str):
            source.seek(0)
    return pq.read_table(source, columns=names)


def check_names(found: Sequence[str], names: Sequence[str] | None) -> None:
    """Raises a `KeyError` that says which columns are missing, and which there are."""
    missing = [name for name in names or () if name not in found]
    if missing:
        raise KeyError(f"the frame has no column {', '.join(map(repr, missing))}; it has {', '.join(found)}")


def _rows(rows: int, size: int) -> int:
    """Rows of a piece of a frame that has so many rows and bytes."""
    return max(1, rows if size <= _GROUP_BYTES else rows * _GROUP_BYTES // size)

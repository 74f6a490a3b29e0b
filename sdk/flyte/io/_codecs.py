"""Codecs of files, directories and data frames: references in documents. Imported when one is met."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flyte._context import current_controller
from flyte._types._codec import RANK_STRUCTURE, Codec, Definitions
from flyte._types._mismatch import Mismatch
from flyte._types._moves import is_describing, may_block, moved, probing
from flyte.io import _frames
from flyte.io._dataframe import DataFrame, store
from flyte.io._dir import Dir
from flyte.io._file import File
from flyte.io._hashing import HashFunction
from flyte.io._places import local_path
from flyte.io._pydantic import json_schema
from flyte.io._reference import is_reference, must_send


class ReferenceCodec(Codec):
    """`File` or `Dir`: a reference. One to something of this machine is sent before a document that leaves it."""

    rank = RANK_STRUCTURE

    def __init__(self, cls: Any) -> None:
        self.cls = cls
        self.name = f"flyte.io.{cls.__name__}"
        self.label = {"file": "FILE", "dir": "DIRECTORY"}[cls._kind]

    def encode(self, value: Any, exact: bool = False) -> Any:
        if not isinstance(value, self.cls):
            hint = f"use {self.name}.from_local(…) or from_existing_remote(…)"
            raise Mismatch(self.name, value, hint if isinstance(value, (str, Path)) else "")
        if not value.path or not must_send(value.path, self.name, value):
            return self._here(value)._form()
        memo = moved.get()
        if memo is not None and id(value) in memo.forms:
            return memo.forms[id(value)][1]
        may_block()
        path = local_path(value.path)
        try:
            sent = self.cls.from_local_sync(path)
        except ValueError as error:
            raise Mismatch(self.name, value, str(error)) from None
        sent.name, sent.format, sent.hash = value.name, value.format, value.hash
        form = sent._form()
        if memo is not None:
            memo.forms[id(value)] = value, form
        return form

    def _here(self, value: Any) -> Any:
        """The value with a path that means the same everywhere on this machine."""
        path = local_path(value.path) if value.path and "://" not in value.path else None
        if path is None:
            return value
        return self.cls(path.absolute().as_uri(), value.name, value.format, value.hash)

    def decode(self, obj: Any) -> Any:
        return self.cls._from_form(obj)

    def knows(self, obj: Any) -> bool:
        return isinstance(obj, str) or (is_reference(obj) and obj.get("kind") == self.cls._kind)

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return json_schema(self.cls.__name__, self.cls._kind)

    def sample(self, depth: int = 0) -> Any:
        return "data.csv" if self.cls is File else "data/"


class FrameCodec(Codec):
    """A data frame: a reference to a Parquet or CSV file.

    Args:
        library: What it is read as; None for the handle, `flyte.io.DataFrame`.
        form: "parquet" or "csv".
        names: Only these columns.
        hashed: Gives the content hash; that of the stored bytes unless given.
    """

    rank = RANK_STRUCTURE
    label = "DATAFRAME"

    def __init__(
        self,
        library: _frames.Library | None,
        form: str = "parquet",
        names: tuple[str, ...] | None = None,
        hashed: HashFunction | None = None,
    ) -> None:
        self.library, self.form, self.names, self.hashed = library, form, names, hashed
        self.name = library.title if library is not None else "flyte.io.DataFrame"

    def annotated(self, metadata: tuple[Any, ...]) -> FrameCodec:
        """The codec with what an ``Annotated`` says.

        Raises:
            TypeError: A format is unknown.
        """
        form, names, hashed = self.form, self.names, self.hashed
        for item in metadata:
            if isinstance(item, str):
                if item not in _frames.FORMATS:
                    raise TypeError(
                        f'Annotated[{self.name}, {item!r}]: the format must be "parquet" or "csv"'
                    )
                form = item
            elif isinstance(item, HashFunction):
                hashed = item
            elif isinstance(item, Mapping):
                names = tuple(map(str, item))
        return FrameCodec(self.library, form, names, hashed)

    def encode(self, value: Any, exact: bool = False) -> Any:
        if isinstance(value, DataFrame) and value._value is None:
            return self._stored(value)._form()
        frame = value
        if not isinstance(value, DataFrame):
            found = _frames.library_of(type(value))
            # Frames of other libraries are as good: they are stored in the same form. Of a union its own one is chosen.
            if found is None or (exact and self.library is not None and found is not self.library):
                raise Mismatch(self.name, value)
            frame = DataFrame.from_df(value)
        frame.format = self.form if frame._destination is None else frame.format
        if is_describing.get():
            raise Mismatch(self.name, value, "a data frame is no default")
        memo, known = moved.get(), _known()
        if memo is not None and id(value) in memo.forms:
            return memo.forms[id(value)][1]
        origin = known.get(id(value))
        if origin is not None and origin[0]() is value:
            return origin[1]
        may_block()
        try:
            stored = store(frame, list(self.names) if self.names is not None else None, self.hashed)
        except KeyError as error:
            raise Mismatch(self.name, value, str(error.args[0])) from None
        except _frames.NotStorable as error:
            raise Mismatch(self.name, value, str(error)) from None
        form = stored._form()
        if memo is not None:
            memo.forms[id(value)] = value, form
            memo.values[str(stored.uri)] = value
        return form

    def _stored(self, frame: DataFrame) -> DataFrame:
        if frame.uri is None:
            raise Mismatch(self.name, frame, "it refers to nothing")
        if not must_send(frame.uri, self.name, frame):
            path = local_path(frame.uri)
            if path is None or "://" in frame.uri:
                return frame
            return DataFrame(path.absolute().as_uri(), frame.format, frame.columns, frame.hash)
        may_block()
        try:
            sent = DataFrame.from_local_sync(str(local_path(frame.uri)))
        except ValueError as error:
            raise Mismatch(self.name, frame, str(error)) from None
        return DataFrame(sent.uri, frame.format, frame.columns, frame.hash)

    def decode(self, obj: Any) -> Any:
        frame = DataFrame._from_form(obj)
        if self.library is None:
            frame._names = list(self.names) if self.names is not None else None
            return frame
        if probing.get():
            return None
        memo = moved.get()
        if memo is not None and frame.uri in memo.values:
            return memo.values[frame.uri]
        may_block()
        frame._names = list(self.names) if self.names is not None else None
        try:
            value = frame.open_as(self.library).all_sync()
        except KeyError as error:
            raise Mismatch(self.name, obj, str(error.args[0])) from None
        if self.library.immutable and self.names is None:
            _known()[id(value)] = weakref.ref(value), obj
        return value

    def knows(self, obj: Any) -> bool:
        return isinstance(obj, str) or (is_reference(obj) and obj.get("kind") == "dataframe")

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        schema = {**json_schema("DataFrame", "dataframe"), "description": f"{self.name}, {self.form}"}
        return schema if self.names is None else {**schema, "columns": list(self.names)}

    def sample(self, depth: int = 0) -> Any:
        return "table.parquet"


def _known() -> dict[int, Any]:
    """The frames that never change and were read by the running attempt, with the references that they came from."""
    objects = getattr(current_controller(), "objects", None)
    return objects.frames if objects is not None else {}


_CODECS: dict[Any, Codec] = {
    File: ReferenceCodec(File),
    Dir: ReferenceCodec(Dir),
    DataFrame: FrameCodec(None),
}
_FRAMES = {library: FrameCodec(library) for library in _frames.LIBRARIES}


def data_codec(cls: type, args: tuple[Any, ...]) -> Codec | None:
    """The codec of a class that stands for bulk data, None for others."""
    library = _frames.library_of(cls)
    if library is not None:
        return _FRAMES[library]
    return next((codec for base, codec in _CODECS.items() if issubclass(cls, base)), None)


def handle_of(codec: Codec, location: str) -> Any:
    """What a location means as a value of a codec's type; frames are not read for that."""
    return DataFrame(location) if isinstance(codec, FrameCodec) else codec.decode(location)


def value_of(obj: dict[str, Any]) -> Any:
    """The file, directory or data frame of a reference that no annotation tells the type of.

    Raises:
        Mismatch: It is none.
    """
    for codec in _CODECS.values():
        if codec.knows(obj):
            return codec.decode(obj)
    raise Mismatch("a reference", obj, f"there is no kind {obj.get('kind')!r}")


def frame_of(obj: dict[str, Any]) -> Any:
    """The data frame of a tagged reference that no annotation tells the type of.

    Raises:
        Mismatch: Its library is not known.
    """
    for library, codec in _FRAMES.items():
        if library.title == obj.get("library"):
            return codec.decode(obj.get("value"))
    raise Mismatch("a data frame", obj, f"there is no library {obj.get('library')!r}")

"""Codecs from JSON Schemas: for callers of a task who have its definition and not its classes."""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

from flyte._types._canonical import TAG
from flyte._types._choices import LiteralCodec, UnionCodec
from flyte._types._codec import RANK_STRUCTURE, Codec, Definitions
from flyte._types._compile import UNTYPED, codec_for
from flyte._types._containers import DictCodec, ListCodec, SetCodec, TupleCodec
from flyte._types._mismatch import Mismatch
from flyte._types._scalars import BOOL, FLOAT, INT, NONE, STR

_SCALARS: dict[Any, Codec] = {
    "string": STR,
    "integer": INT,
    "number": FLOAT,
    "boolean": BOOL,
    "null": NONE,
}
_FORMATS: dict[str, type] = {
    "date": date,
    "date-time": datetime,
    "time": time,
    "duration": timedelta,
    "uuid": UUID,
    "decimal": Decimal,
    "complex": complex,
    "fraction": Fraction,
    "path": Path,
}
_REFERENCES = {"file": "File", "dir": "Dir", "dataframe": "DataFrame"}
_KEYS: dict[str, Codec] = {"int": INT, "float": FLOAT, "bool": BOOL, "any value": UNTYPED}


class Record(dict[str, Any]):
    """A structure whose class is not here: its fields are items, and attributes as well.

    Example:
        ```python
        person = run.result()
        print(person.name, person["age"])
        ```
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"there is no field {name!r}: there are {', '.join(self) or 'none'}"
            ) from None


class RecordCodec(Codec):
    """A structure known by its fields only. Takes dicts, dataclasses, models, and whatever has the fields.

    Args:
        name: Name of its class.
        fields: Codecs of the fields.
        required: Fields that have to be there.
        extra: Codec of further fields, None to refuse them.
    """

    rank = RANK_STRUCTURE

    def __init__(
        self, name: str, fields: dict[str, Codec], required: frozenset[str], extra: Codec | None
    ) -> None:
        self.name, self.fields, self.required, self.extra = name, fields, required, extra

    def encode(self, value: Any, exact: bool = False) -> Any:
        members = self._members(value)
        missing = [name for name in self.required if name not in members]
        if missing:
            raise Mismatch(self.name, value, f"missing {', '.join(sorted(missing))}")
        return self._each(members, value, lambda codec, member: codec.encode(member))

    def _members(self, value: Any) -> dict[str, Any]:
        if isinstance(value, Mapping):
            return dict(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if hasattr(type(value), "model_fields") and hasattr(value, "model_dump"):
            return {name: getattr(value, name) for name in type(value).model_fields}
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            return dict(value._asdict())
        raise Mismatch(self.name, value, "pass a dict with its fields")

    def decode(self, obj: Any) -> Any:
        if type(obj) is not dict:
            raise Mismatch(self.name, obj)
        tag = obj.get(TAG)
        if tag == "state" and type(obj.get("fields")) is dict:
            obj = obj["fields"]
        elif tag in ("instance", "pickle"):
            return UNTYPED.decode(obj)
        return Record(self._each(obj, obj, lambda codec, form: codec.decode(form)))

    def _each(
        self, members: Mapping[str, Any], whole: Any, convert: Callable[[Codec, Any], Any]
    ) -> dict[str, Any]:
        converted = {}
        for name, member in members.items():
            codec = self.fields.get(name, self.extra)
            if codec is None:
                known = ", ".join(self.fields)
                raise Mismatch(self.name, whole, f"unknown field {name!r}; the fields are {known}")
            try:
                converted[name] = convert(codec, member)
            except Mismatch as mismatch:
                mismatch.within(f".{name}")
                raise
        return converted

    def knows(self, obj: Any) -> bool:
        if type(obj) is not dict or self.extra is not None:
            return True
        return TAG in obj or all(name in self.fields for name in obj)

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        properties = {name: codec.schema(definitions) for name, codec in self.fields.items()}
        return {"title": self.name, "type": "object", "properties": properties}

    def sample(self, depth: int = 0) -> Any:
        if depth >= 3:
            return {}
        chosen = [name for name in self.fields if name in self.required] or list(self.fields)[:2]
        return {name: self.fields[name].sample(depth + 1) for name in chosen}


class ChoiceCodec(LiteralCodec):
    """One of several plain values; an enum's member stands for its value or name."""

    def encode(self, value: Any, exact: bool = False) -> Any:
        candidates = [value.value, value.name] if isinstance(value, enum.Enum) else [value]
        if isinstance(value, str):
            candidates.append(self.names.get(value, value))
        for candidate in candidates:
            for known, form in self.written:
                if type(known) is type(candidate) and known == candidate:
                    return form
        raise Mismatch(self.name, value)


class _SequenceCodec(ListCodec):
    """A list; a tuple is as good, since their documents are the same."""

    def encode(self, value: Any, exact: bool = False) -> Any:
        return super().encode(list(value) if isinstance(value, tuple) else value)


class SpelledCodec(Codec):
    """A time, a path, a number in words: the text that stands for it in documents is as good as the value."""

    def __init__(self, inner: Codec) -> None:
        self.inner = inner
        self.name, self.label, self.rank = inner.name, inner.label, inner.rank

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is str and not exact:
            value = self.inner.decode(value)
        return self.inner.encode(value, exact)

    def decode(self, obj: Any) -> Any:
        return self.inner.decode(obj)

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return self.inner.schema(definitions)

    def sample(self, depth: int = 0) -> Any:
        return self.inner.sample(depth)


class _AnySetCodec(SetCodec):
    """A set, of any kind."""

    def encode(self, value: Any, exact: bool = False) -> Any:
        return super().encode(set(value) if isinstance(value, (frozenset, list, tuple)) else value)


class _AnyUnionCodec(UnionCodec):
    """A union; the mark of a member that has another name here does not count."""

    def decode(self, obj: Any) -> Any:
        if isinstance(obj, dict) and obj.get(TAG) == "union" and obj.get("member") not in self.tags:
            obj = obj.get("value")
        return super().decode(obj)


class _ReferenceCodec(Codec):
    """A named schema, which may refer to itself: its codec is made at first use."""

    def __init__(self, name: str, make: Callable[[], Codec]) -> None:
        self.name = name
        self._make = make

    @functools.cached_property
    def _inner(self) -> Codec:
        return self._make()

    def encode(self, value: Any, exact: bool = False) -> Any:
        return self._inner.encode(value, exact)

    def decode(self, obj: Any) -> Any:
        return self._inner.decode(obj)

    def knows(self, obj: Any) -> bool:
        return self._inner.knows(obj)

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return definitions.reference(self, lambda: self._inner.schema(definitions))

    def sample(self, depth: int = 0) -> Any:
        return None if depth > 3 else self._inner.sample(depth + 1)


def codec_of_schema(schema: Mapping[str, Any]) -> Codec:
    """The codec of a schema that `json_schema` made, in terms of plain values and `Record`."""
    definitions: Mapping[str, Any] = schema.get("$defs") or {}
    made: dict[str, Codec] = {}

    def reference(name: str) -> Codec:
        target = definitions.get(name, {})
        if "enum" in target or "const" in target:
            return build(target)
        if name not in made:
            made[name] = _ReferenceCodec(str(target.get("title") or name), lambda: build(target))
        return made[name]

    def build(part: Mapping[str, Any]) -> Codec:
        if "$ref" in part:
            return reference(str(part["$ref"]).rpartition("/")[2])
        for several in ("anyOf", "oneOf"):
            if several in part:
                return _AnyUnionCodec([build(member) for member in part[several]])
        if len(part.get("allOf", ())) == 1:
            return build(part["allOf"][0])
        if "enum" in part or "const" in part:
            return ChoiceCodec(part["enum"] if "enum" in part else [part["const"]], UNTYPED)
        if part.get("format") in _REFERENCES:
            return codec_for(getattr(importlib.import_module("flyte.io"), _REFERENCES[part["format"]]))
        kind = part.get("type")
        if isinstance(kind, list):
            return _AnyUnionCodec([build({**part, "type": each}) for each in kind])
        if kind == "array":
            return _array(part, build)
        if kind == "object":
            return _object(part, build)
        if kind == "string" and part.get("contentEncoding") == "base64":
            return codec_for(bytes)
        if kind == "string" and part.get("format") in _FORMATS:
            return SpelledCodec(codec_for(_FORMATS[part["format"]]))
        return _SCALARS.get(kind, UNTYPED)

    return build(schema)


def _array(part: Mapping[str, Any], build: Callable[[Mapping[str, Any]], Codec]) -> Codec:
    if "prefixItems" in part:
        return TupleCodec([build(item) for item in part["prefixItems"]])
    item = build(part.get("items") or {})
    return _AnySetCodec(set, item) if part.get("uniqueItems") else _SequenceCodec(item)


def _object(part: Mapping[str, Any], build: Callable[[Mapping[str, Any]], Codec]) -> Codec:
    more = part.get("additionalProperties", True)
    extra = build(more) if isinstance(more, Mapping) else UNTYPED if more else None
    if "properties" not in part and "title" not in part:
        keys = (part.get("propertyNames") or {}).get("description", "")
        return DictCodec(_KEYS.get(keys, STR), extra or UNTYPED)
    fields = {name: build(field) for name, field in part.get("properties", {}).items()}
    return RecordCodec(str(part.get("title") or "object"), fields, frozenset(part.get("required", ())), extra)

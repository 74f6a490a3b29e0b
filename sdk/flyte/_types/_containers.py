"""Codecs of lists, tuples, sets and dicts whose members have a type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flyte._types._canonical import TAG, DocumentError, dumps, loads, sort_key
from flyte._types._codec import (
    RANK_DICT,
    RANK_FROZENSET,
    RANK_LIST,
    RANK_SET,
    RANK_TUPLE,
    Codec,
    Definitions,
)
from flyte._types._mismatch import Mismatch
from flyte._types._scalars import STR


def encode_items(items: Sequence[Any], item: Codec, exact: bool) -> list[Any]:
    """The forms of a sequence's members; mismatches name the position."""
    if item is STR and set(map(type, items)) <= {str}:
        return list(items)
    forms = []
    encode = item.encode
    try:
        for value in items:
            forms.append(encode(value, exact))
    except Mismatch as mismatch:
        mismatch.within(f"[{len(forms)}]")
        raise
    return forms


def decode_items(objs: list[Any], item: Codec) -> list[Any]:
    """The values of an array's members; mismatches name the position."""
    values = []
    decode = item.decode
    try:
        for obj in objs:
            values.append(decode(obj))
    except Mismatch as mismatch:
        mismatch.within(f"[{len(values)}]")
        raise
    return values


class ListCodec(Codec):
    """``list[T]``."""

    rank = RANK_LIST

    def __init__(self, item: Codec) -> None:
        self.item = item
        self.name = f"list[{item.name}]"

    @property
    def identity(self) -> str:
        return f"list[{self.item.identity}]"

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is not list and (exact or not isinstance(value, list)):
            raise Mismatch(self.name, value)
        return encode_items(value, self.item, exact)

    def decode(self, obj: Any) -> Any:
        if type(obj) is not list:
            raise Mismatch(self.name, obj)
        return decode_items(obj, self.item)

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema(definitions)}

    def sample(self, depth: int = 0) -> Any:
        return [self.item.sample(depth + 1)] if depth < 3 else []


class SetCodec(Codec):
    """``set[T]`` and ``frozenset[T]``, written in the order of their members' canonical texts."""

    def __init__(self, kind: type, item: Codec) -> None:
        self.kind: Any = kind
        self.item = item
        self.rank = RANK_SET if kind is set else RANK_FROZENSET
        self.name = f"{kind.__name__}[{item.name}]"

    @property
    def identity(self) -> str:
        return f"{self.kind.__name__}[{self.item.identity}]"

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is not self.kind and (exact or not isinstance(value, self.kind)):
            raise Mismatch(self.name, value)
        return sorted_forms([_member(self.item, member, exact) for member in value])

    def decode(self, obj: Any) -> Any:
        if type(obj) is not list:
            raise Mismatch(self.name, obj)
        try:
            members: Any = self.kind(decode_items(obj, self.item))
        except TypeError as error:
            raise Mismatch(self.name, obj, str(error)) from None
        return members

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema(definitions), "uniqueItems": True}

    def sample(self, depth: int = 0) -> Any:
        return [self.item.sample(depth + 1)] if depth < 3 else []


def _member(item: Codec, value: Any, exact: bool) -> Any:
    try:
        return item.encode(value, exact)
    except Mismatch as mismatch:
        mismatch.within("{…}")
        raise


def sorted_forms(forms: list[Any]) -> list[Any]:
    """Forms in an order of their own: numbers and texts as such, others by their canonical text."""
    kinds = set(map(type, forms))
    return sorted(forms) if kinds in ({int}, {str}) else sorted(forms, key=sort_key)


class TupleCodec(Codec):
    """``tuple[X, Y]``: one type per position."""

    rank = RANK_TUPLE

    def __init__(self, items: Sequence[Codec]) -> None:
        self.items = tuple(items)
        self.name = f"tuple[{', '.join(item.name for item in items) or '()'}]"

    @property
    def identity(self) -> str:
        return f"tuple[{', '.join(item.identity for item in self.items)}]"

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is not tuple and (exact or not isinstance(value, tuple)):
            raise Mismatch(self.name, value)
        return self._each(value, lambda item, member: item.encode(member, exact))

    def decode(self, obj: Any) -> Any:
        if type(obj) is not list:
            raise Mismatch(self.name, obj)
        return tuple(self._each(obj, lambda item, member: item.decode(member)))

    def _each(self, members: Sequence[Any], convert: Callable[[Codec, Any], Any]) -> list[Any]:
        if len(members) != len(self.items):
            raise Mismatch(self.name, members, f"{len(members)} members, not {len(self.items)}")
        converted: list[Any] = []
        try:
            for item, member in zip(self.items, members, strict=True):
                converted.append(convert(item, member))
        except Mismatch as mismatch:
            mismatch.within(f"[{len(converted)}]")
            raise
        return converted

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        schemas = [item.schema(definitions) for item in self.items]
        size = len(schemas)
        return {"type": "array", "prefixItems": schemas, "minItems": size, "maxItems": size}

    def sample(self, depth: int = 0) -> Any:
        return [item.sample(depth + 1) for item in self.items]


class UniformTupleCodec(ListCodec):
    """``tuple[X, ...]``."""

    rank = RANK_TUPLE

    def __init__(self, item: Codec) -> None:
        super().__init__(item)
        self.name = f"tuple[{item.name}, ...]"

    @property
    def identity(self) -> str:
        return f"tuple[{self.item.identity}, ...]"

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is not tuple and (exact or not isinstance(value, tuple)):
            raise Mismatch(self.name, value)
        return encode_items(value, self.item, exact)

    def decode(self, obj: Any) -> Any:
        return tuple(super().decode(obj))


class DictCodec(Codec):
    """``dict[K, V]``: an object where keys are text or numbers, else a tagged list of pairs."""

    rank = RANK_DICT

    def __init__(self, key: Codec, value: Codec) -> None:
        self.key, self.value = key, value
        self.name = f"dict[{key.name}, {value.name}]"

    @property
    def identity(self) -> str:
        return f"dict[{self.key.identity}, {self.value.identity}]"

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is not dict and (exact or not isinstance(value, dict)):
            raise Mismatch(self.name, value)
        keys = [self._key(key, exact) for key in value]
        forms = []
        for key, member in value.items():
            try:
                forms.append(self.value.encode(member, exact))
            except Mismatch as mismatch:
                mismatch.within(f"[{key!r}]")
                raise
        if self.key.numeric_keys:
            keys = [key if type(key) is str else dumps(key).decode() for key in keys]
        return object_of(keys, forms)

    def _key(self, key: Any, exact: bool) -> Any:
        try:
            return self.key.encode(key, exact)
        except Mismatch as mismatch:
            mismatch.within(f"[key {key!r}]")
            raise

    def decode(self, obj: Any) -> Any:
        if type(obj) is not dict:
            raise Mismatch(self.name, obj)
        decoded = {}
        for text, form in pairs_of(obj):
            try:
                key = self._decoded_key(text)
                decoded[key] = self.value.decode(form)
            except Mismatch as mismatch:
                mismatch.within(f"[{text!r}]")
                raise
            except TypeError as error:
                raise Mismatch(self.name, obj, str(error)) from None
        return decoded

    def _decoded_key(self, text: Any) -> Any:
        if self.key.numeric_keys and type(text) is str:
            try:
                return self.key.decode(loads(text))
            except DocumentError:
                pass
        return self.key.decode(text)

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "object", "additionalProperties": self.value.schema(definitions)}
        if self.key is not STR:
            schema["propertyNames"] = {"description": self.key.name}
        return schema

    def sample(self, depth: int = 0) -> Any:
        if depth >= 3:
            return {}
        key = self.key.sample(depth + 1)
        return {key if isinstance(key, str) else sort_key(key): self.value.sample(depth + 1)}


class KindredCodec(Codec):
    """A collection in the form of a simpler one: ``Counter[K]``, ``OrderedDict[K, V]``, ``deque[T]``.

    Args:
        kind: The collection.
        base: The simpler class that it is written as.
        inner: The codec of that class.
    """

    def __init__(self, kind: type, base: type, inner: Codec) -> None:
        self.kind: Any = kind
        self.base: Any = base
        self.inner = inner
        self.rank = inner.rank
        self.name = inner.name.replace(base.__name__, kind.__name__, 1)

    @property
    def identity(self) -> str:
        return self.inner.identity.replace(self.base.__name__, self.kind.__name__, 1)

    def encode(self, value: Any, exact: bool = False) -> Any:
        if type(value) is not self.kind:
            raise Mismatch(self.name, value)
        if getattr(value, "maxlen", None) is not None:
            raise Mismatch(
                self.name, value, "a deque with maxlen cannot be written; pass its items as a list"
            )
        return self.inner.encode(self.base(value), exact)

    def decode(self, obj: Any) -> Any:
        return self.kind(self.inner.decode(obj))

    def schema(self, definitions: Definitions) -> dict[str, Any]:
        return self.inner.schema(definitions)

    def sample(self, depth: int = 0) -> Any:
        return self.inner.sample(depth)


def object_of(keys: list[Any], forms: list[Any]) -> dict[str, Any]:
    """An object where every key is text and none is the tag's, else a tagged list of pairs."""
    if set(map(type, keys)) <= {str} and TAG not in keys and len(set(keys)) == len(keys):
        return dict(zip(keys, forms, strict=True))
    return {TAG: "dict", "items": [[key, form] for key, form in zip(keys, forms, strict=True)]}


def pairs_of(obj: dict[str, Any]) -> list[tuple[Any, Any]]:
    """The keys and forms of what :func:`object_of` wrote."""
    items = obj.get("items")
    if obj.get(TAG) == "dict" and isinstance(items, list):
        try:
            return [(key, form) for key, form in items]
        except (TypeError, ValueError):
            raise Mismatch("a list of pairs", obj) from None
    return list(obj.items())

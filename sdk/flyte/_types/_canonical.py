"""JSON text of values: how documents are written, read, and digested.

Documents keep the order in which a dict was filled, because people see it; :func:`canonical` and
:func:`digest` do not depend on it. Floats are written in Python's shortest exact form, integers in full,
strings as UTF-8.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 200
"""Deepest nesting of objects and arrays in a document. Deeper ones are refused when they are written."""

TAG = "$type"
"""Key of an object that stands for something JSON has no form for."""

_WRITER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
_SORTER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"), sort_keys=True
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|([\[{])|([\]}])', re.DOTALL)
_EXACT_FLOATS = 2**53
_MOST_MEMBERS = 1000
_TRIVIAL = (None, "", 0, 1, -1)


class DocumentError(ValueError):
    """A value has no JSON document, or a document is not one of ours."""


def _refuse_constant(name: str) -> Any:
    raise DocumentError(f"{name} is not JSON; write NaN and infinities as strings")


def _whole(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < _EXACT_FLOATS else number


_READER = json.JSONDecoder(parse_constant=_refuse_constant)
_LINEAGE_READER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_whole)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        if _SURROGATE_PAIR.search(text):
            raise DocumentError(
                "a string holds two lone surrogates that JSON would read as one character; pass bytes instead"
            ) from None
        return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode()


def _check_depth(data: bytes) -> None:
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _BRACKET.finditer(data):
        if match[1]:
            depth += 1
            if depth > MAX_DEPTH:
                raise DocumentError(f"nested more than {MAX_DEPTH} levels deep, or contains itself")
        elif match[2]:
            depth -= 1


def dumps(obj: Any) -> bytes:
    """Writes JSON-ready objects compactly, in their own order.

    Raises:
        DocumentError: Nested too deeply, or not JSON.
    """
    try:
        data = _encoded(_WRITER.encode(obj))
    except RecursionError:
        raise DocumentError(f"nested more than {MAX_DEPTH} levels deep, or contains itself") from None
    _check_depth(data)
    return data


def loads(data: bytes | str) -> Any:
    """Reads a JSON document.

    Raises:
        DocumentError: Not JSON, or nested too deeply.
    """
    try:
        raw = data.encode() if isinstance(data, str) else data
        text = data if isinstance(data, str) else data.decode()
        _check_depth(raw)
        return _READER.decode(text)
    except DocumentError:
        raise
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"not a JSON document: {error}") from None


def sort_key(obj: Any) -> str:
    """Canonical text of a JSON-ready object, to order the members of a set or the items of a dict by."""
    return _SORTER.encode(obj)


def _settled(obj: Any) -> Any:
    """The object with the items of tagged dicts in canonical order, and references by what they are known by."""
    if isinstance(obj, list):
        return [_settled(item) for item in obj]
    if not isinstance(obj, dict):
        return obj
    if obj.get(TAG) == "ref":
        return identity(obj)
    settled = {key: _settled(value) for key, value in obj.items()}
    if settled.get(TAG) == "dict" and isinstance(settled.get("items"), list):
        settled["items"] = sorted(settled["items"], key=sort_key)
    return settled


def identity(reference: dict[str, Any]) -> dict[str, Any]:
    """What a reference to bulk data is known by: its content hash where there is one, else where it is."""
    names = ("kind", "hash") if reference.get("hash") else ("kind", "key", "uri")
    return {TAG: "ref", **{name: reference[name] for name in names if name in reference}}


def references(obj: Any) -> Iterator[dict[str, Any]]:
    """The references to bulk data in a JSON-ready object, wherever they stand."""
    pending = [obj]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, dict):
            if item.get(TAG) == "ref":
                yield item
            pending.extend(item.values())


def _canonical(obj: Any, tagged: bool) -> bytes:
    return _encoded(_SORTER.encode(_settled(obj) if tagged else obj))


def canonical(data: bytes) -> bytes:
    """The one canonical form of a document: equal values have equal bytes.

    Keys are sorted by code point, and there is no space. Dicts that differ in their order alone are equal.
    """
    return _canonical(loads(data), b'"$type"' in data)


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def digest(data: bytes) -> str:
    """BLAKE2b-128 (32 hex digits) of a document's canonical form."""
    return _hash(canonical(data))


def input_digests(data: bytes) -> dict[str, str]:
    """The digest of each value at the top of an inputs or outputs document, by name."""
    document = loads(data)
    if not isinstance(document, dict):
        raise DocumentError("expected an object that maps names to values")
    tagged = b'"$type"' in data
    return {name: _hash(_canonical(value, tagged)) for name, value in document.items()}


def lineage_digests(data: bytes, members: bool = False) -> dict[str, frozenset[str]]:
    """What each value at the top of a document can be recognised by, to see which output became which input.

    An input came from an output when the two have a digest in common. Trivial values have none, and a whole
    float counts as the int it equals, since an int is often handed to a parameter that takes a float.

    Args:
        data: An inputs or outputs document.
        members: Also the digests of the members of a list or a dict (the first 1000), so that a fan-in over
            ``[await child(x) for x in xs]`` is seen to come from every child. For inputs.
    """
    document = _LINEAGE_READER.decode(data.decode())
    tagged = b'"$type"' in data
    found = {}
    for name, value in document.items():
        candidates = [value, *(_members(value) if members else ())]
        found[name] = frozenset(
            _hash(_canonical(item, tagged)) for item in candidates if not _is_trivial(item)
        )
    return found


def _members(value: Any) -> list[Any]:
    if isinstance(value, dict):
        items = value.get("items") if TAG in value else None
        value = items if isinstance(items, list) else list(value.values())
    return value[:_MOST_MEMBERS] if isinstance(value, list) else []


def is_trivial(value_json: bytes | str) -> bool:
    """Whether a value is too common to be evidence of where it came from.

    Null, booleans, 0, 1, -1, the empty string and empty collections are; 2 or ``"ok"`` are not.
    """
    return _is_trivial(loads(value_json))


def _is_trivial(value: Any) -> bool:
    if isinstance(value, dict):
        return not value or (TAG in value and value.get("items") == [])
    return value == [] if isinstance(value, list) else value in _TRIVIAL

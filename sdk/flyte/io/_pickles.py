"""Pickles that are too long for documents: files of the store."""

from __future__ import annotations

import hashlib
from typing import Any

from flyte._types._mismatch import Mismatch
from flyte._types._moves import is_describing, may_block, moved
from flyte.io._places import home, place_of
from flyte.io._reference import location_of, reference


def stored_pickle(value: Any, data: bytes, name: str) -> dict[str, Any]:
    """Stores a pickle and returns the reference to it.

    Raises:
        Mismatch: Nothing can be stored here.
    """
    if is_describing.get():
        raise Mismatch(name, value, "a value whose pickle is so long is no default")
    memo = moved.get()
    if memo is not None and id(value) in memo.forms:
        return dict(memo.forms[id(value)][1])
    may_block()
    place = home()
    location = place.new("value.pickle")
    with place.writer(location) as file:
        file.write(data)
    form = reference("file", location, hash=f"sha256:{hashlib.sha256(data).hexdigest()}")
    if memo is not None:
        memo.forms[id(value)] = value, form
    return form


def fetched_pickle(obj: Any) -> bytes:
    """The pickle that a reference leads to.

    Raises:
        Mismatch: It is no reference to a file.
    """
    location = location_of(obj, "file")
    may_block()
    with place_of(location).reader(location) as file:
        return file.read()

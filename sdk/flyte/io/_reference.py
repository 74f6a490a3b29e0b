"""References: how documents say where bulk data is."""

from __future__ import annotations

from typing import Any

from flyte._types._canonical import TAG
from flyte._types._mismatch import Mismatch
from flyte._types._moves import is_describing
from flyte.io._places import STORE, home, local_path

KINDS = {"file": "flyte.io.File", "dir": "flyte.io.Dir", "dataframe": "flyte.io.DataFrame"}


def reference(kind: str, location: str, **more: Any) -> dict[str, Any]:
    """The reference to a location; what is empty is left out."""
    place = {"key": location[len(STORE) :]} if location.startswith(STORE) else {"uri": location}
    return {TAG: "ref", "kind": kind, **place, **{name: value for name, value in more.items() if value}}


def is_reference(obj: Any) -> bool:
    """Whether an object is a reference."""
    return type(obj) is dict and obj.get(TAG) == "ref"


def location_of(obj: Any, kind: str) -> str:
    """Where the data of a reference is.

    Raises:
        Mismatch: It is no reference, or one to something else.
    """
    name = KINDS[kind]
    if isinstance(obj, str) and obj:
        return obj
    if not is_reference(obj):
        raise Mismatch(name, obj, "a reference, or a path or URI")
    if obj.get("kind") != kind:
        raise Mismatch(name, obj, f"it refers to a {obj.get('kind')}")
    key, uri = obj.get("key"), obj.get("uri")
    if isinstance(key, str) and key and key.endswith("/") == (kind == "dir"):
        return STORE + key
    if isinstance(uri, str) and uri and key is None:
        return uri
    raise Mismatch(name, obj, "it has no key of the blob store and no URI")


def must_send(location: str, expected: str, value: Any) -> bool:
    """Whether what is at a location of this machine has to be sent before a document can refer to it.

    Raises:
        Mismatch: It would have to be, and nothing can be stored here.
    """
    if local_path(location) is None:
        return False
    if is_describing.get():
        raise Mismatch(expected, value, "a file of this machine is no default")
    return home().is_store

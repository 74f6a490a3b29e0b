"""Finds which earlier siblings the inputs of a child came from."""

from __future__ import annotations

import json
import threading
from typing import Any

from flyte._types import input_digests, is_trivial
from flyte._types._canonical import identity, references


class Lineage:
    """The outputs that one attempt has received, by the digest of their values.

    Two values are the same when their canonical documents are. Values that are too common to say anything
    (0, "", True, []) are left aside. Of several siblings with one output the one whose outcome came last is
    taken. An input that refers to a file, directory or frame that a sibling referred to came from it as well, and
    so did what is below such a directory. Outputs are digested when the next child is asked for, and not before.
    Used by user threads as well.
    """

    def __init__(self) -> None:
        self._fresh: list[tuple[str, bytes]] = []
        self._makers: dict[str, str] = {}
        self._lock = threading.Lock()

    def learn(self, key: str, outputs: bytes) -> None:
        """Takes note of a child's outputs document."""
        if outputs and outputs != b"{}":
            with self._lock:
                self._fresh.append((key, outputs))

    def sources(self, inputs: bytes) -> list[list[str]]:
        """The inputs of a document that a sibling made, as pairs of input name and the sibling's key."""
        if not self._fresh and not self._makers:
            return []
        with self._lock:
            fresh, self._fresh = self._fresh, []
            for key, outputs in fresh:
                for _, digest in _telling(outputs):
                    self._makers[digest] = key
            makers = self._makers
            found = {
                (name, makers[digest]) for name, digest in _telling(inputs, above=True) if digest in makers
            }
            return sorted([name, key] for name, key in found)


def _telling(document: bytes, *, above: bool = False) -> list[tuple[str, str]]:
    """Names and digests of the values of a document that are not trivial, and of the references in them.

    Args:
        document: An inputs or outputs document.
        above: Also those of the directories that the references are in.
    """
    values: Any = json.loads(document)
    digests = input_digests(document)
    telling = [(name, digests[name]) for name, value in values.items() if not is_trivial(json.dumps(value))]
    if b'"ref"' in document:
        for name, value in values.items():
            telling += [(name, place) for each in references(value) for place in _places(each, above)]
    return telling


def _places(reference: dict[str, Any], above: bool) -> list[str]:
    """What a reference is known by: content hash and location, and the directories around it."""
    places = [json.dumps(identity(reference), sort_keys=True)]
    location = reference.get("key") or reference.get("uri")
    if isinstance(location, str):
        places.append(location)
        while above and (parent := location.rstrip("/").rpartition("/")[0]):
            location = f"{parent}/"
            places.append(location)
    return places

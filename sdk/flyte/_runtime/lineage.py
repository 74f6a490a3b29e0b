"""Finds which earlier siblings the inputs of a child came from."""

from __future__ import annotations

import json
import threading
from typing import Any

from flyte._types import input_digests, is_trivial


class Lineage:
    """The outputs that one attempt has received, by the digest of their values.

    Two values are the same when their canonical documents are. Values that are too common to say anything
    (0, "", True, []) are left aside. Of several siblings with one output the one whose outcome came last is
    taken. Outputs are digested when the next child is asked for, and not before. Used by user threads as
    well.
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
            return [[name, makers[digest]] for name, digest in _telling(inputs) if digest in makers]


def _telling(document: bytes) -> list[tuple[str, str]]:
    """Names and digests of the values of a document that are not trivial."""
    values: Any = json.loads(document)
    digests = input_digests(document)
    return [(name, digests[name]) for name, value in values.items() if not is_trivial(json.dumps(value))]

"""Inputs and outputs as the shell passes them around: opaque bytes, or where they are."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import NamedTuple

from hangar.core.v1.failure_pb2 import Failure
from hangar.core.v1.payload_pb2 import Payload

_REMEMBERED_FAILURES = 4096


class Document(NamedTuple):
    """Inputs or outputs. `inline` is None when the document is in the blob store."""

    inline: bytes | None
    blob_key: str
    size: int
    digest: str

    def write_to(self, payload: Payload) -> None:
        """Fills a message."""
        if self.inline is None:
            payload.reference.key = self.blob_key
            payload.reference.size = self.size
        else:
            payload.inline = self.inline
        payload.digest = self.digest


EMPTY = Document(b"{}", "", 2, hashlib.blake2b(b"{}", digest_size=16).hexdigest())
"""Inputs or outputs that are none."""


def document_of(payload: Payload) -> Document:
    """Returns the document of a message, apart from the memory of the frame that it came in."""
    if payload.HasField("reference"):
        return Document(None, payload.reference.key, payload.reference.size, payload.digest)
    inline = payload.inline
    return Document(inline, "", len(inline), payload.digest)


class DocumentCache:
    """The documents that were used last, by action.

    Args:
        capacity: Most bytes to keep.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._documents: OrderedDict[int, Document] = OrderedDict()
        self._bytes = 0

    def put(self, action_id: int, document: Document) -> None:
        """Adds a document, and drops those that were not used for the longest time."""
        self.drop(action_id)
        self._documents[action_id] = document
        self._bytes += _weight(document)
        while self._bytes > self._capacity:
            _, dropped = self._documents.popitem(last=False)
            self._bytes -= _weight(dropped)

    def get(self, action_id: int) -> Document | None:
        """Returns the document of an action, None when it is not here."""
        document = self._documents.get(action_id)
        if document is not None:
            self._documents.move_to_end(action_id)
        return document

    def drop(self, action_id: int) -> None:
        """Forgets a document."""
        document = self._documents.pop(action_id, None)
        if document is not None:
            self._bytes -= _weight(document)


class Payloads:
    """What frames carry of actions, as far as it was seen lately; the ledger has all of it.

    Args:
        capacity: Most bytes of documents to keep.
    """

    def __init__(self, capacity: int) -> None:
        self.inputs = DocumentCache(capacity // 2)
        self.outputs = DocumentCache(capacity // 2)
        self._failures: OrderedDict[int, Failure] = OrderedDict()

    def put_failure(self, action_id: int, failure: Failure) -> None:
        """Remembers how an action failed."""
        self._failures[action_id] = failure
        if len(self._failures) > _REMEMBERED_FAILURES:
            self._failures.popitem(last=False)

    def failure(self, action_id: int) -> Failure | None:
        """Returns how an action failed, None when that is not here."""
        return self._failures.get(action_id)


def _weight(document: Document) -> int:
    return 200 + (len(document.inline) if document.inline is not None else 0)

"""Documents in memory: bounded, and the same as in the ledger."""

from __future__ import annotations

from hangar.core.v1.payload_pb2 import BlobReference, Payload
from services.scheduler.documents import Document, DocumentCache, document_of


def test_the_cache_keeps_what_was_used_last():
    """Above its capacity in bytes the cache drops what was not used for the longest time."""
    cache = DocumentCache(3 * 1200)
    documents = [Document(bytes(1000), "", 1000, str(number)) for number in range(4)]
    for number in range(3):
        cache.put(number, documents[number])
    assert cache.get(0) is documents[0]
    cache.put(3, documents[3])
    assert cache.get(1) is None
    assert [cache.get(number) for number in (0, 2, 3)] == [documents[0], documents[2], documents[3]]
    cache.drop(0)
    cache.put(3, documents[2])
    assert cache.get(0) is None
    assert cache.get(3) is documents[2]


def test_a_document_larger_than_the_cache_is_not_kept():
    """A cache without room keeps nothing and does not grow."""
    cache = DocumentCache(0)
    cache.put(1, Document(b"{}", "", 2, ""))
    assert cache.get(1) is None


def test_payloads_come_back_as_they_were():
    """Inline documents, empty ones too, and references survive the way through the shell."""
    for payload in (
        Payload(inline=b'{"a":1}', digest="d"),
        Payload(inline=b"", digest="d"),
        Payload(reference=BlobReference(key="runs/x", size=100_000), digest="d"),
    ):
        back = Payload()
        document_of(payload).write_to(back)
        assert back == payload

"""Inputs and outputs on their way: short ones inside messages, long ones through the blob store."""

import asyncio
from collections import OrderedDict

import structlog

from hangar.core.v1.payload_pb2 import BlobReference, Payload
from services.common.blobs import BlobStore
from services.common.errors import HangarError, NotFound

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0


class Payloads:
    """Moves documents between messages and the blob store. A store that fails is tried again until it works.

    Args:
        blobs: The store.
        inline_bytes: Longest document that travels inside messages.
        cache_bytes: Memory for documents that were fetched lately.
    """

    def __init__(self, blobs: BlobStore, inline_bytes: int, cache_bytes: int = 32 * 1024 * 1024) -> None:
        self._blobs = blobs
        self._inline_bytes = inline_bytes
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._cached = 0
        self._fetches: dict[str, asyncio.Task[bytes]] = {}

    def is_inline(self, document: bytes) -> bool:
        """Says whether a document travels inside messages."""
        return len(document) <= self._inline_bytes

    async def store(self, key: str, document: bytes, digest: str) -> Payload:
        """Puts a document into the store and returns the reference to it."""
        await self.put(key, document)
        return Payload(reference=BlobReference(key=key, size=len(document)), digest=digest)

    async def put(self, key: str, content: bytes) -> None:
        """Puts bytes into the store, however long it takes until the store works."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._blobs.put(key, content)
                return
            except HangarError as error:
                log.warning("blobs.put_failed", key=key, error=str(error), hint="it is tried again")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def fetch(self, payload: Payload) -> bytes:
        """Returns the document of a payload.

        Raises:
            NotFound: The object that it refers to does not exist.
        """
        if payload.WhichOneof("data") != "reference":
            return payload.inline
        key = payload.reference.key
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        fetching = self._fetches.get(key)
        if fetching is None:
            fetching = self._fetches[key] = asyncio.create_task(self._get(key))
            fetching.add_done_callback(lambda _: self._fetches.pop(key, None))
        return await asyncio.shield(fetching)

    async def _get(self, key: str) -> bytes:
        document = await self.get(key)
        self._remember(key, document)
        return document

    async def get(self, key: str) -> bytes:
        """Returns an object of the store, however long it takes until the store works.

        Raises:
            NotFound: There is none.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._blobs.get(key)
            except NotFound:
                raise
            except HangarError as error:
                log.warning("blobs.get_failed", key=key, error=str(error), hint="it is tried again")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _remember(self, key: str, document: bytes) -> None:
        if len(document) > self._cache_bytes // 4:
            return
        self._cache[key] = document
        self._cached += len(document)
        while self._cached > self._cache_bytes:
            _, oldest = self._cache.popitem(last=False)
            self._cached -= len(oldest)

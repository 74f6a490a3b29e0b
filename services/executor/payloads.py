"""Inputs and outputs on their way: short ones inside messages, long ones through the blob store."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import structlog

from hangar.core.v1.payload_pb2 import BlobReference, Payload
from services.common.blobs import Blob, BlobStore, check_sha256, sha256_of_key
from services.common.errors import HangarError, InvalidArgument, NotFound, Unavailable

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
REMIND_SECONDS = 30.0
"""How often a reason to wait is said again while it stays the same."""

T = TypeVar("T")
Waiting = Callable[[str], None]
"""Is told why something waits, and an empty text when it goes on."""


def unheard(reason: str) -> None:
    """Nobody wants to know why something waits."""


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
        self._fetches: dict[str, tuple[asyncio.Task[bytes], list[Waiting]]] = {}
        self.trouble = ""
        """Why the store does not work at the moment, empty when it does for all that is known."""

    def is_inline(self, document: bytes) -> bool:
        """Says whether a document travels inside messages."""
        return len(document) <= self._inline_bytes

    async def store(self, key: str, document: bytes, digest: str, waiting: Waiting = unheard) -> Payload:
        """Puts a document into the store and returns the reference to it."""
        await self.put(key, document, waiting)
        return reference_to(key, document, digest)

    async def put(self, key: str, content: bytes, waiting: Waiting = unheard) -> None:
        """Puts bytes into the store, however long it takes until the store works."""
        await self._until_it_works(lambda: self._blobs.put(key, content), waiting)

    async def put_file(self, key: str, path: Path, waiting: Waiting = unheard) -> None:
        """Puts a file into the store, however long it takes until the store works.

        Raises:
            OSError: The file cannot be read.
        """
        await self._until_it_works(lambda: self._blobs.put_file(key, path), waiting)

    async def fetch(self, payload: Payload, waiting: Waiting = unheard) -> bytes:
        """Returns the document of a payload.

        Raises:
            NotFound: The object that it refers to does not exist, or is not what its key says.
        """
        if payload.WhichOneof("data") != "reference":
            return payload.inline
        key = payload.reference.key
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        if key not in self._fetches:
            listeners: list[Waiting] = []
            fetching = asyncio.create_task(self._get(key, listeners))
            self._fetches[key] = fetching, listeners
            fetching.add_done_callback(lambda _: self._fetches.pop(key, None))
        fetching, listeners = self._fetches[key]
        listeners.append(waiting)
        return await asyncio.shield(fetching)

    async def _get(self, key: str, listeners: list[Waiting]) -> bytes:
        def waiting(reason: str) -> None:
            for listener in listeners:
                listener(reason)

        document = await self.get(key, waiting)
        try:
            if sha256 := sha256_of_key(key):
                await asyncio.to_thread(check_sha256, document, sha256)
        except InvalidArgument as error:
            message = f"object {key} is not what was uploaded: {error.message}"
            raise NotFound(message, reason="BLOB_DAMAGED", key=key) from error
        self._remember(key, document)
        return document

    async def get(self, key: str, waiting: Waiting = unheard) -> bytes:
        """Returns an object of the store, however long it takes until the store works.

        Raises:
            NotFound: There is none.
        """
        return await self._until_it_works(lambda: self._blobs.get(key), waiting)

    async def head(self, key: str, waiting: Waiting = unheard) -> Blob:
        """Returns what is known of an object, however long it takes until the store works.

        Raises:
            NotFound: There is none.
        """
        return await self._until_it_works(lambda: self._blobs.head(key), waiting)

    async def list(self, prefix: str, waiting: Waiting = unheard) -> list[Blob]:
        """Returns the objects below a prefix, in no order, however long it takes until the store works."""

        async def found() -> list[Blob]:
            return [blob async for blob in self._blobs.list(prefix)]

        return await self._until_it_works(found, waiting)

    async def get_file(self, key: str, path: Path, sha256: str, waiting: Waiting = unheard) -> int:
        """Writes an object to a new file and returns its size, however long it takes until the store works.

        Raises:
            NotFound: There is no such object.
            InvalidArgument: It has another digest.
            ResourceExhausted: The disk is full.
            OSError: The file cannot be written.
        """
        return await self._until_it_works(lambda: self._blobs.get_file(key, path, sha256=sha256), waiting)

    async def _until_it_works(self, attempt: Callable[[], Awaitable[T]], waiting: Waiting) -> T:
        pause, said, remind_at = FIRST_PAUSE_SECONDS, "", 0.0
        while True:
            try:
                result = await attempt()
                break
            except Unavailable as error:
                self._troubled(error)
                now = time.monotonic()
                if error.message != said or now >= remind_at:
                    said, remind_at = error.message, now + REMIND_SECONDS
                    waiting(said)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        if self.trouble:
            log.info("blobs.working_again")
            self.trouble = ""
        if said:
            waiting("")
        return result

    def _troubled(self, error: HangarError) -> None:
        if not self.trouble:
            log.warning("blobs.failed", error=error.message, hint="nothing is lost; it is tried again")
        self.trouble = error.message

    def _remember(self, key: str, document: bytes) -> None:
        if len(document) > self._cache_bytes // 4:
            return
        self._cache[key] = document
        self._cached += len(document)
        while self._cached > self._cache_bytes:
            _, oldest = self._cache.popitem(last=False)
            self._cached -= len(oldest)


def reference_to(key: str, document: bytes, digest: str) -> Payload:
    """Returns the payload of a document that is stored, or will be."""
    return Payload(reference=BlobReference(key=key, size=len(document)), digest=digest)

"""The platform's store for a client: signed URLs, of the backend's HTTP port or of the object store behind it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import IO, ClassVar

from flyte import errors
from flyte._client import _transfer
from flyte._client._loop import LOOP
from flyte._initialize import Session
from flyte.io._drafts import Spool
from flyte.io._names import from_key, to_key
from flyte.io._places import STORE
from flyte.io._ranges import BLOCK_BYTES, Ranges
from hangar.admin.v1 import data_service_pb2

_AT_ONCE = 8
_PER_CALL = 500


class ClientPlace:
    """What a client uploads, and what runs wrote.

    Args:
        session: The backend.
        project: Project that uploads are for; that of the session unless given.
        domain: Domain that uploads are for; that of the session unless given.
    """

    is_store: ClassVar[bool] = True

    def __init__(self, session: Session, project: str | None = None, domain: str | None = None) -> None:
        self._session = session
        self._project = project or session.project
        self._domain = domain or session.domain

    def new(self, name: str) -> str:
        """A location that nobody has used before."""
        return f"{STORE}data/{uuid.uuid4().hex}/{to_key(name.rstrip('/'))}" + "/" * name.endswith("/")

    def reader(self, location: str, block_size: int | None = None) -> IO[bytes]:
        """Opens an object, which is read in blocks."""
        key = _key(location)
        found = LOOP.run(self._found(key))
        renew = _renewal(self, key)

        def fetch(start: int, end: int) -> bytes:
            return LOOP.run(_transfer.get_range(found.url, start, end, renew))

        return io.BufferedReader(Ranges(found.size, fetch), block_size or BLOCK_BYTES)

    def path(self, location: str) -> str | None:
        """None: the object is elsewhere."""
        return None

    def writer(self, location: str) -> IO[bytes]:
        """Opens a new object: a file of this machine until it is complete."""
        return Spool(lambda path: self.send(path, location))

    def size(self, location: str) -> int | None:
        """Bytes of an object, None when there is none."""
        [found] = LOOP.run(self._look_up([_key(location)]))
        return found.size if found.exists else None

    def entries(self, location: str) -> list[tuple[str, int]]:
        """The objects below a prefix."""
        prefix = _key(location)
        return [(from_key(key[len(prefix) :]), size) for key, size in LOOP.run(self._listed(prefix))]

    def send(self, source: Path, location: str | None = None) -> str:
        """Uploads a file, unless the store has it."""
        return LOOP.run(self._send(source, location))

    def send_all(self, root: Path, names: Sequence[str], location: str | None = None) -> str:
        """Uploads files, those that the store does not have."""
        if location is None:
            location = f"{STORE}data/{_manifest(root, names)}/{to_key(root.resolve().name or 'directory')}/"
        LOOP.run(self._send_all(root, names, _key(location)))
        return location

    def fetch(self, location: str, target: Path) -> None:
        """Downloads an object."""
        LOOP.run(self._fetch([(_key(location), target)]))

    def fetch_all(self, location: str, names: Sequence[str], root: Path) -> None:
        """Downloads objects."""
        prefix = _key(location)
        LOOP.run(self._fetch([(prefix + to_key(name), root / name) for name in names]))

    # -- on the SDK's own loop ------------------------------------------------------------------------------

    async def _send(self, source: Path, location: str | None) -> str:
        size, sha256 = await asyncio.to_thread(_transfer.identity_of, source)
        if location is None:
            wanted = _wanted(size, sha256=sha256, name=to_key(source.name))
        else:
            wanted = _in_collection(_key(location), size)
        [key] = await self._upload([(wanted, source)])
        return STORE + key

    async def _send_all(self, root: Path, names: Sequence[str], prefix: str) -> None:
        sizes = await asyncio.to_thread(lambda: [(root / name).stat().st_size for name in names])
        wanted = [
            _in_collection(prefix + to_key(name), size) for name, size in zip(names, sizes, strict=True)
        ]
        await self._upload([(each, root / name) for each, name in zip(wanted, names, strict=True)])

    async def _upload(self, files: Sequence[tuple[data_service_pb2.UploadRequest, Path]]) -> list[str]:
        client = await self._session.client()

        async def places(
            wanted: Sequence[data_service_pb2.UploadRequest],
        ) -> Sequence[data_service_pb2.Upload]:
            request = data_service_pb2.CreateUploadsRequest(
                project=self._project, domain=self._domain, uploads=wanted
            )
            return (await client.call(client.data.CreateUploads, request)).uploads

        async def upload(
            wanted: data_service_pb2.UploadRequest, place: data_service_pb2.Upload, source: Path
        ) -> None:
            async def again() -> data_service_pb2.Upload:
                return (await places([wanted]))[0]

            if not place.exists:
                async with gate:
                    await _transfer.put(place.url, source, lambda: _transfer.url_of(again))

        gate, keys = asyncio.Semaphore(_AT_ONCE), []
        for start in range(0, len(files), _PER_CALL):
            part = files[start : start + _PER_CALL]
            found = await places([wanted for wanted, _ in part])
            await asyncio.gather(
                *(upload(wanted, place, source) for (wanted, source), place in zip(part, found, strict=True))
            )
            keys += [place.key for place in found]
        return keys

    async def _look_up(self, keys: Sequence[str]) -> Sequence[data_service_pb2.Download]:
        project, domain = self._scope(keys[0])
        request = data_service_pb2.CreateDownloadsRequest(project=project, domain=domain, keys=keys)
        client = await self._session.client()
        return (await client.call(client.data.CreateDownloads, request)).downloads

    async def _found(self, key: str) -> data_service_pb2.Download:
        [found] = await self._look_up([key])
        if not found.exists:
            raise errors.RuntimeUserError(
                "ObjectNotFound", f"object {key} does not exist in the store of the backend: it was deleted"
            )
        return found

    async def _listed(self, prefix: str) -> list[tuple[str, int]]:
        project, domain = self._scope(prefix)
        request = data_service_pb2.ListObjectsRequest(project=project, domain=domain, prefix=prefix)
        client = await self._session.client()
        found: list[tuple[str, int]] = []
        while True:
            answer = await client.call(client.data.ListObjects, request)
            found += [(each.key, each.size) for each in answer.objects]
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    async def _fetch(self, files: Sequence[tuple[str, Path]]) -> None:
        async def fetch(found: data_service_pb2.Download, target: Path) -> None:
            async with gate:
                if not found.exists:
                    await self._found(found.key)
                await _transfer.get_file(found.url, target, found.size, _renewal(self, found.key))

        gate = asyncio.Semaphore(_AT_ONCE)
        for start in range(0, len(files), _PER_CALL):
            part = files[start : start + _PER_CALL]
            looked_up = await self._look_up([key for key, _ in part])
            await asyncio.gather(
                *(fetch(found, target) for found, (_, target) in zip(looked_up, part, strict=True))
            )

    def _scope(self, key: str) -> tuple[str, str]:
        """Project and domain to ask in: those of the run that wrote it."""
        parts = key.split("/")
        return (
            (parts[1], parts[2]) if parts[0] == "runs" and len(parts) > 3 else (self._project, self._domain)
        )


def _renewal(place: ClientPlace, key: str) -> Callable[[], Awaitable[str]]:
    async def renew() -> str:
        return (await place._found(key)).url

    return renew


def _wanted(size: int, **more: str) -> data_service_pb2.UploadRequest:
    return data_service_pb2.UploadRequest(kind=data_service_pb2.UPLOAD_KIND_DATA, size=size, **more)


def _in_collection(key: str, size: int) -> data_service_pb2.UploadRequest:
    """What to ask for to write a key that `new` or `send_all` made."""
    parts = key.split("/", 2)
    if parts[0] != "data" or len(parts) < 3 or len(parts[1]) != 32:
        raise errors.RuntimeUserError(
            "NotInReach", f"object {key} cannot be written by a client: use File.new_remote or Dir.new_remote"
        )
    return _wanted(size, collection=parts[1], name=parts[2])


def _manifest(root: Path, names: Sequence[str]) -> str:
    """What a directory is known by: the same content is the same."""
    digest = hashlib.blake2b(digest_size=16)
    for name in names:
        _, sha256 = _transfer.identity_of(root / name)
        digest.update(f"{to_key(name)}\n{sha256}\n".encode())
    return digest.hexdigest()


def _key(location: str) -> str:
    return location[len(STORE) :]

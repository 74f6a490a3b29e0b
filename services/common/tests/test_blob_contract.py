"""What every blob store does, run against a local directory and against S3."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import resource
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.common.blobs import BlobStore
from services.common.errors import InvalidArgument, NotFound, ResourceExhausted

MEGABYTE = 1024 * 1024
NAMES = [
    "sp ace",
    "ünï",
    "日本",
    "per%cent",
    "per%20cent",
    "a+b",
    "q?x",
    "a&b=c",
    "it's",
    'dq"',
    "[x]{c}",
    "a:b~*",
]


_prefixes = itertools.count()


@pytest.fixture(scope="module")
def bucket_url(s3) -> str:
    """A bucket for all stores of this module: each has a prefix of its own."""
    return str(s3.bucket("contract"))


@pytest.fixture(params=["directory", "s3"])
def store(request, tmp_path, monkeypatch) -> BlobStore:
    """An empty store; the bucket has other objects beside the store's prefix."""
    if request.param == "directory":
        return BlobStore((tmp_path / "some blobs").as_uri())
    s3 = request.getfixturevalue("s3")
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    return BlobStore(f"{request.getfixturevalue('bucket_url')}/some/prefix-{next(_prefixes)}")


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    """Yields the parts."""
    for part in parts:
        yield part


async def zeros(megabytes: int) -> AsyncIterator[bytes]:
    """Yields megabytes, one by one."""
    for number in range(megabytes):
        yield bytes([number % 256]) * MEGABYTE


def digest_of_zeros(megabytes: int) -> str:
    """The SHA-256 of `zeros`."""
    digest = hashlib.sha256()
    for number in range(megabytes):
        digest.update(bytes([number % 256]) * MEGABYTE)
    return digest.hexdigest()


async def keys(store: BlobStore, prefix: str = "") -> list[str]:
    """The keys below a prefix, sorted."""
    return sorted([blob.key async for blob in store.list(prefix)])


async def test_a_store_that_works_passes_its_check(store):
    """The check may be repeated, and shows nothing of itself in the store's list."""
    await store.check()
    await store.check()
    await store.check(writes=False)
    assert await keys(store) == []


async def test_an_object_reads_as_it_was_written_last(store):
    """Whole, in ranges, as a stream, by head and by list, until it is deleted."""
    await store.put("runs/p/a.json", b"old and longer than the next one")
    await store.put("runs/p/a.json", b"0123456789")
    assert await store.get("runs/p/a.json") == b"0123456789"
    assert await store.get_range("runs/p/a.json", 2, 5) == b"234"
    assert await store.get_range("runs/p/a.json", 8, 50) == b"89"
    assert await store.get_range("runs/p/a.json", 5, 5) == b""
    assert b"".join([each async for each in store.get_stream("runs/p/a.json", 3)]) == b"3456789"
    head = await store.head("runs/p/a.json")
    assert (head.key, head.size, head.modified_at.tzinfo is not None) == ("runs/p/a.json", 10, True)
    await store.delete("runs/p/a.json")
    await store.delete("runs/p/a.json")
    assert not await store.exists("runs/p/a.json")
    await store.put("short", b"abc")
    with pytest.raises(InvalidArgument, match="behind the end"):
        await store.get_range("short", 3, 5)


@pytest.mark.parametrize("size", [1, 4 * MEGABYTE - 1, 4 * MEGABYTE, 4 * MEGABYTE + 1, 11 * MEGABYTE])
async def test_objects_of_any_size_are_read_whole(store, size):
    """At and around the size of the pieces in which they are fetched."""
    content = os.urandom(size)
    await store.put("a", content)
    assert await store.get("a") == content
    assert b"".join([piece async for piece in store.get_stream("a")]) == content


async def test_an_empty_object_is_an_object(store):
    """It exists, and every way to read it gives no bytes."""
    await store.put("empty", b"")
    assert await store.exists("empty")
    assert await store.get("empty") == await store.get_range("empty", 0, 10) == b""
    assert [each async for each in store.get_stream("empty")] == []


async def test_what_does_not_exist_is_not_found(store, tmp_path):
    """Every way to read names the key, and leaves nothing behind."""
    with pytest.raises(NotFound, match=r"runs/none\.json does not exist"):
        await store.get("runs/none.json")
    for reading in (
        store.head("none"),
        store.get_range("none", 0, 5),
        store.get_file("none", tmp_path / "file"),
        anext(store.get_stream("none")),
    ):
        with pytest.raises(NotFound, match="none does not exist"):
            await reading
    assert not await store.exists("none")
    assert not (tmp_path / "file").exists()


async def test_a_list_holds_what_is_below_a_prefix(store):
    """A prefix ends where a part of a key ends, and long lists are complete."""
    names = [f"runs/p/{number:04}" for number in range(1100)]
    for start in range(0, len(names), 50):
        await asyncio.gather(*(store.put(name, b"x") for name in names[start : start + 50]))
    await store.put("runs/pp/a", b"y")
    assert await keys(store, "runs/p") == names
    assert await keys(store) == [*names, "runs/pp/a"]
    assert await keys(store, "none") == []


async def test_of_several_creators_one_succeeds(store):
    """An object that exists is not written over, however many try at once."""
    made = await asyncio.gather(*(store.create("lock", bytes([number])) for number in range(8)))
    assert sorted(made) == [False] * 7 + [True]
    assert await store.get("lock") == bytes([made.index(True)])
    assert not await store.create("lock", b"later")


@pytest.mark.parametrize("name", NAMES)
async def test_names_are_kept_as_they_are(store, name):
    """Spaces, percent signs and letters of any script come back as they were, from lists as well."""
    key = f"data/{name}/{name}.txt"
    await store.put(key, name.encode())
    assert await store.get(key) == name.encode()
    assert await keys(store, f"data/{name}") == await keys(store) == [key]


async def test_a_stream_is_stored_whole_or_not_at_all(store):
    """A wrong digest, too many bytes or a broken source leave nothing, after parts were sent as well."""
    good = hashlib.sha256(b"abcdef").hexdigest()
    assert await store.put_stream("code/x", pieces(b"abc", b"def"), sha256=good, max_bytes=6) == 6
    with pytest.raises(InvalidArgument, match="SHA-256"):
        await store.put_stream("code/y", pieces(b"abc", b"deg"), sha256=good)
    with pytest.raises(InvalidArgument, match="SHA-256"):
        await store.put_stream("code/y", zeros(20), sha256=good)
    with pytest.raises(ResourceExhausted, match="more than the 5 bytes"):
        await store.put_stream("code/y", pieces(b"abc", b"def"), max_bytes=5)

    async def broken() -> AsyncIterator[bytes]:
        async for piece in zeros(20):
            yield piece
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await store.put_stream("code/y", broken())
    assert await keys(store) == ["code/x"]
    if store.directory is not None:
        assert [path.name for path in (store.directory / "code").iterdir()] == ["x"]


async def test_large_objects_pass_with_bounded_memory(store, tmp_path):
    """192 MiB go in and out as streams and files, whole, and memory grows by much less."""
    size, digest = 192, digest_of_zeros(192)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert await store.put_stream("big", zeros(size), sha256=digest) == size * MEGABYTE
    assert await store.get_file("big", tmp_path / "big", sha256=digest) == size * MEGABYTE
    assert await store.put_file("again", tmp_path / "big", sha256=digest) == size * MEGABYTE
    found = hashlib.sha256()
    async for piece in store.get_stream("again"):
        found.update(piece)
    assert found.hexdigest() == digest
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 100 * MEGABYTE


async def test_a_file_is_fetched_whole_or_not_at_all(store, tmp_path):
    """Content with another digest leaves no file, and a file that is there stays as it is."""
    await store.put("a", b"content")
    with pytest.raises(InvalidArgument, match="SHA-256"):
        await store.get_file("a", tmp_path / "file", sha256="0" * 64)
    assert not (tmp_path / "file").exists()
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        await store.get_file("a", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"


async def test_readers_never_see_half_an_object(store):
    """While an object is written again and again, every read is one of the versions."""
    versions = [bytes([value]) * 300_000 for value in range(8)]
    await store.put("k", versions[0])

    async def write() -> None:
        for version in versions:
            await store.put("k", version)

    writing = asyncio.create_task(write())
    while not writing.done():
        assert await store.get("k") in versions
    await writing


# -- signed URLs of the object store itself; those of a directory are tested with the HTTP port that serves them


@pytest.fixture
def bucket(s3, bucket_url, monkeypatch) -> BlobStore:
    """An empty store in a bucket."""
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    return BlobStore(f"{bucket_url}/signed-{next(_prefixes)}/pre")


async def send(method: str, url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Makes a request as any HTTP client does, and returns status and body."""

    def request() -> tuple[int, bytes]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        made = urllib.request.Request(url, data=body, headers=headers, method=method)
        try:
            with opener.open(made, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    return await asyncio.to_thread(request)


@pytest.mark.parametrize("key", ["code/a.tar.gz", "data/sp ace/per%20cent+ünï"])
async def test_signed_urls_work_with_any_client(bucket, key):
    """PUT, GET and ranges need nothing but the URL."""
    status, _ = await send("PUT", await bucket.sign_put(key, timedelta(minutes=5)), b"0123456789")
    assert status == 200
    assert await bucket.get(key) == b"0123456789"
    url = await bucket.sign_get(key, timedelta(minutes=5))
    assert await send("GET", url) == (200, b"0123456789")
    assert await send("GET", url, Range="bytes=2-4") == (206, b"234")


async def test_a_signed_url_allows_one_thing(bucket):
    """Another method, another key or a changed signature is refused, and so is a URL whose time is over."""
    await bucket.put("a", b"mine")
    await bucket.put("b", b"other")
    url = await bucket.sign_get("a", timedelta(minutes=5))
    assert (await send("PUT", url, b"evil"))[0] == 403
    assert (await send("GET", url.replace("/pre/a?", "/pre/b?")))[0] == 403
    assert (await send("GET", url[:-4] + "0000"))[0] == 403
    assert (await send("GET", url.partition("?")[0]))[0] == 403
    short = await bucket.sign_get("a", timedelta(seconds=1))
    deadline = time.monotonic() + 30
    while (await send("GET", short))[0] != 403:
        assert time.monotonic() < deadline
    assert await bucket.get("a") == b"mine"


async def test_urls_are_signed_for_the_address_that_clients_see(s3, bucket_url, monkeypatch):
    """Where clients reach the store by another name, the URL has it and its signature is for it."""
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    public = s3.endpoint.replace("127.0.0.1", "localhost")
    store = BlobStore(bucket_url, public_endpoint=f"{public}/")
    await store.put("a", b"content")
    url = await store.sign_get("a", timedelta(minutes=5))
    assert url.startswith(f"{public}/contract-")
    assert await send("GET", url) == (200, b"content")
    assert (await send("GET", url.replace("localhost", "127.0.0.1")))[0] == 403

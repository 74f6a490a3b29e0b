import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from services.common.blob_urls import PATH, UrlSigner, load_signing_key
from services.common.blobs import BlobStore, check_key, check_sha256, sha256_of_key
from services.common.clock import ManualClock
from services.common.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)


@pytest.fixture
def store(tmp_path):
    """A store in an empty directory whose name has to be quoted in URLs."""
    return BlobStore((tmp_path / "some blobs").as_uri())


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    """Yields the parts."""
    for part in parts:
        yield part


async def test_what_is_put_can_be_got(store):
    """Whole, in ranges, as a stream, by head and by list: an object reads as it was written last."""
    await store.put("runs/p/a.json", b"old")
    await store.put("runs/p/a.json", b"0123456789")
    assert await store.get("runs/p/a.json") == b"0123456789"
    assert await store.get_range("runs/p/a.json", 2, 5) == b"234"
    assert await store.get_range("runs/p/a.json", 8, 50) == b"89"
    assert b"".join([each async for each in store.get_stream("runs/p/a.json", 3)]) == b"3456789"
    assert (await store.head("runs/p/a.json")).size == 10
    assert [each.key async for each in store.list("runs")] == ["runs/p/a.json"]
    assert await store.exists("runs/p/a.json")
    await store.delete("runs/p/a.json")
    await store.delete("runs/p/a.json")
    assert not await store.exists("runs/p/a.json")
    with pytest.raises(NotFound, match=r"runs/p/a\.json does not exist"):
        await store.get("runs/p/a.json")


async def test_a_stream_is_stored_whole_or_not_at_all(store):
    """A wrong digest, too many bytes or a broken source leave nothing, not even a part."""
    good = hashlib.sha256(b"abcdef").hexdigest()
    assert await store.put_stream("code/x.tar.gz", pieces(b"abc", b"def"), sha256=good, max_bytes=6) == 6
    assert await store.get("code/x.tar.gz") == b"abcdef"
    with pytest.raises(InvalidArgument, match="SHA-256"):
        await store.put_stream("code/y", pieces(b"abc", b"deg"), sha256=good)
    with pytest.raises(ResourceExhausted, match="more than the 5 bytes"):
        await store.put_stream("code/y", pieces(b"abc", b"def"), max_bytes=5)

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * (20 * 1024 * 1024)
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await store.put_stream("code/y", broken())
    assert not await store.exists("code/y")
    assert [path.name for path in (store.directory / "code").iterdir()] == ["x.tar.gz"]


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


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a b", "a\x00", "x" * 1025]
)
async def test_keys_cannot_leave_the_store(store, key):
    """A key that is not a plain relative path is refused by every operation."""
    for operation in (
        store.get(key),
        store.put(key, b""),
        store.head(key),
        store.sign_get(key, timedelta(1)),
    ):
        with pytest.raises(InvalidArgument, match="blob key"):
            await operation


def test_content_addresses_are_read_from_keys():
    """Keys of code and inputs tell the digest that their content must have; others tell none."""
    digest = "a" * 64
    assert sha256_of_key(f"code/{digest}.tar.gz") == sha256_of_key(f"inputs/{digest}.json") == digest
    assert sha256_of_key(f"runs/{digest}.json") == sha256_of_key(f"code/{digest}.json") == ""
    check_sha256(b"x", hashlib.sha256(b"x").hexdigest())
    with pytest.raises(InvalidArgument):
        check_sha256(b"y", hashlib.sha256(b"x").hexdigest())
    assert check_key("code/a-b_c.tar.gz")


async def test_signed_urls_allow_one_thing_for_a_time(tmp_path):
    """A URL is good for its method, key and time, and for nothing else."""
    clock = ManualClock()
    signer = UrlSigner("http://127.0.0.1:8080/", b"k" * 32, clock)
    store = BlobStore(tmp_path.as_uri(), signer)
    url = urlsplit(await store.sign_put("code/a.tar.gz", timedelta(hours=1)))
    key = unquote(url.path.removeprefix(PATH))
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert (url.netloc, key, query["method"]) == ("127.0.0.1:8080", "code/a.tar.gz", "PUT")
    signer.check("PUT", key, query["expires"], query["signature"])
    later = str(int(query["expires"]) + 1)
    for method, other, expires, signature in [
        ("GET", key, query["expires"], query["signature"]),
        ("PUT", "code/b.tar.gz", query["expires"], query["signature"]),
        ("PUT", key, later, query["signature"]),
        ("PUT", key, "soon", query["signature"]),
        ("PUT", key, query["expires"], ""),
        ("PUT", key, query["expires"], "ä"),
    ]:
        with pytest.raises(PermissionDenied, match="does not allow"):
            signer.check(method, other, expires, signature)
    clock.advance(3601)
    with pytest.raises(PermissionDenied, match="expired"):
        signer.check("PUT", key, query["expires"], query["signature"])


async def test_a_store_without_signer_says_so(store):
    """A local directory that no port serves makes no URLs."""
    with pytest.raises(FailedPrecondition, match="no HTTP port serves it"):
        await store.sign_get("a", timedelta(1))


def test_wrong_stores_are_refused(tmp_path):
    """Unknown schemes and directories that cannot be made are named."""
    with pytest.raises(InvalidArgument, match="ftp://x"):
        BlobStore("ftp://x")
    (tmp_path / "file").touch()
    with pytest.raises(FailedPrecondition, match="cannot be made"):
        BlobStore((tmp_path / "file" / "below").as_uri())


def test_the_signing_key_is_made_once(tmp_path):
    """The first call makes the file, for its owner only; later ones return the same key."""
    path = tmp_path / "secret.key"
    key = load_signing_key(path)
    assert len(key) == 64
    assert load_signing_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["secret.key"]

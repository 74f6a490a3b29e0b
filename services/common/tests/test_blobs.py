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
    PermissionDenied,
    Unavailable,
)
from services.common.tests.small_disk import small_disk


@pytest.fixture
def store(tmp_path):
    """A store in an empty directory whose name has to be quoted in URLs."""
    return BlobStore((tmp_path / "some blobs").as_uri())


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.", ".hidden", "a\\b", "a#1", "a\x00", "a\nb", "x" * 1025],
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


async def test_a_full_blob_directory_is_named(tmp_path):
    """The message has directory, free and needed bytes; nothing half-written stays, and room lets it go on."""
    with small_disk(tmp_path / "disk") as disk:
        store = BlobStore((disk.path / "blobs").as_uri())
        await store.put("a", b"x")
        disk.fill(leave=100_000)
        with pytest.raises(Unavailable, match=rf"the disk of {disk.path}/blobs is full: .* needs 500000"):
            await store.put("b", b"y" * 500_000)

        async def much() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"z" * 1_000_000

        with pytest.raises(Unavailable, match="is full"):
            await store.put_stream("b", much())
        assert [path.name for path in (disk.path / "blobs").iterdir()] == ["a"]
        disk.make_room()
        await store.put("b", b"y" * 500_000)
        assert await store.get("b") == b"y" * 500_000


async def test_a_directory_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    """At the start of a service, with what to do."""
    store = BlobStore(tmp_path.as_uri())
    await store.check()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    await store.check(writes=False)
    with pytest.raises(FailedPrecondition, match="is not writable for this user: change its owner or mode"):
        await store.check()

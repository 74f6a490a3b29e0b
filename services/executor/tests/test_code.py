"""Code bundles are fetched once, checked, and unpacked inside their own directory only."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import re
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from services.common.archives import extract, unpack
from services.common.blobs import BlobStore, check_sha256
from services.common.errors import InvalidArgument, NotFound, ResourceExhausted
from services.common.tests.small_disk import SmallDisk, small_disk
from services.executor.code import CodeStore
from services.executor.payloads import Payloads, Waiting, unheard


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """A file of an archive; fields of its header may be set."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A gzipped tar archive."""
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as bundle:
        for info, content in members:
            bundle.addfile(info, BytesIO(content))
    return out.getvalue()


class Blobs:
    """A blob store in memory that counts."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.reads = 0

    def add(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.objects[f"code/{digest}.tar.gz"] = content
        return digest

    async def get_file(self, key: str, path: Path, sha256: str, waiting: Waiting = unheard) -> int:
        self.reads += 1
        await asyncio.sleep(0)
        if key not in self.objects:
            raise NotFound(f"no blob {key}")
        check_sha256(self.objects[key], sha256)
        return path.write_bytes(self.objects[key])


@pytest.fixture
def blobs() -> Blobs:
    """An empty blob store."""
    return Blobs()


@pytest.fixture
def store(tmp_path: Path, blobs: Blobs) -> CodeStore:
    """An empty code store."""
    return CodeStore(tmp_path / "code", blobs.get_file)


async def test_a_bundle_is_unpacked_once(tmp_path: Path, blobs: Blobs, store: CodeStore) -> None:
    """Callers at the same time, also of another process, get one directory and fetch once."""
    digest = blobs.add(archive(member("package/module.py", b"x = 1\n"), member("run.sh", b"", mode=0o755)))
    other = CodeStore(tmp_path / "code", blobs.get_file)
    places = await asyncio.gather(*(one.ensure(digest) for one in (store, other, store, other)))
    assert set(places) == {tmp_path / "code" / digest}
    assert (places[0] / "package" / "module.py").read_text() == "x = 1\n"
    assert (places[0] / "run.sh").stat().st_mode & 0o100
    assert blobs.reads == 1


async def test_a_bundle_with_another_content_is_refused(
    tmp_path: Path, blobs: Blobs, store: CodeStore
) -> None:
    """What does not have the digest that it is named by is not unpacked."""
    digest = blobs.add(archive(member("a.py", b"x")))
    blobs.objects[f"code/{digest}.tar.gz"] = archive(member("a.py", b"y"))
    with pytest.raises(InvalidArgument):
        await store.ensure(digest)
    assert [path.name for path in (tmp_path / "code").iterdir()] == ["locks"]


async def test_a_missing_bundle_leaves_nothing_and_is_tried_again(blobs: Blobs, store: CodeStore) -> None:
    """A bundle that arrives later is found later."""
    content = archive(member("a.py", b"x"))
    digest = hashlib.sha256(content).hexdigest()
    with pytest.raises(NotFound):
        await store.ensure(digest)
    blobs.add(content)
    assert (await store.ensure(digest) / "a.py").read_bytes() == b"x"


@pytest.mark.parametrize("digest", ["", "../../etc", "A" * 64, "0" * 63])
async def test_names_that_are_no_digest_are_refused(store: CodeStore, digest: str) -> None:
    """Only a hex SHA-256 names a bundle."""
    with pytest.raises(InvalidArgument, match="SHA-256"):
        await store.ensure(digest)


@pytest.mark.parametrize(
    "evil",
    [
        member("../outside.py", b"x"),
        member("/tmp/outside.py", b"x"),
        member("inside/../../outside.py", b"x"),
        member("link", type=tarfile.SYMTYPE, linkname="../../outside"),
        member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("link", type=tarfile.LNKTYPE, linkname="../outside"),
        member("device", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("pipe", type=tarfile.FIFOTYPE),
    ],
    ids=lambda evil: f"{evil[0].name}-{evil[0].type.decode()}",
)
def test_members_that_reach_outside_are_refused(tmp_path: Path, evil: tuple[tarfile.TarInfo, bytes]) -> None:
    """Nothing is written outside of the bundle's directory, and no device is made."""
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(InvalidArgument, match="refused"):
        extract(BytesIO(archive(member("good.py", b"x"), evil)), inside)
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


@pytest.mark.parametrize(
    "content",
    [b"", b"not an archive", gzip.compress(b"not a tar"), archive(member("a", b"x"))[:-20]],
    ids=["empty", "no archive", "no tar", "cut off"],  # archives hold the time
)
def test_damaged_archives_are_refused(tmp_path: Path, content: bytes) -> None:
    """What is no archive, or half of one, gives one clear error."""
    with pytest.raises(InvalidArgument, match="damaged"):
        extract(BytesIO(content), tmp_path)


def test_links_inside_are_kept(tmp_path: Path) -> None:
    """A link that stays inside the bundle is unpacked as a link."""
    extract(
        BytesIO(archive(member("a.py", b"x"), member("b.py", type=tarfile.SYMTYPE, linkname="a.py"))),
        tmp_path,
    )
    assert (tmp_path / "b.py").read_bytes() == b"x"


def test_nothing_is_written_through_links_that_are_kept(tmp_path: Path) -> None:
    """Files of images keep links as they are, also those that lead outside; what would go through one is refused."""
    outside = tmp_path / "outside"
    outside.mkdir()
    link = member("out", type=tarfile.SYMTYPE, linkname="../outside")
    (tmp_path / "files.tar").write_bytes(
        archive(link, member("gone", type=tarfile.SYMTYPE, linkname="/none"))
    )
    unpack(tmp_path / "files.tar", tmp_path / "files")
    assert (tmp_path / "files" / "out").readlink() == Path("../outside")
    assert (tmp_path / "files" / "gone").readlink() == Path("/none")
    for evil in (
        member("out/x", b"x"),
        member("out", b"x"),
        member("x", type=tarfile.LNKTYPE, linkname="out"),
    ):
        (tmp_path / "evil.tar").write_bytes(archive(link, evil))
        with pytest.raises(InvalidArgument, match="outside of the root"):
            unpack(tmp_path / "evil.tar", tmp_path / "evil")
    (tmp_path / "more.tar").write_bytes(archive(member("x", b"x")))
    for place in ("out", "out/deep", "../outside"):
        with pytest.raises(InvalidArgument, match="leads outside"):
            unpack(tmp_path / "more.tar", tmp_path / "files" / place, tmp_path / "files")
    assert list(outside.iterdir()) == []


def test_permissions_of_others_are_not_taken_over(tmp_path: Path) -> None:
    """Set-user-id bits and writable-for-all do not survive."""
    extract(BytesIO(archive(member("a.py", b"x", mode=0o6777))), tmp_path)
    assert (tmp_path / "a.py").stat().st_mode & 0o6022 == 0


async def test_leftovers_of_a_crash_are_removed(tmp_path: Path, store: CodeStore) -> None:
    """What a process that died while it unpacked has left behind is removed."""
    draft = tmp_path / "code" / f".unpacking-{'0' * 64}-abc"
    draft.mkdir(parents=True)
    await store.clear_leftovers()
    assert not draft.exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A small disk for code."""
    with small_disk(tmp_path / "disk") as made:
        yield made


@pytest.mark.parametrize("leave", [0, 1024 * 1024], ids=["for the archive", "for its content"])
async def test_a_full_disk_leaves_nothing_half_made(disk: SmallDisk, tmp_path: Path, leave: int) -> None:
    """The message has directory, free and needed bytes; when there is room the bundle is made."""
    content = archive(member("zeros", b"\0" * 2_000_000), member("random", os.urandom(200_000)))
    digest = hashlib.sha256(content).hexdigest()
    stored = BlobStore((tmp_path / "blobs").as_uri())
    await stored.put(f"code/{digest}.tar.gz", content)
    store = CodeStore(disk.path / "code", Payloads(stored, 0).get_file)
    (disk.path / "code" / "locks").mkdir(parents=True)
    disk.fill(leave=leave)
    with pytest.raises(ResourceExhausted) as caught:
        await store.ensure(digest)
    needed = 2_200_000 if leave else len(content)
    found = re.search(
        rf"the disk of {disk.path}\S* is full: (\d+) bytes are free, .* needs {needed}", str(caught.value)
    )
    assert found is not None, str(caught.value)
    assert int(found[1]) <= leave
    assert [path.name for path in (disk.path / "code").iterdir()] == ["locks"]
    disk.make_room()
    assert (await store.ensure(digest) / "zeros").stat().st_size == 2_000_000

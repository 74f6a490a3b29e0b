"""`flyte.io.File` on this machine: what is written is read, and what cannot be is refused by name."""

from __future__ import annotations

import bz2
import gc
import gzip
import hashlib
import lzma
import sys
from pathlib import Path

import pytest

import flyte
from flyte import errors
from flyte._context import ActionID, TaskContext, running
from flyte.io import File, HashFunction


def test_a_stored_file_is_apart_from_the_local_one(tmp_path):
    """What happens to the local file afterwards does not change the stored one."""
    (tmp_path / "a.txt").write_text("first")
    file = File.from_local_sync(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("second")
    with file.open_sync("r") as opened:
        assert opened.read() == "first"
    assert file.name == "a.txt"
    assert file.exists_sync()


async def test_written_and_read_without_blocking():
    """Bytes, lines, positions and text come back through the awaited methods."""
    file = File.new_remote("lines.txt")
    async with file.open("wb") as opened:
        assert await opened.write(b"one\ntwo\n") == 8
        await opened.flush()
    async with file.open() as opened:
        assert await opened.readline() == b"one\n"
        assert opened.tell() == 4
        await opened.seek(0)
        assert [line async for line in opened] == [b"one\n", b"two\n"]
    async with file.open("r", block_size=3) as opened:
        assert await opened.readlines() == ["one\n", "two\n"]
    assert Path(await file.download()).read_bytes() == b"one\ntwo\n"
    assert await file.exists()


@pytest.mark.parametrize("mode", ["w", "wb"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_block_that_fails_stores_nothing(mode, compression):
    """Half a file is never seen, in whatever way it is written."""
    file = File.new_remote()

    def half() -> None:
        with file.open_sync(mode, compression=compression) as opened:
            opened.write("half" if mode == "w" else b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert not file.exists_sync()
    with pytest.raises(errors.RuntimeUserError, match="there is no file") as caught:
        file.open_sync()
    assert caught.value.code == "FileNotFound"


@pytest.mark.parametrize(
    ("compression", "unpack"),
    [("gzip", gzip.decompress), ("bz2", bz2.decompress), ("xz", lzma.decompress), ("lzma", lzma.decompress)],
)
def test_compression(compression, unpack):
    """A compressed file is one for other programs as well, and is read back by name or by its suffix."""
    suffix = {"gzip": "gz"}.get(compression, compression)
    file = File.new_remote(f"a.{suffix}")
    with file.open_sync("wb", compression=compression) as opened:
        opened.write(b"x" * 10_000)
    with file.open_sync() as opened:
        stored = opened.read()
    assert len(stored) < 1000
    assert unpack(stored) == b"x" * 10_000
    with file.open_sync(compression="infer") as opened:
        assert opened.read(5) == b"xxxxx"
        assert len(opened.read()) == 9_995


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "a"}, "mode='a'"),
        ({"mode": "r+b"}, "mode='r\\+b'"),
        ({"block_size": 0}, "block_size=0"),
        ({"cache_type": "mmap"}, "cache_type='mmap'"),
        ({"cache_options": {"trim": True}}, "cache_options="),
        ({"compression": "zip"}, "compression='zip'"),
    ],
)
def test_open_refuses_by_name(arguments, message):
    """What cannot be given is refused when it is asked for, with its name."""
    file = File("nowhere")
    for open_ in (file.open, file.open_sync):
        with pytest.raises((ValueError, errors.FeatureNotAvailableError), match=message):
            open_(**arguments)


def test_download_places(tmp_path):
    """A directory, or a path with a slash at the end, keeps the name; anything else is the file."""
    file = File.new_remote("a.bin")
    with file.open_sync("wb") as opened:
        opened.write(b"x")
    existing = tmp_path / "here"
    existing.mkdir()
    assert file.download_sync(existing) == str(existing / "a.bin")
    assert file.download_sync(f"{tmp_path}/new/") == str(tmp_path / "new" / "a.bin")
    assert file.download_sync(tmp_path / "deep" / "b.bin") == str(tmp_path / "deep" / "b.bin")
    assert Path(file.download_sync()).name == "a.bin"
    assert (tmp_path / "deep" / "b.bin").read_bytes() == b"x"


def test_what_is_not_there(tmp_path):
    """A missing local file and a directory are refused before anything is stored."""
    with pytest.raises(ValueError, match="does not exist"):
        File.from_local_sync(tmp_path / "nope")
    with pytest.raises(ValueError, match=r"use flyte\.io\.Dir"):
        File.from_local_sync(tmp_path)
    with pytest.raises(errors.RuntimeUserError, match="there is no file"):
        File.from_existing_remote(f"file://{tmp_path}/nope").download_sync()
    with pytest.raises(errors.RuntimeUserError, match=r"ftp://h/x cannot be opened") as caught:
        File.from_existing_remote("ftp://h/x").exists_sync()
    assert caught.value.code == "StorageUnknown"
    with pytest.raises(errors.RuntimeUserError, match=r"flyte\.init") as caught:
        File.from_existing_remote("hangar://data/x/y").exists_sync()
    assert caught.value.code == "NoBackend"
    with pytest.raises(TypeError, match="File\\(path=''\\)"):
        File("")


def test_stores_elsewhere_need_a_package(monkeypatch):
    """Without obstore a URL of another store fails with the package to add to the image."""
    for name in ("obstore", "obstore.store", "obstore.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(errors.RuntimeUserError, match=r'with_pip_packages\("obstore"\)') as caught:
        File.from_existing_remote("s3://never-opened/key").exists_sync()
    assert caught.value.code == "MissingPackage"


def test_remote_destination(tmp_path):
    """A destination is used as it is, or as a directory when it ends with a slash."""
    (tmp_path / "a.txt").write_text("x")
    exact = File.from_local_sync(tmp_path / "a.txt", f"file://{tmp_path}/out/b.txt")
    inside = File.from_local_sync(tmp_path / "a.txt", f"file://{tmp_path}/out/")
    assert exact.path == f"file://{tmp_path}/out/b.txt"
    assert (tmp_path / "out" / "b.txt").exists()
    assert inside.path == f"file://{tmp_path}/out/a.txt"
    assert (tmp_path / "out" / "a.txt").exists()


def test_content_hashes(tmp_path):
    """A hash is taken as given, from hashlib, or from a method of the user's; also while a file is written."""
    (tmp_path / "a.txt").write_bytes(b"abc")
    expected = hashlib.sha256(b"abc").hexdigest()
    assert File.from_local_sync(tmp_path / "a.txt").hash is None
    assert File.from_local_sync(tmp_path / "a.txt", hash_method="v1").hash == "v1"
    assert File.from_local_sync(tmp_path / "a.txt", hash_method=hashlib.sha256()).hash == expected
    assert File.from_existing_remote("s3://b/k", file_cache_key="v2").hash == "v2"
    new = File.new_remote(hash_method=hashlib.sha256())
    with new.open_sync("wb") as opened:
        opened.write(b"abc")
    assert new.hash == expected
    with pytest.raises(TypeError, match="HashFunction is for data frames"):
        File.new_remote(hash_method=HashFunction.from_fn(str))
    with pytest.raises(TypeError, match="hash_method=3"):
        File.from_local_sync(tmp_path / "a.txt", hash_method=3)


def test_places_that_cannot_be_written(tmp_path):
    """A file in the place of a directory fails at once, and nothing is complained about afterwards."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        File(f"file://{tmp_path}/file/below.txt").open_sync("wb")
    gc.collect()


def test_named_files_are_for_tasks(tmp_path):
    """Within an attempt one name is one file; outside of a task there is none."""
    with pytest.raises(errors.NotInTaskContextError, match="new_remote"):
        File.named_remote("a")
    with running(TaskContext(ActionID("a1", "r1"), mode="local", raw_data_path=str(tmp_path)), None):
        with File.named_remote("a.txt").open_sync("w") as opened:
            opened.write("x")
        with File.named_remote("a.txt").open_sync("r") as opened:
            assert opened.read() == "x"
        with pytest.raises(ValueError, match="no name of a file"):
            File.named_remote("../b")


def test_aliases():
    """`flyte.File` and `flyte.Directory` are the same classes."""
    assert flyte.File is flyte.io.File
    assert flyte.Directory is flyte.io.Dir

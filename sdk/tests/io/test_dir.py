"""`flyte.io.Dir` on this machine, and names of files as parts of keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyte.io import Dir, File
from flyte.io._names import from_key, to_key
from services.common.blobs import check_key

FILES = {"a.txt": "1", "b.csv": "2", ".hidden": "3", "sub/c.csv": "4", "sub/deep/d #1%.txt": "5"}


@pytest.fixture
def source(tmp_path) -> Path:
    """A directory of some files, with an empty directory among them."""
    root = tmp_path / "source"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "empty").mkdir()
    return root


@pytest.mark.parametrize("batch_size", [None, 1, 2])
async def test_everything_comes_back(source, tmp_path, batch_size):
    """All files are stored and downloaded under their paths, whatever their names and the size of a batch."""
    directory = await Dir.from_local(source, batch_size=batch_size)
    copy = Path(await directory.download(tmp_path / "copy"))
    found = {
        path.relative_to(copy).as_posix(): path.read_text() for path in copy.rglob("*") if path.is_file()
    }
    assert found == FILES
    assert directory.name == "source"
    assert await directory.exists()
    assert not directory.is_empty


async def test_walks(source):
    """Depth, recursion and pattern choose among the files, in the order of their paths."""
    directory = Dir.from_local_sync(source)
    assert [file.name async for file in directory.walk()] == [
        ".hidden",
        "a.txt",
        "b.csv",
        "c.csv",
        "d #1%.txt",
    ]
    assert [file.name async for file in directory.walk(recursive=False)] == [".hidden", "a.txt", "b.csv"]
    assert [file.name async for file in directory.walk(max_depth=2)] == [".hidden", "a.txt", "b.csv", "c.csv"]
    assert [file.name for file in directory.walk_sync(file_pattern="*.csv")] == ["b.csv", "c.csv"]
    assert [file.name for file in await directory.list_files()] == [".hidden", "a.txt", "b.csv"]
    with pytest.raises(ValueError, match="max_depth=0"):
        list(directory.walk_sync(max_depth=0))


async def test_single_files(source):
    """A file is found by its path; one that does not exist is None, and no path leads outside."""
    directory = Dir.from_local_sync(source)
    found = await directory.get_file("sub/deep/d #1%.txt")
    assert found is not None
    assert Path(found.download_sync()).read_text() == "5"
    assert directory.get_file_sync("sub") is None
    assert directory.get_file_sync("nope") is None
    with pytest.raises(ValueError, match="no path of a file"):
        directory.get_file_sync("../a.txt")


async def test_new_and_empty_directories(tmp_path):
    """A new directory has the files that are written below it; an empty one has none anywhere."""
    new = Dir.new_remote("out")
    assert new.is_empty
    assert not new.exists_sync()
    assert list(new.walk_sync()) == []
    async with new.new_file("x/1.txt").open("w") as opened:
        await opened.write("one")
    assert [file.name for file in new.walk_sync()] == ["1.txt"]
    (tmp_path / "nothing").mkdir()
    for empty in (Dir.empty(), Dir.from_local_sync(tmp_path / "nothing")):
        assert empty.is_empty
        assert not await empty.exists()
        assert empty.get_file_sync("a") is None
        assert list(Path(empty.download_sync()).iterdir()) == []
        assert Dir._from_form(empty._form()).is_empty


@pytest.mark.parametrize("name", ["..", "a/b", "a\0b", "x" * 201, "\u65e5" * 70])
def test_names_that_no_store_takes(name):
    """They are refused before anything is written."""
    with pytest.raises(ValueError, match="is no name of a file"):
        Dir.new_remote(name)
    with pytest.raises(ValueError, match="is no name of a file"):
        File.new_remote(name)


def test_what_is_not_there(source, tmp_path):
    """A missing directory, a file in its place and a link in a circle are refused with the path."""
    with pytest.raises(ValueError, match="does not exist"):
        Dir.from_local_sync(tmp_path / "nope")
    with pytest.raises(ValueError, match=r"use flyte\.io\.File"):
        Dir.from_local_sync(source / "a.txt")
    with pytest.raises(ValueError, match="batch_size=0"):
        Dir.from_local_sync(source, batch_size=0)
    (source / "sub" / "up").symlink_to(source)
    with pytest.raises(ValueError, match="is a link to"):
        Dir.from_local_sync(source)


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=30)


@given(st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=4))
def test_every_name_is_a_key_and_back(parts):
    """Any path of a file system is a valid key of the store, and the key gives the path back."""
    path = "/".join(parts)
    key = to_key(path)
    assert from_key(key) == path
    assert check_key(f"data/x/{key}")

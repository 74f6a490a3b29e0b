"""Objects on the host: fetched once, kept within a limit, opened without a way around."""

import asyncio
import gc
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from services.common.errors import NotFound
from services.executor.descriptors import is_open_elsewhere, open_below, opened
from services.executor.object_cache import ObjectCache
from services.executor.tests.scheduler_fake import until


class Store:
    """An object store: every object is its key, a hundred times."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self, key: str, path: Path, waiting: Callable[[str], None]) -> None:
        """Writes an object to a file."""
        self.fetched.append(key)
        waiting("slow")
        await self.gate.wait()
        if key == "none":
            raise NotFound("object none does not exist")
        path.write_bytes(key.encode() * 100)


def open_files() -> set[tuple[str, str]]:
    """Descriptors of this process and what they are of, without those that only garbage holds."""
    gc.collect()
    found = set()
    for descriptor in list(Path("/proc/self/fd").iterdir()):
        with suppress(FileNotFoundError):  # that of the listing, or one that another thread has closed
            found.add((descriptor.name, str(descriptor.readlink())))
    return found


def unheard(reason: str) -> None:
    """Nobody listens."""


async def read(cache: ObjectCache, key: str) -> bytes:
    """The content of an object."""
    with os.fdopen(await cache.open(key, unheard), "rb") as file:
        return file.read()


async def test_one_fetch_for_many_readers(tmp_path: Path) -> None:
    """Readers of one object share one fetch and its news; later readers, and later processes, need none."""
    store = Store()
    news: list[list[str]] = [[], []]
    cache = ObjectCache(tmp_path / "c", 10_000, store.fetch)
    cache.start()
    store.gate.clear()
    readers = [asyncio.create_task(cache.open("a", told.append)) for told in news]
    await until(lambda: store.fetched == ["a"], "the fetch")
    store.gate.set()
    for reader in readers:
        with os.fdopen(await reader, "rb") as file:
            assert file.read() == b"a" * 100
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.write(file.fileno(), b"x")
    again = ObjectCache(tmp_path / "c", 10_000, store.fetch)
    again.start()
    assert await read(again, "a") == b"a" * 100
    assert store.fetched == ["a"]
    assert news[0] == ["slow"]


async def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    """Above the limit the object goes that was not read for longest, but never one that is open."""
    store = Store()
    cache = ObjectCache(tmp_path / "c", 300, store.fetch)
    cache.start()
    for key in ("a", "b", "c", "a"):
        await read(cache, key)
    await read(cache, "d")
    assert sorted(store.fetched) == ["a", "b", "c", "d"]
    await read(cache, "a")
    assert len(store.fetched) == 4, "a was used after b, so b went"
    held = await cache.open("c", unheard)
    for key in ("e", "f", "g"):
        await read(cache, key)
    await read(cache, "c")
    assert store.fetched.count("c") == 1, "it was open"
    os.close(held)
    await read(cache, "h")
    await read(cache, "i")
    assert sum(path.stat().st_size for path in (tmp_path / "c").iterdir()) <= 300


async def test_objects_larger_than_the_limit_can_be_read(tmp_path: Path) -> None:
    """A limit of nothing keeps one object at a time."""
    store = Store()
    cache = ObjectCache(tmp_path / "c", 0, store.fetch)
    cache.start()
    assert await read(cache, "a") == b"a" * 100
    assert await read(cache, "b") == b"b" * 100
    assert len(list((tmp_path / "c").iterdir())) == 1


async def test_failures_leave_nothing(tmp_path: Path) -> None:
    """An object that does not exist is an error for all who wait, and asked for again the next time."""
    store = Store()
    cache = ObjectCache(tmp_path / "c", 1000, store.fetch)
    cache.start()
    for _ in range(2):
        with pytest.raises(NotFound):
            await cache.open("none", unheard)
    assert store.fetched == ["none", "none"]
    assert list((tmp_path / "c").iterdir()) == []


async def test_cancelled_readers_leave_nothing_open(tmp_path: Path) -> None:
    """A reader that gives up does not stop the fetch for the others, and no descriptor stays open."""
    store = Store()
    cache = ObjectCache(tmp_path / "c", 1000, store.fetch)
    cache.start()
    before = open_files()
    store.gate.clear()
    impatient, patient = (asyncio.create_task(cache.open("a", unheard)) for _ in range(2))
    await until(lambda: bool(store.fetched), "the fetch")
    impatient.cancel()
    store.gate.set()
    os.close(await patient)
    slow = asyncio.create_task(opened(_open_slowly))
    await asyncio.sleep(0)
    slow.cancel()
    await asyncio.gather(slow, impatient, return_exceptions=True)
    await until(lambda: open_files() <= before, "everything to be closed")
    (tmp_path / "c" / "x.part").write_bytes(b"half")
    cache.start()
    assert not (tmp_path / "c" / "x.part").exists()


def _open_slowly() -> int:
    os.sched_yield()
    return os.open("/dev/null", os.O_RDONLY)


async def test_written_again(tmp_path: Path) -> None:
    """An object that was written again is fetched again."""
    store = Store()
    cache = ObjectCache(tmp_path / "c", 1000, store.fetch)
    cache.start()
    await read(cache, "a")
    cache.drop("a")
    cache.drop("never")
    await read(cache, "a")
    assert store.fetched == ["a", "a"]


@pytest.mark.parametrize("key", ["../secret", "a/../../secret", "link", "dir/../link", "linked/file", "dir", "pipe",
                                 "/etc/passwd", "", "dir//file", "./dir/file"])  # fmt: skip
def test_no_way_around(tmp_path: Path, key: str) -> None:
    """Neither "..", nor links on the way or at its end, nor what is no plain file can be opened."""
    root = tmp_path / "root"
    (root / "dir").mkdir(parents=True)
    (root / "dir" / "file").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "linked").symlink_to(root / "dir")
    os.mkfifo(root / "pipe")
    with pytest.raises(OSError):
        open_below(root, key)
    ours = (str(tmp_path), "/etc/passwd")  # threads of other tests open files, too
    assert [path for _, path in open_files() if path.startswith(ours)] == []
    descriptor = open_below(root, "dir/file")
    assert os.read(descriptor, 100) == b"inside"
    os.close(descriptor)


def test_whether_a_file_is_open(tmp_path: Path) -> None:
    """A file that somebody else has open is told from one that nobody has, also by a copy of a descriptor."""
    path = tmp_path / "f"
    writer = os.open(path, os.O_RDWR | os.O_CREAT)
    copy = os.dup(writer)
    mine = os.open(path, os.O_RDONLY)
    assert is_open_elsewhere(mine, writing=True)
    os.close(writer)
    assert is_open_elsewhere(mine, writing=True)
    os.close(copy)
    assert not is_open_elsewhere(mine, writing=True)
    reader = os.open(path, os.O_RDONLY)
    assert not is_open_elsewhere(mine, writing=True)
    assert is_open_elsewhere(mine, writing=False)
    os.close(reader)
    assert not is_open_elsewhere(mine, writing=False)
    os.close(mine)

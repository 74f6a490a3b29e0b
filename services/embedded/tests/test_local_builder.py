"""The image builder of an author's machine ends by itself: when nobody uses it, and with what nobody waits for."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from services.embedded.local_builder import Users, _forget_archives, until_unused

POLL = 0.005


class Builder:
    """What builds as it is told."""

    is_building = False
    abandoned = False

    async def abandon(self) -> None:
        self.is_building, self.abandoned = False, True


@contextmanager
def using(directory: Path) -> Iterator[None]:
    """Somebody uses the builder."""
    descriptor = os.open(directory / "users", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)  # as the kernel does it, however a program ends


class World:
    """A builder whose time is told."""

    def __init__(self, directory: Path, linger: float) -> None:
        self.directory, self.linger, self.now, self.looks = directory, linger, 0.0, 0
        self.builder = Builder()
        self.users = Users(directory)

    def clock(self) -> float:
        self.looks += 1
        return self.now

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[asyncio.Task[None]]:
        """Looks at its users until the block ends."""
        task = asyncio.create_task(
            until_unused(self.users, self.builder, self.linger, first=10, clock=self.clock, poll=POLL)  # type: ignore[arg-type]
        )
        try:
            yield task
        finally:
            task.cancel()
            self.users.close()

    async def look(self) -> None:
        """Waits until it has looked twice more: the first look may have begun before."""
        wanted = self.looks + 2
        async with asyncio.timeout(30):
            while self.looks < wanted:  # noqa: ASYNC110 - a clock has no event
                await asyncio.sleep(POLL)


async def test_it_waits_for_others(tmp_path: Path) -> None:
    """It ends when nobody has used it for a while, and counts from the last who did; then nobody gets in."""
    world = World(tmp_path, linger=100)
    async with world.watched() as watching:
        with using(tmp_path):
            world.now = 1000
            await world.look()
        await world.look()
        world.now = 1099
        await world.look()
        assert not watching.done()
        world.now = 1100
        async with asyncio.timeout(30):
            await watching
        with pytest.raises(BlockingIOError), using(tmp_path):
            pass
        assert not world.builder.abandoned


async def test_what_nobody_waits_for_is_ended(tmp_path: Path) -> None:
    """As long as somebody uses it, it builds; when the last is gone it ends builds and itself at once."""
    world = World(tmp_path, linger=100)
    async with world.watched() as watching:
        with using(tmp_path):
            with using(tmp_path):
                world.builder.is_building = True
            await world.look()
            assert not watching.done()
        async with asyncio.timeout(30):
            await watching
        assert world.builder.abandoned


async def test_whoever_started_it_may_be_gone(tmp_path: Path) -> None:
    """One that nobody ever used ends sooner, and builds that an earlier one left neither keep nor end it."""
    world = World(tmp_path, linger=100)
    world.builder.is_building = True
    async with world.watched() as watching:
        await world.look()
        assert not watching.done()
        world.now = 10
        async with asyncio.timeout(30):
            await watching


def test_old_files_are_removed(tmp_path: Path) -> None:
    """Archives that no build has needed for a week go; others stay."""
    old, fresh = tmp_path / "old.tar", tmp_path / "fresh.tar"
    for path in (old, fresh):
        path.touch()
    os.utime(old, (0, 0))
    _forget_archives(tmp_path)
    assert list(tmp_path.iterdir()) == [fresh]

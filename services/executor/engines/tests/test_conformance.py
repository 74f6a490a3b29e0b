"""What every engine must do. Each test runs against all engines of this package."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.executor.engines.base import Engine, ImageDefinition, UnknownWorkerError, WorkerExit, WorkerSpec
from services.executor.engines.docker.engine import DockerEngine
from services.executor.engines.fake import FakeEngine, FakeHost
from services.executor.engines.process import ProcessEngine, ProcessEngineOptions
from services.executor.engines.tests.docker_host import left_of, make_engine
from services.executor.engines.tests.process_host import PATIENCE, WorkerPeer, spec_of, write_code

MEBIBYTE = 2**20


class FakeBench:
    """Drives the fake engine: a worker does what its test says."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.host = FakeHost()
        self.peers: list[WorkerPeer] = []
        self.engine: Engine = FakeEngine(self.host)

    async def worker(self, worker_id: int, **options: Any) -> WorkerSpec:
        spec, _ = await spec_of(self.state, worker_id, self.peers, **options)
        return spec

    def _end(self, worker_id: int, **how: Any) -> None:
        assert isinstance(self.engine, FakeEngine)
        self.engine.end(worker_id, **how)

    async def leave(self, worker_id: int, code: int) -> None:
        self._end(worker_id, code=code)

    async def shoot(self, worker_id: int, number: int) -> None:
        self._end(worker_id, signal=number)

    async def eat(self, worker_id: int) -> None:
        self._end(worker_id, signal=9, oom=True)

    async def is_connected(self, worker_id: int) -> None:
        assert worker_id in self.host.running

    async def replace_engine(self) -> None:
        await self.engine.close()
        self.engine = FakeEngine(self.host)
        await self.engine.start()

    async def close(self) -> None:
        for peer in self.peers:
            await peer.close()


class ProcessBench(FakeBench):
    """Drives the process engine: a worker is told to run code that does it."""

    def __init__(self, state: Path, *, use_cgroups: bool) -> None:
        super().__init__(state)
        write_code(state)
        self._options = ProcessEngineOptions(state, use_cgroups=use_cgroups)
        self.engine = ProcessEngine(self._options)

    def _peer(self, worker_id: int) -> WorkerPeer:
        return next(peer for peer in self.peers if peer.directory.name == str(worker_id))

    async def leave(self, worker_id: int, code: int) -> None:
        await self._peer(worker_id).start("leave", code=code)

    async def shoot(self, worker_id: int, number: int) -> None:
        await self._peer(worker_id).start("shoot", number=number)

    async def eat(self, worker_id: int) -> None:
        await self._peer(worker_id).start("eat", megabytes=2000)

    async def is_connected(self, worker_id: int) -> None:
        await self._peer(worker_id).connected()

    async def replace_engine(self) -> None:
        await self.engine.close()
        self.engine = ProcessEngine(self._options)
        await self.engine.start()

    async def close(self) -> None:
        for adopted in await self.engine.adopt():
            del adopted
        assert isinstance(self.engine, ProcessEngine)
        for worker_id in list(self.engine.worker_ids):
            await self.engine.kill(worker_id, "the test is over")
        await super().close()


class DockerBench(ProcessBench):
    """Drives the Docker engine: the same code in containers."""

    def __init__(self, state: Path, url: str, image: str) -> None:
        super().__init__(state, use_cgroups=False)
        self._url, self._image = url, image
        self.engine = make_engine(state, url, image)

    async def worker(self, worker_id: int, **options: Any) -> WorkerSpec:
        assert isinstance(self.engine, DockerEngine)
        image = await self.engine.ensure_image(ImageDefinition("", ""), lambda _: None)
        return await super().worker(worker_id, image=image, code_dir=str(self.state / "code"), **options)

    async def replace_engine(self) -> None:
        await self.engine.close()
        self.engine = make_engine(self.state, self._url, self._image)
        await self.engine.start()

    async def close(self) -> None:
        assert isinstance(self.engine, DockerEngine)
        await self.engine.adopt()
        for worker_id in self.engine.worker_ids:
            await self.engine.kill(worker_id, "the test is over")
        for peer in self.peers:
            await self.engine.forget(int(peer.directory.name))
            await peer.close()
        assert left_of(self._url, self.engine.identity) == []


@pytest.fixture(params=["fake", "process", "process-without-cgroups", "docker"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FakeBench]:
    """An engine of each kind."""
    made = FakeBench(tmp_path)
    if request.param == "docker":
        url, image = request.getfixturevalue("docker_url"), request.getfixturevalue("worker_image")
        made = DockerBench(tmp_path, url, image)
    elif request.param != "fake":
        made = ProcessBench(tmp_path, use_cgroups=request.param == "process")
    await made.engine.start()
    yield made
    await made.close()
    await made.engine.close()


async def next_exit(engine: Engine) -> WorkerExit:
    """The next exit that an engine reports."""

    async def first() -> WorkerExit:
        async for ended in engine.events():
            return ended
        raise AssertionError("the engine reports no more exits")

    return await asyncio.wait_for(first(), PATIENCE)


async def test_a_launched_worker_lives_until_it_ends(bench: FakeBench) -> None:
    """A worker that ends by itself is reported with its exit code, as not killed."""
    await bench.engine.launch(await bench.worker(1))
    await bench.leave(1, 3)
    ended = await next_exit(bench.engine)
    assert (ended.worker_id, ended.code, ended.signal, ended.oom, ended.killed) == (1, 3, None, False, False)


async def test_launching_twice_is_harmless(bench: FakeBench) -> None:
    """A second launch of a living or an ended worker does nothing, so each has one exit."""
    spec = await bench.worker(1)
    await asyncio.gather(bench.engine.launch(spec), bench.engine.launch(spec))
    await bench.is_connected(1)
    await bench.engine.launch(spec)
    await bench.leave(1, 0)
    assert (await next_exit(bench.engine)).worker_id == 1
    await bench.engine.launch(spec)
    with pytest.raises(UnknownWorkerError):
        await bench.engine.kill(1, "to see whether it lives")


async def test_a_signal_that_ends_a_worker_is_reported(bench: FakeBench) -> None:
    """A worker that `kill -9` ends is told apart from one that the memory limit ends."""
    await bench.engine.launch(await bench.worker(1, memory_bytes=256 * MEBIBYTE))
    await bench.shoot(1, signal.SIGKILL)
    ended = await next_exit(bench.engine)
    assert (ended.code, ended.signal, ended.oom, ended.killed) == (None, signal.SIGKILL, False, False)


async def test_a_worker_over_its_memory_limit_is_reported_as_out_of_memory(bench: FakeBench) -> None:
    """A worker that exceeds its memory limit is ended, and its exit says so."""
    await bench.engine.launch(await bench.worker(1, memory_bytes=128 * MEBIBYTE))
    await bench.eat(1)
    ended = await next_exit(bench.engine)
    assert (ended.oom, ended.killed) == (True, False)


async def test_a_kill_is_confirmed(bench: FakeBench) -> None:
    """`kill` gives the exit, which `events` reports as well, and after it there is no such worker."""
    await bench.engine.launch(await bench.worker(1))
    await bench.is_connected(1)
    ended = await bench.engine.kill(1, "not needed any more")
    assert (ended.worker_id, ended.killed, ended.reason) == (1, True, "not needed any more")
    assert await next_exit(bench.engine) == ended
    with pytest.raises(UnknownWorkerError):
        await bench.engine.kill(1, "again")


async def test_unknown_workers_are_refused(bench: FakeBench) -> None:
    """What names a worker that does not live here raises an error that names it."""
    for call in (
        bench.engine.thaw(7),
        bench.engine.freeze(7),
        bench.engine.stats(7),
        bench.engine.signal(7, 15),
    ):
        with pytest.raises(UnknownWorkerError, match="7"):
            await call


async def test_workers_outlive_the_engine_and_are_adopted(bench: FakeBench) -> None:
    """A new engine of the same state takes over what lives and reports what ended in between."""
    for number in (1, 2):
        await bench.engine.launch(await bench.worker(number))
        await bench.is_connected(number)
    await bench.replace_engine()
    adopted = await bench.engine.adopt()
    assert [(one.worker_id, one.token) for one in adopted] == [(1, "secret"), (2, "secret")]
    await bench.leave(2, 4)
    ended = await next_exit(bench.engine)
    assert (ended.worker_id, ended.code) == (2, 4)
    assert (await bench.engine.kill(1, "end")).killed


@pytest.mark.parametrize("is_read", [False, True])
async def test_an_exit_is_reported_by_the_next_engine_until_it_is_forgotten(
    bench: FakeBench, is_read: bool
) -> None:
    """It is lost neither between engines nor when an executor stopped while it dealt with it."""
    await bench.engine.launch(await bench.worker(1))
    await bench.is_connected(1)
    await bench.engine.kill(1, "end")
    if is_read:
        await next_exit(bench.engine)
    await bench.replace_engine()
    assert await bench.engine.adopt() == []
    ended = await next_exit(bench.engine)
    assert ended.worker_id == 1


async def test_a_signal_reaches_the_worker(bench: FakeBench) -> None:
    """`signal` ends a worker with SIGKILL as anybody else could: not as a kill of the engine's."""
    await bench.engine.launch(await bench.worker(1))
    await bench.is_connected(1)
    await bench.engine.signal(1, signal.SIGKILL)
    ended = await next_exit(bench.engine)
    assert (ended.signal, ended.killed) == (signal.SIGKILL, False)


async def test_a_frozen_worker_can_be_killed(bench: FakeBench) -> None:
    """Freezing a worker does not keep it from being ended."""
    await bench.engine.launch(await bench.worker(1))
    await bench.is_connected(1)
    await bench.engine.freeze(1)
    assert (await bench.engine.kill(1, "end")).killed


async def test_what_is_forgotten_is_gone(bench: FakeBench) -> None:
    """`forget` removes the directory of an ended worker, and launching it again does nothing."""
    spec = await bench.worker(1)
    await bench.engine.launch(spec)
    await bench.is_connected(1)
    await bench.engine.kill(1, "end")
    await bench.engine.forget(1)
    assert not spec.directory.exists()
    await bench.engine.launch(spec)
    with pytest.raises(UnknownWorkerError):
        await bench.engine.stats(1)


async def test_the_inventory_is_positive(bench: FakeBench) -> None:
    """An engine has something to give, and says for which platform."""
    capacity = await bench.engine.inventory()
    assert capacity.cpu_millis >= 1000
    assert capacity.memory_bytes > 0
    assert capacity.disk_bytes > 0
    assert capacity.platform.startswith("linux/")

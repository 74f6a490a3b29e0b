"""An engine that is restarted or killed under its workers, for real: one of the tests' own."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import pytest

from services.executor.engines.base import LaunchFailedError
from services.executor.engines.docker import starts
from services.executor.engines.docker.ends import RESTARTED, STOPPED
from services.executor.engines.docker.tests.test_engine import Lab
from services.executor.engines.tests.own_engine import OwnEngine
from services.executor.engines.tests.process_host import until, write_code
from services.executor.engines.tests.worker_image import WorkerImage

# The library leaves a socket open when it finds nobody at the other end.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def own_engine(made_worker_image: WorkerImage) -> Iterator[tuple[OwnEngine, str]]:
    """An engine and the reference of the workers' image in it."""
    engine = OwnEngine()
    try:
        engine.start()
        client = docker.DockerClient(base_url=engine.url)
        made_worker_image.copy_to(client)
        client.close()
        yield engine, made_worker_image.reference
    finally:
        engine.close()


@pytest.fixture
async def lab(own_engine: tuple[OwnEngine, str], tmp_path: Path) -> AsyncIterator[Lab]:
    """Workers on that engine."""
    engine, image = own_engine
    write_code(tmp_path)
    made = Lab(tmp_path, engine.url, image)
    await made.engine.start()
    yield made
    await made.close()
    gc.collect()  # sockets that the library left open end here, where that is no error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["restart", "kill"])
async def test_workers_that_a_restart_ends_are_told_from_others(
    lab: Lab, own_engine: tuple[OwnEngine, str], number: int
) -> None:
    """Workers end with the engine's restart as that, each once; one of before keeps its end, and new ones start."""
    first = await lab.launch(1)
    await lab.launch(2)
    await first.start("leave", code=3)
    assert (await lab.exit()).code == 3
    engine, _ = own_engine
    await asyncio.to_thread(engine.end, number)
    await asyncio.to_thread(engine.start)
    ended = await lab.exit()
    assert (ended.worker_id, ended.code, ended.killed, ended.oom) == (2, None, False, False)
    # An engine that is shut down may still say that it stops its containers.
    assert ended.reason == RESTARTED or (number == signal.SIGTERM and ended.reason == STOPPED)
    peer = await lab.launch(3)
    assert await peer.call("evaluate", expression="1 + 1") == "2"


async def test_what_is_asked_while_the_engine_is_away_is_done_when_it_is_back(
    lab: Lab, own_engine: tuple[OwnEngine, str]
) -> None:
    """A launch and a kill wait for the engine; the inventory is what it was."""
    await lab.launch(1)
    engine, _ = own_engine
    before = await lab.engine.inventory()
    await asyncio.to_thread(engine.end, signal.SIGTERM)
    assert (await lab.engine.inventory()).memory_bytes == before.memory_bytes
    spec, peer = await lab.spec(2)
    launch = asyncio.create_task(lab.engine.launch(spec))
    kill = asyncio.create_task(lab.engine.kill(1, "not needed"))
    await until(lambda: 2 in lab.engine.worker_ids, "the launch to begin")
    await asyncio.to_thread(engine.start)
    await launch
    await peer.connected()
    assert (await kill).worker_id == 1
    assert await peer.call("evaluate", expression="1 + 1") == "2"


async def test_an_engine_that_stays_away_fails_the_launch(
    lab: Lab, own_engine: tuple[OwnEngine, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure says what does not answer; nothing of the worker is there when the engine is."""
    engine, _ = own_engine
    await asyncio.to_thread(engine.end, signal.SIGTERM)
    monkeypatch.setattr(starts, "_DOWN_SECONDS", 0.3)
    spec, _ = await lab.spec(1)
    with pytest.raises(LaunchFailedError, match="does not answer"):
        await lab.engine.launch(spec)
    await asyncio.to_thread(engine.start)
    assert lab.engine.worker_ids == []
    assert lab.containers() == []


async def test_workers_get_the_gpus_that_they_were_given(lab: Lab) -> None:
    """A request for devices by UUID starts a container that sees them, and one without sees none."""
    with_gpus = await lab.launch(1, gpu_uuids=("GPU-a", "GPU-b"))
    without = await lab.launch(2)
    [request] = lab.api.inspect_container(lab.name(1))["HostConfig"]["DeviceRequests"]
    assert request["DeviceIDs"] == ["GPU-a", "GPU-b"]
    assert await with_gpus.call("environ", name="NVIDIA_VISIBLE_DEVICES") == "GPU-a,GPU-b"
    assert await without.call("environ", name="NVIDIA_VISIBLE_DEVICES") == "void"

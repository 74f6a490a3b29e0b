"""Objects for tasks when the blob store is an object store: fetched once, streamed up, waited for while it is away."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration_tests.components.seaweedfs import SeaweedFs
from services.common.blobs import BlobStore
from services.executor.tests.conftest import Bench
from services.executor.tests.scheduler_fake import until
from services.executor.tests.test_blob_access import OWN, ref, task_of


@pytest.fixture
async def remote(s3_own: SeaweedFs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """A running executor whose blob store is a bucket."""
    for name, value in s3_own.environ.items():
        monkeypatch.setenv(name, value)
    made = Bench(tmp_path)
    made.options |= {"blobs": s3_own.bucket("reach"), "object_cache": "1Mi"}
    await made.scheduler.start()
    await made.start()
    yield made
    await made.stop()
    made.world.close()
    await made.scheduler.stop()


async def test_objects_of_an_object_store(remote: Bench, s3_own: SeaweedFs) -> None:
    """Objects are read and written through files of the host, alone or many at once, also once a store is back."""
    store = BlobStore(str(remote.options["blobs"]))
    content = bytes(range(256)) * 40_000  # more than one part of an upload
    await store.put("inputs/big", content)
    await store.put("inputs/small", b"small")
    task = await task_of(remote, ref("inputs/big", "inputs/small", "inputs/none"))
    assert await asyncio.gather(*(task.read("inputs/big") for _ in range(4))) == [content] * 4
    key = f"{OWN}/data/copy"
    writer = await task.objects.create_object_async(key)
    writer.write(content)
    await writer.close_async()
    assert await store.get(key) == content
    assert await task.read(key) == content
    assert task.drafts() == []

    s3_own.stop()
    assert await task.read(key) == content, "it is on this host"
    writer = await task.objects.create_object_async(f"{OWN}/data/late")
    writer.write(b"late")
    waiting = [asyncio.create_task(task.read("inputs/small")), asyncio.create_task(writer.close_async())]
    waits = "a file cannot be"
    await until(
        lambda: any(waits in each.detail for each in remote.scheduler.all("progress")),
        "the reason to be shown",
    )
    assert not any(each.done() for each in waiting)
    s3_own.start()
    assert (await asyncio.gather(*waiting))[0] == b"small"
    assert await store.get(f"{OWN}/data/late") == b"late"
    cache = remote.directory / "executor/objects/cache"
    assert sum(path.stat().st_size for path in cache.iterdir()) <= max(len(content), 1 << 20)
    assert cache.stat().st_mode & 0o077 == 0

    def directory() -> list[tuple[str, bytes]]:
        keys = [f"{OWN}/data/d/{number}" for number in range(70)]
        for file in task.objects.create_objects(keys):
            file.write(b"small")
        listed = [key for key, _ in task.objects.list_objects(f"{OWN}/data/d/")]
        return [
            (key, file.read()) for key, file in zip(listed, task.objects.open_objects(listed), strict=True)
        ]

    found = await asyncio.to_thread(directory)
    assert len(found) == 70
    assert {content for _, content in found} == {b"small"}
    assert await asyncio.to_thread(task.objects.size_of, "inputs/big") == len(content)
    assert await asyncio.to_thread(task.objects.size_of, "inputs/none") is None

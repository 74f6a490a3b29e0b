"""Objects for tasks, over the real socket: what is in reach is opened, the rest refused, and nothing is left."""

import asyncio
import gc
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from flyte import errors
from flyte._runtime.blob_access import BlobAccess, LeaseObjects, ObjectWriter
from hangar.core.v1 import failure_pb2
from services.executor import blob_access, frames
from services.executor.engines.base import WorkerExit
from services.executor.tests.conftest import Bench
from services.executor.tests.scheduler_fake import until
from services.executor.tests.specs import POOL, assignment, frame, outcome, spec, start
from services.executor.tests.test_object_cache import open_files
from services.executor.tests.worker_fake import WorkerFake

OWN = "runs/default/development/r1/a7/0"


def ref(*keys: str) -> bytes:
    """A document with references."""
    return json.dumps([{"$type": "ref", "key": key} for key in keys]).encode()


class Task:
    """A lease that runs, as its own code sees the executor."""

    def __init__(self, bench: Bench, worker: WorkerFake, lease: int = 7) -> None:
        self.bench = bench
        self.worker = worker
        self.access = BlobAccess(str(worker.directory / "executor.sock"), worker.worker_id, worker.token)
        self.objects = LeaseObjects(self.access, worker.runs[lease].header)

    async def read(self, key: str) -> bytes:
        """Reads an object, or fails."""
        with await self.objects.open_object_async(key) as file:
            return file.read()

    async def refused(self, key: str, *, write: bool = False) -> str:
        """The message of the refusal."""
        with pytest.raises(errors.RuntimeUserError) as caught:
            await (self.objects.create_object_async(key) if write else self.objects.open_object_async(key))
        assert caught.value.code == "NotInReach"
        return str(caught.value)

    def drafts(self) -> list[Path]:
        """Files that are being written."""
        return list((self.bench.directory / "executor/objects/drafts").glob("*/*"))


async def task_of(bench: Bench, inputs: bytes = b"{}", *, disk: int = 0) -> Task:
    """Starts a lease."""
    definition = spec()
    definition.resources.disk_bytes = disk
    bench.scheduler.send(frame(assignment(7, worker_id=3, inputs=inputs)), [definition])
    worker = await bench.world.worker(3)
    await worker.has(7)
    worker.begin(7)
    return Task(bench, worker)


def put(bench: Bench, key: str, content: bytes) -> None:
    """Stores an object."""
    path = bench.directory / "blobs" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


async def test_what_inputs_refer_to_can_be_read(bench: Bench) -> None:
    """An object of the inputs is opened read-only, in threads and coroutines; one that is not is refused by name."""
    put(bench, "inputs/a.csv", b"one")
    put(bench, "inputs/b.csv", b"two")
    task = await task_of(bench, ref("inputs/a.csv"))
    assert await task.read("inputs/a.csv") == b"one"
    with await asyncio.to_thread(task.objects.open_object, "inputs/a.csv") as file:
        assert file.read() == b"one"
        assert not os.get_inheritable(file.fileno())
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(file.fileno(), b"x")
    for key in ("inputs/b.csv", "code/x.tar.gz", "../executor/outbox.db", "/etc/passwd"):
        assert key in await task.refused(key)
    assert "Pass the file" in await task.refused("inputs/b.csv")


async def test_objects_that_do_not_exist(bench: Bench) -> None:
    """A reference to nothing, and one whose key is a way out of the store, are errors of the task."""
    (bench.directory / "blobs" / "inputs").mkdir(parents=True)
    (bench.directory / "secret").write_text("x")
    (bench.directory / "blobs" / "inputs" / "link").symlink_to(bench.directory / "secret")
    task = await task_of(bench, ref("inputs/none", "inputs/link", "../secret", "inputs"))
    for key, code in {
        "inputs/none": "ObjectNotFound",
        "../secret": "NotInReach",
        "inputs": "ObjectNotFound",
    }.items():
        with pytest.raises(errors.RuntimeUserError) as caught:
            await task.read(key)
        assert caught.value.code == code, key
    with pytest.raises(errors.RuntimeSystemError):
        await task.read("inputs/link")


async def test_writing_below_the_own_prefix(bench: Bench) -> None:
    """What a task writes is an object once it is closed, can be read again, and nowhere else can be written."""
    task = await task_of(bench)
    key = f"{task.objects.prefix}/model.bin"
    assert key == f"{OWN}/data/model.bin"
    with await asyncio.to_thread(task.objects.create_object, key) as file:
        file.write(b"0123456789")
        file.seek(0)
        assert file.read(3) == b"012"
        assert not (bench.directory / "blobs" / key).exists(), "not before it is closed"
        await file.close_async()
        file.close()
    assert bench.blob(key) == b"0123456789"
    assert await task.read(key) == b"0123456789"
    assert task.drafts() == []
    for other in (f"{OWN}/outputs.json", f"{OWN}/data", "inputs/a", f"{OWN}/data/../../x", "runs/default/x"):
        if ".." not in other:
            await task.refused(other, write=True)


async def test_the_report_of_an_attempt(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt replaces its own report as often as it likes, no other one's, and not with one that is too large."""
    monkeypatch.setattr(blob_access, "LARGEST_REPORT", 100)
    task = await task_of(bench)
    key = task.objects.report_key
    assert key == f"{OWN}/report.html"
    for content in (b"first and longer", b"second"):
        with await asyncio.to_thread(task.objects.create_object, key) as file:
            file.write(content)
            await file.close_async()
        assert bench.blob(key) == content
    await task.refused(key.replace("/a7/0/", "/a7/1/"), write=True)
    file = await task.objects.create_object_async(key)
    file.write(b"x" * 101)
    with pytest.raises(errors.RuntimeUserError) as caught:
        await file.close_async()
    assert caught.value.code == "ReportTooLarge"
    assert bench.blob(key) == b"second"
    assert task.drafts() == []


async def test_directories(bench: Bench) -> None:
    """All below a directory of the inputs is listed and read, many objects to a request; nothing beside it is."""
    names = [f"data/c/d/{number:03}" for number in range(150)]
    for name in (*names, "data/c/d/sub/x", "data/c/beside"):
        put(bench, name, name.encode())
    task = await task_of(bench, ref("data/c/d/"))
    listed = await asyncio.to_thread(task.objects.list_objects, "data/c/d/")
    assert listed == [(name, len(name)) for name in (*names, "data/c/d/sub/x")]
    assert await asyncio.to_thread(task.objects.list_objects, "data/c/d/sub/") == [("data/c/d/sub/x", 14)]

    def read() -> list[bytes]:
        return [file.read() for file in task.objects.open_objects(names)]

    assert await asyncio.to_thread(read) == [name.encode() for name in names]
    for prefix in ("data/c/", "data/", f"{OWN[:-2]}/"):
        with pytest.raises(errors.RuntimeUserError) as caught:
            await asyncio.to_thread(task.objects.list_objects, prefix)
        assert caught.value.code == "NotInReach"
    before = open_files()
    with pytest.raises(errors.RuntimeUserError, match="beside"):
        await asyncio.to_thread(lambda: list(task.objects.open_objects([*names[:3], "data/c/beside"])))
    with pytest.raises(errors.RuntimeUserError) as caught:
        await asyncio.to_thread(lambda: list(task.objects.open_objects([*names[:3], "data/c/d/none"])))
    assert caught.value.code == "ObjectNotFound"
    await until(lambda: open_files() <= before, "descriptors to be closed")


async def test_many_objects_are_stored_together(bench: Bench) -> None:
    """Files of one request are objects once it is answered, and a key of another attempt refuses all of them."""
    task = await task_of(bench)
    keys = [f"{OWN}/data/d/{number}/x" for number in range(100)]

    def write(keys: list[str]) -> None:
        for number, file in enumerate(task.objects.create_objects(keys)):
            file.write(str(number).encode())

    await asyncio.to_thread(write, keys)
    assert [bench.blob(key) for key in keys] == [str(number).encode() for number in range(100)]
    assert await asyncio.to_thread(task.objects.size_of, keys[10]) == 2
    assert await asyncio.to_thread(task.objects.size_of, f"{OWN}/data/none") is None
    with pytest.raises(errors.RuntimeUserError) as caught:
        await asyncio.to_thread(write, [f"{OWN}/data/y", "runs/default/development/r1/a7/1/data/y"])
    assert caught.value.code == "NotInReach"
    assert not (bench.directory / "blobs" / OWN / "data" / "y").exists()
    assert task.drafts() == []


async def test_keys_that_are_none_are_refused(bench: Bench) -> None:
    """A key with a way up inside is refused when it is stored, and nothing is left of it."""
    task = await task_of(bench)
    with pytest.raises(errors.RuntimeUserError) as caught:
        await task.objects.create_object_async(f"{OWN}/data/../../../x")
    assert caught.value.code == "InvalidArgument"
    assert task.drafts() == []


async def test_stored_objects_never_change(bench: Bench) -> None:
    """A descriptor that a task keeps beyond the end of writing changes a file that nobody reads any more."""
    task = await task_of(bench)
    key = f"{OWN}/data/x"
    file = await task.objects.create_object_async(key)
    kept = os.dup(file.fileno())
    file.write(b"final")
    await file.close_async()
    os.pwrite(kept, b"FORGED", 0)
    os.close(kept)
    assert bench.blob(key) == b"final"
    assert (bench.directory / "blobs" / key).stat().st_mode & 0o222 == 0o200


async def test_a_file_is_not_opened_while_it_is_stored(bench: Bench) -> None:
    """However put and store of one file are mixed, nobody gets a descriptor with which the object can be changed."""
    task = await task_of(bench)
    for number in range(30):
        key, draft = f"{OWN}/data/{number}", f"{number:032x}"
        os.close(await task.access.ask_async(7, "put", key, draft))
        answers = await asyncio.gather(
            *(task.access.ask_async(7, method, key, draft) for method in ("store", "put", "store", "put")),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, int) and answer >= 0:
                os.pwrite(answer, b"FORGED", 0)
                os.close(answer)
            else:
                assert answer == -1 or isinstance(answer, errors.RuntimeUserError), answer
        assert bench.blob(key) == b""


async def test_keys_below_each_other(bench: Bench) -> None:
    """An object cannot be a directory as well: the second of the two is refused, and nothing is tried for ever."""
    task = await task_of(bench)
    for first, second in (("a", "a/b"), ("c/d", "c")):
        with await task.objects.create_object_async(f"{OWN}/data/{first}") as file:
            await file.close_async()
        writer = await task.objects.create_object_async(f"{OWN}/data/{second}")
        with pytest.raises(errors.RuntimeUserError) as caught:
            await writer.close_async()
        assert caught.value.code == "InvalidArgument"
        with pytest.raises(errors.RuntimeUserError) as caught:
            await task.read(f"{OWN}/data/{second}")
        assert caught.value.code == "ObjectNotFound"
    writer = await task.objects.create_object_async(f"{OWN}/data/{'x' * 300}")
    with pytest.raises(errors.RuntimeSystemError, match="File name too long"):
        await writer.close_async()


async def test_what_fails_is_not_stored(bench: Bench) -> None:
    """A block that raises, a writer that is discarded and one that is forgotten store nothing and free the disk."""
    task = await task_of(bench)
    with pytest.raises(KeyError):
        await asyncio.to_thread(_fail_inside, task.objects, f"{OWN}/data/x")
    writer: ObjectWriter | None = await task.objects.create_object_async(f"{OWN}/data/y")
    assert writer is not None
    writer.write(b"x" * 100_000)
    writer.flush()
    (draft,) = task.drafts()
    writer = None
    gc.collect()
    assert draft.stat().st_size == 0
    assert not list((bench.directory / "blobs").rglob("data"))
    task.worker.succeed(7)
    await until(lambda: not task.drafts(), "the draft to be removed with its lease")


def _fail_inside(objects: LeaseObjects, key: str) -> None:
    with objects.create_object(key) as file:
        file.write(b"half")
        raise KeyError(key)


async def test_outcomes_of_children_come_into_reach(bench: Bench) -> None:
    """What a child's outputs refer to can be read by its parent, also after the executor was restarted."""
    put(bench, "runs/x", b"of a child")
    task = await task_of(bench)
    await task.refused("runs/x")
    task.worker.ask(7, "k1")
    await until(lambda: "k1" in bench.holdings.leases[7].requests, "the request")
    bench.scheduler.send(outcome(7, "k1", ref("runs/x")))
    await until(lambda: task.worker.outcomes.get(7) == 1, "the outcome")
    assert await task.read("runs/x") == b"of a child"
    task.worker.again.clear()
    await bench.stop()
    await bench.start()
    assert await task.read("runs/x") == b"of a child"
    await task.refused("runs/y")
    noted = bench.directory / "executor/objects/reach/7"
    assert noted.read_text() == "runs/x\n"
    task.worker.succeed(7)
    await until(lambda: not noted.exists(), "the note to be removed with its lease")


async def test_requests_go_on_after_a_restart(bench: Bench) -> None:
    """Requests that are made, and files that are written, while the executor restarts are answered by the next one."""
    put(bench, "inputs/a.csv", b"one")
    task = await task_of(bench, ref("inputs/a.csv"))
    key = f"{OWN}/data/x"
    writer = await task.objects.create_object_async(key)
    writer.write(b"before ")
    await bench.stop()
    reading = asyncio.create_task(task.read("inputs/a.csv"))
    storing = asyncio.create_task(asyncio.to_thread(_finish, writer, b"after"))
    await asyncio.sleep(0)
    assert not reading.done()
    await bench.start()
    assert await reading == b"one"
    await storing
    assert bench.blob(key) == b"before after"
    lease, _, draft = writer._request
    await task.access.ask_async(lease, "store", key, draft)
    assert bench.blob(key) == b"before after", "storing again, when the answer got lost, changes nothing"
    with pytest.raises(errors.RuntimeUserError) as caught:
        await task.access.ask_async(lease, "store", f"{OWN}/data/never", "0" * 32)
    assert caught.value.code == "ObjectNotFound"


def _finish(writer: ObjectWriter, content: bytes) -> None:
    writer.write(content)
    writer.close()


async def test_drafts_of_ended_leases_are_removed_at_the_start(bench: Bench) -> None:
    """What a lease was writing when executor and worker died is removed by the next executor."""
    task = await task_of(bench)
    writer = await task.objects.create_object_async(f"{OWN}/data/x")
    await bench.stop()
    (left,) = task.drafts()
    other = left.parent.with_name("99") / left.name
    other.parent.mkdir()
    other.write_bytes(b"x")
    (bench.directory / "executor/objects/reach").mkdir(exist_ok=True)
    (bench.directory / "executor/objects/reach/99").write_text("a\n")
    await bench.start()
    assert task.drafts() == [left]
    assert not list((bench.directory / "executor/objects/reach").iterdir())
    writer._drop()


@asynccontextmanager
async def answered(task: Task, header: dict[str, Any], *, hello: bool = True) -> AsyncIterator[bytes]:
    """What the executor answers to one raw frame, until it closes the connection."""
    reader, writer = await asyncio.open_unix_connection(task.worker.directory / "executor.sock")
    if hello:
        introduction = {"type": "hello", "role": "blob", "worker": 3, "token": task.worker.token}
        writer.write(frames.encode(introduction))
    writer.write(frames.encode_header(json.dumps(header).encode()))
    yield await asyncio.wait_for(reader.read(), 30)
    writer.close()


async def test_leases_of_others(bench: Bench) -> None:
    """A worker cannot ask in the name of a lease that another worker has, or that has ended."""
    put(bench, "inputs/a.csv", b"one")
    task = await task_of(bench, ref("inputs/a.csv"))
    bench.scheduler.send(frame(assignment(8, worker_id=4)), [spec()])
    other = await bench.world.worker(4)
    await other.has(8)
    stranger = BlobAccess(str(other.directory / "executor.sock"), 4, other.token)
    with pytest.raises(errors.RuntimeUserError, match="not one that this worker has"):
        await stranger.ask_async(7, "get", "inputs/a.csv", "0" * 32)
    assert await task.read("inputs/a.csv") == b"one"
    task.worker.succeed(7)
    await bench.scheduler.result(7)
    await until(lambda: task.worker.stopped, "the worker to be told to stop")
    with pytest.raises(errors.RuntimeUserError, match="not one that this worker has"):
        await task.access.ask_async(7, "get", "inputs/a.csv", "0" * 32)


@pytest.mark.parametrize(
    "header",
    [
        {"type": "blob", "id": "0" * 32, "method": "get", "key": "a"},
        {"type": "blob", "id": "0" * 32, "method": "get", "lease": "x", "key": "a"},
        {"type": "blob", "id": 7, "method": "get", "lease": 7, "key": "a"},
        {"type": "blob", "id": "0" * 32, "method": "get", "lease": 7},
        {"type": "blob", "id": "\ud800", "method": "get", "lease": 7, "key": "a"},
        {"type": "blob", "id": "0" * 32, "method": "get", "lease": 7, "key": "\ud800"},
        {"type": "result", "lease": 7, "digest": "x"},
        {"type": "blob", "id": "0" * 32, "method": "get", "lease": 7, "key": "a" * 70_000},
    ],
)
async def test_frames_that_are_wrong(bench: Bench, header: dict[str, Any]) -> None:
    """A wrong frame ends its connection without an answer, and nothing else."""
    task = await task_of(bench)
    async with answered(task, header) as answer:
        assert answer == b""
    assert not bench.holdings.leases[7].is_ended
    task.worker.succeed(7)
    assert (await bench.scheduler.result(7)).outputs.inline


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"method": "delete", "key": f"{OWN}/data/x"}, "InvalidArgument"),
        ({"method": "put", "key": f"{OWN}/data/x", "id": "../../x"}, "InvalidArgument"),
        ({"method": "put", "key": f"{OWN}/data/x", "id": ""}, "InvalidArgument"),
        ({"method": "store", "key": "inputs/x"}, "NotInReach"),
        ({"method": "discard", "key": "inputs/x"}, "NotInReach"),
        ({"method": "get", "key": "", "lease": 99}, "NotInReach"),
    ],
)
async def test_requests_that_are_wrong(bench: Bench, header: dict[str, Any], code: str) -> None:
    """A request that cannot be done is answered with an error that says so."""
    task = await task_of(bench)
    request = {"type": "blob", "id": "0" * 32, "lease": 7, **header}
    async with answered(task, request) as answer:
        (found,) = frames.FrameDecoder().feed(answer)
    assert found.header["error"]["code"] == code
    assert found.header["error"]["message"]


async def test_connections_are_bounded(bench: Bench) -> None:
    """A task that opens connections without end is cut off, and its worker goes on."""
    task = await task_of(bench)
    made = []
    for _ in range(300):
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        try:
            connection.connect(str(task.worker.directory / "executor.sock"))
        except BlockingIOError:
            await asyncio.sleep(0.01)
        made.append(connection)
    await until(lambda: len(bench.app._started()._server._endpoints[3].connections) <= 256, "the bound")
    for connection in made:
        connection.close()
    with await task.objects.create_object_async(f"{OWN}/data/x") as file:
        await file.close_async()
    assert bench.blob(f"{OWN}/data/x") == b""


async def test_forged_references_are_not_handed_on(bench: Bench) -> None:
    """Outputs that refer to what is out of reach fail the action; what is in reach may be handed on."""
    put(bench, "inputs/a.csv", b"one")
    bench.scheduler.send(frame(start(1, concurrency=2)), [spec()])
    worker = await bench.world.worker(1)
    for lease, inputs in ((10, ref("inputs/a.csv")), (11, b"{}")):
        bench.scheduler.send(frame(assignment(lease, pool=POOL, inputs=inputs)))
        await worker.has(lease)
        worker.begin(lease)
        worker.succeed(lease, ref("inputs/a.csv"))
    assert (await bench.scheduler.result(10)).outputs.inline == ref("inputs/a.csv")
    failure = (await bench.scheduler.result(11)).failure
    assert (failure.kind, failure.code) == (failure_pb2.FAILURE_KIND_USER, "NotInReach")
    assert "the outputs refer to object 'inputs/a.csv'" in failure.message


async def test_forged_references_do_not_reach_children(bench: Bench) -> None:
    """A child whose inputs refer to what is out of reach is not asked for: its call fails at once."""
    task = await task_of(bench)
    task.worker.ask(7, "good", ref(f"{OWN}/data/x"))
    task.worker.ask(7, "bad", ref("inputs/secret"))
    await until(lambda: task.worker.outcomes.get(7) == 1, "the refusal")
    (refusal,) = [each for each in task.worker.received if each.header["type"] == "outcomes"]
    (entry,) = refusal.header["outcomes"]
    assert (entry["key"], entry["phase"], entry["failure"]["code"]) == ("bad", "failed", "NotInReach")
    assert set(bench.holdings.leases[7].requests) == {"good"}
    assert [child.key for child in bench.scheduler.all("children")] == ["good"]


async def test_disk_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that writes more than its disk limit gets its space taken back and is told so; it can go on."""
    monkeypatch.setattr(blob_access, "QUOTA_SECONDS", 0.02)
    task = await task_of(bench, disk=1 << 20)
    writer = await task.objects.create_object_async(f"{OWN}/data/big")
    writer.write(b"x" * (4 << 20))
    writer.flush()
    (draft,) = task.drafts()
    await until(lambda: draft.stat().st_blocks == 0, "the space to be taken back")
    with pytest.raises(errors.RuntimeUserError, match="disk limit of 1048576 bytes") as caught:
        await writer.close_async()
    assert caught.value.code == "DiskLimitExceeded"
    sparse = await task.objects.create_object_async(f"{OWN}/data/sparse")
    os.ftruncate(sparse.fileno(), 1 << 40)
    with pytest.raises(errors.RuntimeUserError, match="disk limit"):
        await sparse.close_async()
    small = await task.objects.create_object_async(f"{OWN}/data/small")
    small.write(b"fits")
    await small.close_async()
    assert bench.blob(f"{OWN}/data/small") == b"fits"
    assert not (bench.directory / "blobs" / OWN / "data" / "big").exists()


async def test_workers_that_end_leave_nothing(bench: Bench) -> None:
    """What a worker was writing when it died is removed."""
    task = await task_of(bench)
    writer = await task.objects.create_object_async(f"{OWN}/data/x")
    assert task.drafts()
    bench.engine.exit(WorkerExit(3, 1))
    await until(lambda: not task.drafts(), "the draft to be removed")
    writer._drop()


async def test_a_cancelled_request_leaves_nothing_open(bench: Bench) -> None:
    """A request that is cancelled while there is no executor closes its socket; the next one works."""
    put(bench, "inputs/a.csv", b"one")
    task = await task_of(bench, ref("inputs/a.csv"))
    await bench.stop()
    before = open_files()
    asking = [asyncio.create_task(task.read("inputs/a.csv")) for _ in range(5)]
    await asyncio.sleep(0)
    for each in asking:
        each.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    await until(lambda: open_files() <= before, "sockets to be closed")
    await bench.start()
    assert await task.read("inputs/a.csv") == b"one"

"""Files and directories between tasks, clients and stores: in reach, cached by content, refused when forged."""

import json
from pathlib import Path

import pytest

from integration_tests.components.seaweedfs import SeaweedFs
from integration_tests.test_storage import make_stack

__all__ = ["make_stack"]

SCRIPT = """
    import asyncio
    import dataclasses
    import hashlib
    import os
    import tempfile
    import uuid
    from pathlib import Path

    import flyte
    from flyte.io import Dir, File

    small = flyte.Resources(cpu="200m", memory="300Mi")
    pool = flyte.TaskEnvironment("pool", resources=small, reusable=flyte.ReusePolicy(replicas=1, concurrency=4))
    env = flyte.TaskEnvironment("data", resources=small, depends_on=[pool])

    @dataclasses.dataclass
    class Batch:
        model: File
        parts: Dir
        notes: dict[str, File] = dataclasses.field(default_factory=dict)

    @env.task
    async def make(count: int) -> Batch:
        model = File.new_remote("model.bin")
        async with model.open("wb") as file:
            for _ in range(3):
                await file.write(os.urandom(1 << 20))
        with tempfile.TemporaryDirectory() as directory:
            for number in range(count):
                path = Path(directory, "parts", f"{number % 7}", f".{number} #.txt")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("x" * number)
            return Batch(model, await Dir.from_local(Path(directory, "parts")))

    @pool.task
    async def measure(batch: Batch, more: File) -> dict[str, int]:
        sizes = {}
        async for file in batch.parts.walk():
            async with file.open() as opened:
                sizes[file.name] = len(await opened.read())
        copy = Path(await batch.parts.download())
        assert sum(path.stat().st_size for path in copy.rglob("*.txt")) == sum(sizes.values())
        assert await batch.parts.get_file("0/nope") is None
        return {
            "files": len(sizes), "bytes": sum(sizes.values()),
            "model": os.path.getsize(await batch.model.download()), "more": len(Path(more.download_sync()).read_text()),
        }

    @env.task
    async def pipeline(mine: File, folder: Dir, count: int) -> tuple[dict[str, int], Batch, int]:
        batch = await make(count)
        assert [name for name in os.environ if name.startswith("AWS")] == []
        batch.notes["mine"] = mine
        first, second = await asyncio.gather(measure(batch, mine), measure(batch, mine))
        assert first == second
        return first, batch, len(await folder.list_files())

    @env.task(cache="auto")
    def counted(file: File) -> str:
        return uuid.uuid4().hex

    @env.task
    async def caching() -> list[bool]:
        Path("a.txt").write_text("same")
        by_place = [await counted.aio(await File.from_local("a.txt")) for _ in range(2)]
        by_content = [
            await counted.aio(await File.from_local("a.txt", hash_method=hashlib.sha256())) for _ in range(2)
        ]
        return [by_place[0] == by_place[1], by_content[0] == by_content[1]]

    @env.task
    def size(file: File) -> int:
        with file.open_sync() as opened:
            return len(opened.read())

    @env.task
    async def forge(key: str) -> list[str]:
        file, found = File(f"hangar://{key}"), []
        for attempt in (file.exists(), file.download(), size.aio(file), Dir(f"hangar://{key}").list_files()):
            try:
                await attempt
            except flyte.errors.RuntimeUserError as error:
                found.append(error.code)
        return found

    @env.task
    def hand_on(key: str) -> File:
        return File(f"hangar://{key}")

    @env.task
    async def gone() -> str:
        try:
            return str(await size.aio(File.new_remote("never-written.bin")))
        except flyte.errors.RuntimeUserError as error:
            return error.code
"""

FRAMES = """
    from collections import OrderedDict
    from typing import Annotated

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    import flyte
    from flyte.io import DataFrame

    image = flyte.Image.from_debian_base().with_pip_packages("pandas", "polars", "pyarrow")
    env = flyte.TaskEnvironment("frames", image=image, resources=flyte.Resources(cpu="500m", memory="1Gi"))

    @env.task
    def make(rows: int) -> pd.DataFrame:
        return pd.DataFrame({"n": range(rows), "text": [str(n) for n in range(rows)]})

    @env.task
    async def double(frame: pl.LazyFrame) -> pa.Table:
        return frame.with_columns(twice=pl.col("n") * 2).collect().to_arrow()

    @env.task
    async def total(frame: DataFrame, names: Annotated[pd.DataFrame, OrderedDict(text=str)]) -> int:
        assert list(names.columns) == ["text"]
        found = 0
        async for part in frame.open(pd.DataFrame).iter():
            found += int(part["twice"].sum())
        return found

    @env.task
    async def pipeline(rows: int) -> tuple[int, pd.DataFrame, DataFrame]:
        frame = await make.aio(rows)
        table = await double(frame)
        assert isinstance(frame, pd.DataFrame) and isinstance(table, pa.Table)
        handle = DataFrame.from_df(table)
        return await total(handle, frame), frame.head(2), handle

    @env.task
    def read(table: pd.DataFrame) -> list[str]:
        return list(table.columns)
"""

CLIENT = """
    import asyncio
    import sys
    from pathlib import Path

    import flyte
    from flyte.io import Dir, File

    import data

    flyte.init_from_config()
    Path("mine.txt").write_text("from here")
    file = File.from_local_sync("mine.txt")
    assert file.path == File.from_local_sync("mine.txt").path, "the same content is stored once"
    Path("folder/sub").mkdir(parents=True, exist_ok=True)
    Path("folder/a").write_text("a")
    Path("folder/sub/b").write_text("b")
    run = flyte.run(data.pipeline, file, Dir("folder"), 150)
    numbers, batch, listed = run.outputs()
    assert numbers == {"files": 150, "bytes": sum(range(150)), "model": 3 << 20, "more": 9}, numbers
    assert listed == 1
    assert len(Path(batch.model.download_sync()).read_bytes()) == 3 << 20
    copy = Path(batch.parts.download_sync("copy"))
    assert len(list(copy.rglob("*.txt"))) == 150
    with batch.notes["mine"].open_sync("r") as opened:
        assert opened.read() == "from here"
    assert asyncio.run(batch.model.exists()) and len(list(batch.parts.walk_sync(file_pattern=".1 *"))) == 1
    digest, uri = flyte.remote.upload_file("mine.txt")
    assert (len(digest), uri) == (32, file.path)
    sent = Dir.from_existing_remote(flyte.remote.upload_dir("folder"))
    assert sorted(each.name for each in sent.walk_sync()) == ["a", "b"]
    again = flyte.remote.Run.get(run.name).outputs()
    print(run.name, type(again[1]["model"]).__name__)
"""


@pytest.fixture
def user(backend, make_workspace):
    """A user with the programs."""
    return _with_programs(make_workspace(backend))


def _with_programs(workspace):
    workspace.write("data.py", SCRIPT)
    workspace.write("frames.py", FRAMES)
    workspace.write("client.py", CLIENT)
    return workspace


def test_files_and_directories_pass_between_client_and_tasks(backend, user):
    """A client's files, and those that tasks write, arrive whole at children and back at the client, in structures."""
    name, kind = user.python("client.py").out.split()
    assert kind == "File"
    shown = user.flyte("get", "io", name).out
    assert "mine: File hangar://data/" in shown
    assert "/mine.txt" in shown
    assert '"parts": "Dir hangar://runs/' in shown


def test_arguments_on_the_command_line(backend, user):
    """A path is uploaded, a missing one is an error of the call, and the output is shown by where it is."""
    Path(user.directory, "x.txt").write_text("12345")
    assert user.flyte("run", "data.py", "size", "--file", "x.txt").lines[-1] == "5"
    assert user.flyte("run", "--local", "data.py", "size", "--file", "x.txt").lines[-1] == "5"
    assert "nope.txt does not exist" in user.flyte("run", "data.py", "size", "--file", "nope.txt", code=2).err
    assert "is a directory" in user.flyte("run", "data.py", "size", "--file", ".", code=2).err


def test_content_hashes_decide_about_cache_hits(backend, user):
    """A file that is stored anew is a new input, unless its content hash says that it is the same."""
    assert backend.api.succeeded(user.launch("data.py", "caching")) == [False, True]


def test_forged_and_missing_references(backend, user):
    """What no input refers to is out of reach for reading and handing on; what was never written is not found."""
    key = "runs/default/development/other/a0/0/data/x"
    codes = backend.api.succeeded(user.launch("data.py", "forge", "--key", key))
    assert codes == ["NotInReach"] * 4
    failed = user.flyte("run", "data.py", "hand_on", "--key", key, code=1)
    assert "NotInReach" in failed.err
    assert backend.api.succeeded(user.launch("data.py", "gone")) == "ObjectNotFound"


def test_data_frames(backend, user):
    """Frames of three libraries pass between tasks, a CSV file arrives as a frame, and `get io` shows columns only."""
    finished = user.flyte("run", "frames.py", "pipeline", "--rows", 1000, seconds=170)
    assert "o0: 999000" in finished.out
    name = finished.lines[0]
    shown = user.flyte("get", "io", name, "-o").out
    assert "(parquet; n: int64, text: " in shown
    assert "twice: int64)" in shown
    Path(user.directory, "t.csv").write_text("a,b\n1,2\n")
    assert json.loads(user.flyte("run", "frames.py", "read", "--table", "t.csv").lines[-1]) == ["a", "b"]


def test_an_object_store(make_stack, make_workspace, s3: SeaweedFs):
    """With the blobs in S3 the same program works, and what the second consumer reads was fetched by the first."""
    stack = make_stack(s3)
    user = _with_programs(make_workspace(stack))
    assert user.python("client.py").out.split()[1] == "File"
    cache = stack.data / "executor" / "objects" / "cache"
    assert len(list(cache.iterdir())) == 150 + 2, "one file per object that was read, and no more"


@pytest.fixture
def elsewhere(s3: SeaweedFs, tmp_path, monkeypatch):
    """A bucket that is not the platform's, known to this process by settings of its own."""
    from flyte.storage import S3, _settings

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(_settings, "_given", {})
    _settings.use(
        S3(
            endpoint=s3.environ["AWS_ENDPOINT_URL"], access_key_id=s3.access_key,
            secret_access_key=s3.secret_key, region=s3.environ["AWS_REGION"],
        )
    )  # fmt: skip
    return s3.bucket("elsewhere")


def test_stores_outside_of_the_platform(elsewhere, tmp_path):
    """Files, directories and frames are written to and read from a bucket by its URL, streamed, with its own names."""
    import pandas as pd

    from flyte.io import DataFrame, Dir, File

    content = bytes(range(256)) * 50_000  # more than one part
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "big.bin").write_bytes(content)
    (tmp_path / "d" / "sub" / ".hidden #1").write_text("h")
    file = File.from_local_sync(tmp_path / "d" / "big.bin", f"{elsewhere}/files/")
    assert file.path == f"{elsewhere}/files/big.bin"
    assert file.exists_sync()
    with file.open_sync(block_size=1 << 20) as opened:
        assert opened.seek(-3, 2) == len(content) - 3
        assert opened.read() == content[-3:]
        opened.seek(0)
        assert opened.read() == content
    assert Path(file.download_sync()).read_bytes() == content
    written = File.from_existing_remote(f"{elsewhere}/new.txt")
    with written.open_sync("w", compression="gzip") as opened:
        opened.write("text")
    with written.open_sync("r", compression="gzip") as opened:
        assert opened.read() == "text"
    directory = Dir.from_local_sync(tmp_path / "d", f"{elsewhere}/dirs/d")
    assert [found.name for found in directory.walk_sync()] == ["big.bin", ".hidden #1"]
    assert Path(directory.download_sync(), "sub", ".hidden #1").read_text() == "h"
    frame = DataFrame.from_local_sync(
        pd.DataFrame({"a": [1, 2]}), remote_destination=f"{elsewhere}/t.parquet"
    )
    again = DataFrame.from_existing_remote(f"{elsewhere}/t.parquet")
    assert frame.uri == again.uri
    assert again.open(pd.DataFrame).all_sync()["a"].tolist() == [1, 2]


def test_stores_that_refuse(elsewhere, s3: SeaweedFs):
    """A missing object and wrong keys are errors of their own, with what to do."""
    from flyte import errors
    from flyte.io import File
    from flyte.storage import S3, _settings

    missing = File.from_existing_remote(f"{elsewhere}/none")
    assert not missing.exists_sync()
    with pytest.raises(errors.RuntimeUserError, match="there is no s3://") as caught:
        missing.open_sync()
    assert caught.value.code == "FileNotFound"
    _settings.use(
        S3(
            endpoint=s3.environ["AWS_ENDPOINT_URL"],
            access_key_id="wrong",
            secret_access_key="wrong",
            region="us-east-1",
        )
    )
    with pytest.raises(errors.RuntimeUserError, match=r"flyte\.init\(storage=") as caught:
        missing.download_sync()
    assert caught.value.code == "StorageRefused"

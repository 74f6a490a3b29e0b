"""The tasks that passing bulk data is measured with, and the same work without a platform."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

import flyte
from flyte.io import DataFrame, File

PIECE = 8 * 1024 * 1024
IMAGE = flyte.Image.from_debian_base().with_pip_packages("numpy", "obstore", "pyarrow")

pool = flyte.TaskEnvironment(
    name="bench_data_pool",
    image=IMAGE,
    resources=flyte.Resources(cpu=2, memory="8Gi"),
    reusable=flyte.ReusePolicy(replicas=1, idle_ttl=300),
)
driver = flyte.TaskEnvironment(
    name="bench_data", image=IMAGE, resources=flyte.Resources(cpu="100m", memory="1Gi"), depends_on=[pool]
)
_kept: dict[int, Any] = {}


def table_of(size: int) -> pa.Table:
    """Return a table of random numbers with so many bytes in memory; made once."""
    import numpy as np

    if size not in _kept:
        numbers = np.random.default_rng(1).random((4, size // 32))
        _kept[size] = pa.table({f"c{index}": column for index, column in enumerate(numbers)})
    return _kept[size]


@pool.task
def write_file(size: int, round_: int) -> File:
    """Write a file of so many bytes."""
    piece = os.urandom(PIECE)
    file: File = File.new_remote("data.bin")
    with file.open_sync("wb") as opened:
        for _ in range(size // PIECE):
            opened.write(piece)
    return file


@pool.task
def read_file(file: File) -> int:
    """Read all of a file."""
    size = 0
    with file.open_sync("rb") as opened:
        while piece := opened.read(PIECE):
            size += len(piece)
    return size


@pool.task
def write_frame(size: int, round_: int) -> DataFrame:
    """Return a table, which is thereby stored."""
    return DataFrame.from_df(table_of(size))


@pool.task
def read_frame(table: pa.Table) -> int:
    """Take a table, which is thereby read."""
    return int(table.num_rows)


@pool.task
def bare_file(size: int) -> float:
    """Seconds of writing and reading the same bytes in the same process by obstore."""
    import obstore
    from obstore.store import LocalStore

    piece = os.urandom(PIECE)
    with tempfile.TemporaryDirectory() as directory:
        began = settled()
        store = LocalStore(directory)
        with obstore.open_writer(store, "data.bin", buffer_size=PIECE) as writer:
            for _ in range(size // PIECE):
                writer.write(piece)
        found = sum(len(part) for part in obstore.get(store, "data.bin").stream(min_chunk_size=PIECE))
        elapsed = time.perf_counter() - began
    if found != size:
        raise AssertionError("bytes are missing")
    return elapsed


@pool.task
def bare_frame(size: int) -> float:
    """Seconds of writing and reading the same table in the same process by pyarrow."""
    import pyarrow.parquet as pq

    table = table_of(size)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "table.parquet"
        began = settled()
        pq.write_table(table, path)
        rows = pq.read_table(path).num_rows
        elapsed = time.perf_counter() - began
    if rows != table.num_rows:
        raise AssertionError("rows are missing")
    return elapsed


def settled() -> float:
    """Return the time once nothing of before waits for the disk."""
    os.sync()
    return time.perf_counter()


async def passed_file(size: int, round_: int) -> float:
    """Return the seconds of passing a file."""
    began = settled()
    if await read_file.aio(await write_file.aio(size, round_)) != size:
        raise AssertionError("bytes are missing")
    return time.perf_counter() - began


async def passed_frame(size: int, round_: int) -> float:
    """Return the seconds of passing a table."""
    began = settled()
    await read_frame.aio(await write_frame.aio(size, round_))
    return time.perf_counter() - began


@driver.task
async def passing(size: int, rounds: int) -> list[list[float]]:
    """Seconds of passing a file and a table between two tasks, and of the same work bare, by round.

    Who is first takes turns.
    """
    await bare_frame.aio(size)
    found: list[list[float]] = []
    for round_ in range(rounds):
        if round_ % 2:
            file, frame = await passed_file(size, round_), await passed_frame(size, round_)
            found.append([file, await bare_file.aio(size), frame, await bare_frame.aio(size)])
        else:
            plain_file, plain_frame = await bare_file.aio(size), await bare_frame.aio(size)
            found.append(
                [await passed_file(size, round_), plain_file, await passed_frame(size, round_), plain_frame]
            )
    return found

"""One small program per capability, as somebody writes them who knows the documented API and not this platform.

Run by `test_capabilities.py` in local mode, on processes and in containers: `everything` returns what each one found.
"""

from __future__ import annotations

import asyncio
import datetime
import enum
import os
import pathlib
import tempfile
import time
import typing
import uuid
from dataclasses import dataclass, field

from pydantic import BaseModel

import flyte
import flyte.errors
import flyte.io
import flyte.report

light = flyte.TaskEnvironment(
    name="light", limits=flyte.Resources(cpu="500m", mem="256Mi"), env_vars={"COLOR": "blue"}
)
heavy = flyte.TaskEnvironment(name="heavy", resources=flyte.Resources(cpu=1, memory="512Mi"))
warm = flyte.TaskEnvironment(
    name="warm",
    resources=flyte.Resources(cpu="500m", memory="300Mi"),
    reusable=flyte.ReusePolicy(replicas=1, concurrency=4, idle_ttl=60),
)
env = flyte.TaskEnvironment(
    name="capabilities",
    resources=flyte.Resources(cpu="500m", memory="400Mi"),
    depends_on=[light, heavy, warm],
)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Request:
    name: str
    weight: float = 1.0


@dataclass
class Batch:
    batch_id: str
    requests: list[Request] = field(default_factory=list)
    attachment: flyte.io.File | None = None


class Summary(BaseModel):
    total: float
    names: list[str]
    when: datetime.datetime


# -- types


@light.task
def summarize(
    batch: Batch, color: Color = Color.RED, mode: typing.Literal["fast", "slow"] = "fast"
) -> Summary:
    """Take a dataclass and return a model."""
    assert color is Color.BLUE
    assert mode == "slow"
    total = sum(each.weight for each in batch.requests)
    names = [each.name for each in batch.requests]
    return Summary(total=total, names=names, when=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))


@light.task
def split(text: str) -> tuple[int, str]:
    """Return two values."""
    return len(text), text.upper()


@light.task
def color_of_environment() -> str:
    """Read an environment variable."""
    return os.environ["COLOR"]


# -- files


@light.task
async def write_file(text: str) -> flyte.io.File:
    """Upload a local file."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "notes.txt"
        path.write_text(text)
        return await flyte.io.File.from_local(str(path))


@heavy.task
async def read_file(file: flyte.io.File) -> str:
    """Stream a file."""
    async with file.open("rb") as handle:
        return bytes(await handle.read()).decode()


@light.task
def write_dir(count: int) -> flyte.io.Dir:
    """Upload a folder."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            path = pathlib.Path(folder) / f"part-{number}" / "value.txt"
            path.parent.mkdir()
            path.write_text(str(number))
        return flyte.io.Dir.from_local_sync(folder)


@heavy.task
async def sum_dir(folder: flyte.io.Dir) -> int:
    """Walk through a folder, and download it."""
    found = [file.name async for file in folder.walk(recursive=True)]
    local = pathlib.Path(await folder.download())
    values = [int(path.read_text()) for path in local.rglob("value.txt")]
    assert len(found) == len(values)
    return sum(values)


@heavy.task
def attach(batch: Batch) -> str:
    """Read a file that stands in a structure."""
    assert batch.attachment is not None
    with batch.attachment.open_sync("rb") as handle:
        return bytes(handle.read()).decode()


# -- fan-out, groups, overrides


@warm.task
async def square(x: int) -> int:
    """One of many."""
    return x * x


@light.task
def double(x: int, offset: int = 0) -> int:
    """A sync one of many."""
    return 2 * x + offset


@light.task
def factorial(n: int) -> int:
    """Call itself."""
    return 1 if n <= 1 else n * factorial(n - 1)


@light.task
def apply(function: typing.Callable[[int], int], x: int) -> int:
    """Take a function as a value."""
    return function(x)


# -- durability


@light.task(cache="auto")
def cached_id(topic: str) -> str:
    """Differ in every execution."""
    return f"{topic}-{uuid.uuid4()}"


@light.task(retries=3)
def third_time() -> int:
    """Succeed in the third attempt."""
    context = flyte.ctx()
    assert context is not None
    assert context.run_base_dir
    assert context.output_path.startswith(context.run_base_dir + "/")
    if context.attempt_number < 2:
        raise ValueError("not yet")
    return context.attempt_number


@light.task(timeout=1)
async def too_slow() -> None:
    """Take longer than it may."""
    await asyncio.sleep(60)


@light.task
def broken(message: str) -> None:
    """Raise."""
    raise KeyError(message)


@light.task(retries=5)
def hopeless() -> None:
    """Fail for good."""
    raise flyte.errors.NonRecoverableError("there is no point")


@flyte.trace
async def search(query: str) -> list[str]:
    """A step that is recorded."""
    return [f"{query}-{uuid.uuid4().hex[:4]}"]


@flyte.trace
def count_up(limit: int) -> typing.Iterator[int]:
    """A recorded stream."""
    yield from range(limit)


@light.task(retries=1)
async def traced(query: str) -> list[str]:
    """Fail once behind a recorded step, and see its result again."""
    found = await search(query)
    assert list(count_up(3)) == [0, 1, 2]
    moment = await flyte.durable.now.aio()
    await flyte.durable.sleep.aio(0.05)
    context = flyte.ctx()
    assert context is not None
    checkpoint = context.checkpoint
    before = await checkpoint.load()
    if context.attempt_number == 0:
        assert before is None
        await checkpoint.save(f"{found[0]} {moment.isoformat()}".encode())
        raise RuntimeError("the first attempt always fails")
    assert before is not None
    return [*bytes(before).decode().split(), found[0], moment.isoformat()]


# -- context, reports


@light.task
def tenant() -> str:
    """Tell what was passed down."""
    return flyte.get_custom_context().get("tenant", "nobody")


@light.task(report=True)
async def reported() -> int:
    """Write a report with two tabs."""
    flyte.report.log("<h1>main</h1>")
    flyte.report.get_tab("details").replace("<p>more</p>")
    await flyte.report.flush.aio()
    return 1


# -- all of it


async def _types() -> dict[str, typing.Any]:
    batch = Batch("b1", [Request("x", 1.5), Request("y", 2.5)], attachment=await write_file("in a structure"))
    summary = await summarize.aio(batch, color=Color.BLUE, mode="slow")
    return {
        "summary": (summary.total, summary.names, summary.when.year),
        "two": await split.aio("abc"),
        "color": await color_of_environment.aio(),
        "overridden color": await color_of_environment.override(env_vars={"COLOR": "green"}).aio(),
        "file": await read_file(await write_file("hello")),
        "folder": await sum_dir(await write_dir.aio(5)),
        "attached": await attach.aio(batch),
    }


async def _fan_out() -> dict[str, typing.Any]:
    with flyte.group("squares"):
        squares = await asyncio.gather(*[square(x) for x in range(6)])
    mapped = [value async for value in flyte.map.aio(double, range(4))]
    first = await asyncio.wait_for(next(iter(asyncio.as_completed([square(11)]))), 60)
    return {
        "squares": squares,
        "map": mapped,
        "first": first,
        "factorial": await factorial.aio(4),
        "function": await apply.aio(lambda x: x + 100, 1),
        "forward": await square.forward(9),
    }


async def _failures() -> dict[str, typing.Any]:
    found: dict[str, typing.Any] = {"retried": await third_time.aio()}
    for name, call in (("user", broken.aio("k")), ("hopeless", hopeless.aio())):
        try:
            await call
        except flyte.errors.RuntimeUserError as error:
            found[name] = error.code
    try:
        await too_slow()
    except flyte.errors.TaskTimeoutError as error:
        found["slow"] = type(error).__name__
    return found


async def _durability() -> dict[str, typing.Any]:
    topic = uuid.uuid4().hex
    once, again = await cached_id.aio(topic), await cached_id.aio(topic)
    kept, moment, found, later = await traced("q")
    with flyte.custom_context(tenant="blue"):
        inner = await tenant.aio()
    return {
        "cached": once == again,
        "traced": kept == found and moment == later,
        "outer tenant": await tenant.aio(),
        "inner tenant": inner,
        "reported": await reported(),
    }


@env.task
async def everything() -> dict[str, typing.Any]:
    """Run all of it; what each one found."""
    parts = await asyncio.gather(_types(), _fan_out(), _failures(), _durability())
    return {name: value for part in parts for name, value in part.items()}


EXPECTED: dict[str, typing.Any] = {
    "summary": (4.0, ["x", "y"], 2026),
    "two": (3, "ABC"),
    "color": "blue",
    "overridden color": "green",
    "file": "hello",
    "folder": 10,
    "attached": "in a structure",
    "squares": [0, 1, 4, 9, 16, 25],
    "map": [0, 2, 4, 6],
    "first": 121,
    "factorial": 24,
    "function": 101,
    "forward": 81,
    "retried": 2,
    "user": "KeyError",
    "hopeless": "NonRecoverableError",
    "slow": "TaskTimeoutError",
    "cached": True,
    "traced": True,
    "outer tenant": "red",
    "inner tenant": "blue",
    "reported": 1,
}


if __name__ == "__main__":
    mode = os.environ.get("RUN_MODE", "local")
    if mode == "remote":
        flyte.init_from_config()
    began = time.monotonic()
    run = flyte.with_runcontext(mode=mode, custom_context={"tenant": "red"}).run(everything)
    got = run.result()
    wrong = {name: (got.get(name), value) for name, value in EXPECTED.items() if got.get(name) != value}
    assert not wrong, wrong
    print(f"all {len(EXPECTED)} as expected in {time.monotonic() - began:.1f} s")

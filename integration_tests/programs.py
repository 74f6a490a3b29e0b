# ruff: noqa: D103 - names say what the programs do; tracebacks of them are compared
"""Programs that have to end the same in local mode and on a backend. Copied into a workspace as it is."""

import asyncio
import functools
import sys
import time
from dataclasses import dataclass

import flyte

SMALL = flyte.Resources(cpu="100m", memory="200Mi")
env = flyte.TaskEnvironment(name="programs", resources=SMALL)
kept = flyte.TaskEnvironment(
    name="kept", resources=SMALL, cache=flyte.Cache("override", version_override="1", serialize=True)
)
main = flyte.TaskEnvironment(name="main", resources=SMALL, depends_on=[env, kept])


@dataclass
class Point:
    """A structure."""

    x: int
    names: dict[str, tuple[int, ...]]


class OwnError(Exception):
    """A class of the user's."""


# -- what the programs call ---------------------------------------------------------------------------------------


@env.task
async def double(x: int) -> int:
    return 2 * x


@env.task
def double_sync(x: int) -> int:
    return 2 * x


@env.task(retries=2)
async def third_time(x: int) -> int:
    if flyte.ctx().attempt_number < 2:
        raise ValueError(f"attempt {flyte.ctx().attempt_number}")
    return x


def deeper(text: str) -> None:
    try:
        raise KeyError("first")
    except KeyError as error:
        raise OwnError(text) from error


@env.task(retries=1)
async def fails(text: str) -> int:
    deeper(text)
    return 1


@env.task(retries=3)
async def hopeless(x: int) -> int:
    raise flyte.errors.NonRecoverableError(f"{x} cannot help")


@env.task
def out_of_memory(x: int) -> int:
    raise MemoryError("more than there is")


@env.task
def leaves(x: int) -> int:
    sys.exit(x)


@env.task(timeout=0.3)
async def slow(x: int) -> int:
    await asyncio.sleep(600)
    return x


@env.task(timeout=0.3)
def slow_sync(x: int) -> int:
    while True:
        time.sleep(0.01)


@env.task
async def wrong_type(x: int) -> int:
    return "text"  # type: ignore[return-value]


@env.task
async def sleeps(x: int) -> int:
    await asyncio.sleep(600)
    return x


@env.task
async def measures(text: str) -> int:
    return len(text)


@env.task
async def calls_failing(x: int) -> int:
    return await fails(f"child of {x}")


@env.task
async def fails_the_first_time(attempt: int) -> int:
    if attempt == 0:
        raise OwnError("once")
    return attempt


@kept.task
async def remembered(x: int) -> int:
    return x


# -- the programs -------------------------------------------------------------------------------------------------


@main.task
def chain(x: int = 5) -> int:
    return double_sync(double_sync(x))


@main.task
async def fan(n: int = 4) -> list[int]:
    with flyte.group("outer"):
        first = await asyncio.gather(*[double(i) for i in range(n)])
        with flyte.group("inner"):
            second = await asyncio.gather(*[double.aio(i) for i in range(2)], double_sync.aio(1))
    return [*first, *second]


@main.task
async def retries() -> int:
    return await third_time(3)


@main.task
async def structures() -> tuple[Point, str]:
    return Point(1, {"a": (1, 2)}), "text"


@main.task
async def uncaught() -> int:
    return await calls_failing(1)


@main.task
def uncaught_sync() -> int:
    return leaves(3)


@main.task(retries=1)
async def retried_parent() -> list[int]:
    attempt = flyte.ctx().attempt_number
    first = await double(21)
    second = await fails_the_first_time(attempt)
    return [first, second]


@main.task(retries=1)
async def retried_with_a_failing_child() -> int:
    await double(1)
    return await fails("again")


async def seen(call) -> list[str]:
    try:
        return ["returned", str(await call)]
    except flyte.errors.BaseRuntimeError as error:
        return [type(error).__name__, error.code, error.kind]


@main.task
async def catches() -> list[list[str]]:
    calls = [
        fails("x"),
        hopeless(1),
        out_of_memory.aio(1),
        leaves.aio(3),
        slow(1),
        slow_sync.aio(1),
        wrong_type(1),
    ]
    return [await seen(call) for call in calls]


@main.task
async def refuses() -> list[list[str]]:
    short = measures.override(max_inline_io_bytes=10)
    return [await seen(short("x" * 100)), await seen(measures(3))]


@main.task
async def caches() -> list[int]:
    same = await asyncio.gather(*[remembered(1) for _ in range(3)])
    return [*same, await remembered(1), await remembered(2)]


@main.task
async def cancels() -> str:
    call = asyncio.create_task(sleeps(1))
    done, _ = await asyncio.wait({call}, timeout=1)
    assert not done
    call.cancel()
    try:
        await call
    except asyncio.CancelledError:
        return "cancelled"
    return "not cancelled"


@main.task
async def leaves_a_child_running() -> str:
    call = asyncio.create_task(sleeps(1))
    await asyncio.sleep(0.5)
    return f"done before: {call.done()}"


@main.task
async def maps() -> list[str]:
    results = [result async for result in flyte.map.aio(fails_the_first_time, [0, 1, 2])]
    more = [result async for result in flyte.map.aio(functools.partial(double), range(3), group_name="more")]
    return [getattr(result, "code", str(result)) for result in [*results, *more]]


@main.task
async def countdown(n: int = 3) -> int:
    return 0 if n == 0 else 1 + await countdown(n - 1)


@main.task(timeout=0.5)
async def too_slow() -> int:
    await asyncio.sleep(600)
    return 1


@flyte.trace
async def step(x: int) -> int:
    return 3 * x


@flyte.trace
async def broken_step(x: int) -> int:
    raise OwnError(f"step {x}")


@main.task
async def traces() -> list[str]:
    found = [str(await step(x)) for x in (1, 2)]
    try:
        await broken_step(3)
    except OwnError as error:
        found.append(str(error))
    return found


@env.task(retries=flyte.RetryStrategy(2, flyte.Backoff(0.1)))
async def never(x: int) -> int:
    raise OwnError("always")


@main.task
async def backoff() -> list[str]:
    return await seen(never(1))


@main.task
async def aborted() -> int:
    return await sleeps(7)


PROGRAMS = [
    chain,
    fan,
    retries,
    structures,
    uncaught,
    uncaught_sync,
    retried_parent,
    retried_with_a_failing_child,
    catches,
    refuses,
    caches,
    cancels,
    leaves_a_child_running,
    maps,
    countdown,
    too_slow,
    traces,
    backoff,
    aborted,
]

"""What type checkers make of tasks. Ignored lines are wrong on purpose: unused ignores fail."""

import asyncio
import functools
from collections.abc import Coroutine
from typing import Any, assert_type

import flyte

env = flyte.TaskEnvironment("typing")


@env.task
def add(x: int, y: int = 1) -> int:
    """Blocks."""
    return x + y


@env.task(retries=2, timeout=30)
async def name(x: int) -> str:
    """Is awaited."""
    return str(x)


def plain_calls() -> None:
    """Calls have the function's types."""
    assert_type(add(1, y=2), int)
    call: Coroutine[Any, Any, str] = name(1)
    assert_type(asyncio.run(call), str)
    assert_type(asyncio.run(add.aio(1)), int)
    assert_type(asyncio.run(name.aio(1)), str)
    assert_type(add.forward(1), int)
    assert_type(add.override(retries=3)(1), int)


async def awaited_calls() -> None:
    """Fan-outs have the types of their parts."""
    assert_type(await name(1), str)
    assert_type(await asyncio.gather(name(1), name(2)), tuple[str, str])
    assert_type(await asyncio.gather(*[name(x) for x in range(3)]), list[str])
    assert_type(await asyncio.gather(*[add.aio(x) for x in range(3)]), list[int])
    assert_type(await asyncio.gather(name(1), add.aio(2)), tuple[str, int])


async def mapped_calls() -> None:
    """Results of `flyte.map` have the type of the task's result, beside what it raised."""
    assert_type(list(flyte.map(name, [1])), list[str | Exception])
    assert_type(list(flyte.map(add, [1])), list[int | Exception])
    assert_type([x async for x in flyte.map.aio(name, [1])], list[str | Exception])
    assert_type(list(flyte.map(functools.partial(add, y=2), [1])), list[int | Exception])
    assert_type(list(flyte.map(functools.partial(name), [1])), list[str | Exception])


def wrong_calls() -> None:
    """Wrong arguments are found before anything runs."""
    add("one")  # type: ignore[arg-type]
    add()  # type: ignore[call-arg]
    add(1, z=2)  # type: ignore[call-arg]
    add.override(retries="3")  # type: ignore[arg-type]
    add.override(resources="big")  # type: ignore[arg-type]
    asyncio.run(name.aio("one"))  # type: ignore[call-overload]


def wrong_declarations() -> None:
    """Wrong settings too."""
    flyte.TaskEnvironment(3)  # type: ignore[arg-type]
    flyte.TaskEnvironment("e", resources="big")  # type: ignore[arg-type]
    flyte.TaskEnvironment("e", colour="red")  # type: ignore[call-arg]
    flyte.Resources(cpu=[1])  # type: ignore[arg-type]
    flyte.ReusePolicy(replicas="2")  # type: ignore[arg-type]
    env.task(retries="2")  # type: ignore[call-overload]

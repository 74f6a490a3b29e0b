"""The tasks that Hangar is measured with."""

import asyncio
import time

import flyte
from benchmarks.protocol import Plan

PLAN = Plan()
SMALL = flyte.Resources(cpu=1, memory="128Mi")  # the peers have no limit; less would be enforced

pool = flyte.TaskEnvironment(
    name="bench_pool",
    resources=SMALL,
    reusable=flyte.ReusePolicy(replicas=PLAN.workers, concurrency=PLAN.concurrency, idle_ttl=300),
)
cold = flyte.TaskEnvironment(name="bench_cold", resources=SMALL)
driver = flyte.TaskEnvironment(name="bench", resources=SMALL, depends_on=[pool, cold])


@pool.task
async def noop(value: int) -> int:
    """A warm call."""
    return value


@cold.task
async def fresh(value: int) -> int:
    """A call that gets a process of its own."""
    return value


@pool.task(cache="auto")
async def kept(value: int) -> int:
    """A warm call whose result is kept."""
    return value


CALLS = {"warm": noop, "cold": fresh, "cached": kept}


@driver.task
async def sequential(kind: str, calls: int) -> list[float]:
    """One call after the other, from inside a task: seconds of each."""
    seconds = []
    for number in range(calls):
        started = time.perf_counter()
        await CALLS[kind](number)
        seconds.append(time.perf_counter() - started)
    return seconds


@driver.task
async def fan_out(kind: str, width: int) -> float:
    """All calls at once, from inside a task: seconds until the last result."""
    started = time.perf_counter()
    results = await asyncio.gather(*(CALLS[kind](number) for number in range(width)))
    elapsed = time.perf_counter() - started
    if results != list(range(width)):
        raise AssertionError("results are missing or out of order")
    return elapsed

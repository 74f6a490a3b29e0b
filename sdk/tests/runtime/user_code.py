"""The module that workers of these tests run, as text: it is imported in workers only."""

TASKS = """
import asyncio
import contextvars
import ctypes
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import flyte
import flyte.errors

env = flyte.TaskEnvironment(name="env")
background = set()
calls = {"count": 0}

print("module is imported")


@dataclass
class Point:
    x: int
    y: int


@env.task
async def add(x: int, y: int = 1) -> int:
    return x + y


@env.task
def add_sync(x: int, y: int = 1) -> int:
    return x + y


@env.task
async def refuse_threads() -> None:
    threading.stack_size(1 << 46)  # more than the kernel can map


@env.task
async def allow_threads() -> None:
    threading.stack_size(0)


@env.task
async def in_thread(x: int) -> int:
    return await asyncio.to_thread(lambda: x + 1)


@env.task
async def one(x: int) -> int:
    return x


@env.task
def sync_child(x: int) -> int:
    return x


@env.task
def points(at: Point) -> tuple[Point, str]:
    return Point(at.y, at.x), "swapped"


@env.task
def count_calls() -> int:
    calls["count"] += 1
    return calls["count"]


@env.task
async def fail(message: str) -> int:
    raise ValueError(message)


@env.task
def fail_sync(message: str) -> int:
    try:
        {}["key"]
    except KeyError as error:
        raise ValueError(message) from error


@env.task
async def give_up() -> None:
    raise flyte.errors.NonRecoverableError("no use")


@env.task
def no_memory() -> None:
    raise MemoryError("too much")


@env.task
async def leave(code: int) -> None:
    sys.exit(code)


@env.task
async def end_process_after_child() -> None:
    await one(1)
    os._exit(9)


@env.task
def interrupt() -> None:
    raise KeyboardInterrupt


@env.task
async def leave_in_subtask() -> str:
    async def inner():
        sys.exit(3)

    try:
        await asyncio.create_task(inner())
    except SystemExit as error:
        return f"caught {error.code}"
    return "nothing"


@env.task
async def wrong_type() -> int:
    return "three"


@env.task
async def large(size: int) -> str:
    return "x" * size


@env.task
async def describe() -> dict[str, str]:
    context = flyte.ctx()
    return {
        "action": context.action.name,
        "run": context.action.run_name,
        "project": context.action.project,
        "attempt": str(context.attempt_number),
        "mode": context.mode,
        "version": context.version,
        "variable": os.environ.get("FLYTE_ATTEMPT_NUMBER", ""),
        "traceparent": os.environ.get("TRACEPARENT", ""),
        "A": os.environ.get("A", ""),
    }


@env.task
async def main_name() -> str:
    return Point.__module__ + " " + str(sys.modules["__main__"] is sys.modules["tasks"])


@env.task
def write_here(name: str) -> str:
    with open(name, "w") as file:
        file.write("x")
    return open("data.txt").read()


# -- children ---------------------------------------------------------------------------------------------


@env.task
async def chain(x: int) -> int:
    return await one(await one(x))


@env.task
def chain_sync(x: int) -> int:
    return sync_child(sync_child(x))


@env.task
async def fan(count: int) -> int:
    return sum(await asyncio.gather(*[one(i) for i in range(count)]))


@env.task
async def same_twice() -> list[int]:
    with flyte.group("g"):
        third = await one(5)
    return [await one(5), await one(5), third]


@env.task
async def catch(x: int) -> str:
    try:
        await one(x)
    except BaseException as error:
        return f"{type(error).__name__}|{getattr(error, 'code', '')}|{error}"
    return "nothing"


@env.task
async def uncaught(x: int) -> int:
    return await one(x)


@env.task
async def cancel_child() -> str:
    task = asyncio.create_task(one(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return "cancelled"
    return "not cancelled"


@env.task
async def too_large_for_child() -> str:
    try:
        await one.override(max_inline_io_bytes=10)(10**30)
    except flyte.errors.InlineIOMaxBytesBreached as error:
        return str(error)
    return "nothing"


@env.task
async def sync_in_async(x: int) -> int:
    return sync_child(x)


@env.task
async def aio(x: int) -> int:
    return sum(await asyncio.gather(sync_child.aio(x), sync_child.aio(x + 1)))


@env.task
def own_loop(x: int) -> int:
    async def both():
        return sum(await asyncio.gather(one(x), one(x + 1)))

    return asyncio.run(both())


@env.task
def threads(x: int) -> int:
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(sync_child, [x, x + 1]))


@env.task
async def forgets() -> str:
    background.add(asyncio.create_task(one(7)))
    await asyncio.sleep(0)
    return "done"


# -- progress ---------------------------------------------------------------------------------------------


@env.task
def counts(total: int) -> int:
    for done in range(total):
        flyte.progress(done + 1, total, "counting")
    return total


@env.task
async def waits_with_progress() -> int:
    flyte.progress(1)
    flyte.progress(2, message="waiting")
    return await one(1)


# -- parking ----------------------------------------------------------------------------------------------


@env.task
async def with_semaphore(count: int) -> int:
    semaphore = asyncio.Semaphore(2)

    async def limited(i):
        async with semaphore:
            return await one(i)

    return sum(await asyncio.gather(*[limited(i) for i in range(count)]))


@env.task
async def with_timer() -> int:
    ticking = asyncio.create_task(asyncio.sleep(3600))
    try:
        return await one(1)
    finally:
        ticking.cancel()


@env.task
async def with_thread() -> int:
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        return await one(1)
    finally:
        release.set()
        thread.join()


@env.task
async def with_thread_in_pool() -> int:
    release = threading.Event()
    working = asyncio.create_task(asyncio.to_thread(release.wait))
    await asyncio.sleep(0)
    try:
        result = await one(1)
    finally:
        release.set()
    await working
    return result + await one(2)


@env.task
async def as_completed(count: int) -> int:
    total = 0
    for future in asyncio.as_completed([one(i) for i in range(count)]):
        total += await future
    return total


# -- kills ------------------------------------------------------------------------------------------------


@env.task
async def wait_for_ever() -> str:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        print("cancelled")
        raise
    return "woke up"


@env.task
def loop_for_ever() -> None:
    print("looping", flush=True)
    while True:
        time.sleep(0.001)


@env.task
def wait_for_child(x: int) -> int:
    return sync_child(x)


# -- output -----------------------------------------------------------------------------------------------


@env.task
def say(text: str) -> None:
    print(text)
    print(text + " to stderr", file=sys.stderr)
    subprocess.run(["echo", text + " from a subprocess"], check=True)
    os.write(1, (text + " by descriptor").encode())


@env.task
async def say_and_wait(text: str) -> int:
    print(text, "before")
    result = await one(1)
    print(text, "after")
    return result


@env.task
def say_in_thread(text: str) -> None:
    thread = threading.Thread(target=print, args=(text,))
    thread.start()
    thread.join()


@env.task
def say_half(text: str) -> None:
    sys.stdout.write(text)


@env.task
def say_bytes() -> None:
    sys.stdout.buffer.write(b"bytes\\n")
    sys.stdout.buffer.flush()


@env.task
def die(code: int) -> None:
    print("last words")
    os._exit(code)


# -- processes --------------------------------------------------------------------------------------------


@env.task
def eat(megabytes: int) -> int:
    pieces = [bytearray(os.urandom(1024)) * 1024 for _ in range(megabytes)]
    return len(pieces)


@env.task
def daemon() -> int:
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
            os._exit(0)
        os.write(writer, str(pid).encode())
        os._exit(0)
    os.wait()
    return int(os.read(reader, 100))
"""

THREADED = """
import threading
import flyte
from tasks import one

env = flyte.TaskEnvironment(name="threaded")
threading.Thread(target=threading.Event().wait, daemon=True).start()


@env.task
async def chain(x: int) -> int:
    return await one(await one(x))
"""

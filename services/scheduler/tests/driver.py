"""Measures the scheduler alone: ``python -m services.scheduler.tests.driver 10000``.

One run with a parent that asks for so many no-op children in one pool; a fake executor in a process of its
own completes everything at once, over a real session; SQLite with full sync, or another database:
``--database postgresql://…``, one that is empty.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import multiprocessing
import pstats
import resource
import tempfile
import threading
import time
from pathlib import Path

from hangar.scheduler.v1 import scheduler_service_pb2 as messages
from hangar.scheduler.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from services.common.channel import connect
from services.common.serve import build_server
from services.scheduler.app import SchedulerApp
from services.scheduler.settings import Settings
from services.scheduler.tests.fake_executor import FakeExecutor, document, make_spec


def drive(port: int, count: int, done: multiprocessing.Queue[float]) -> None:
    """Creates the run and carries it out, in a process of its own."""

    async def go() -> None:
        channel = connect(f"127.0.0.1:{port}")
        executor = FakeExecutor(channel, fan_out=count)
        await executor.connect()
        stub = SchedulerServiceStub(channel)
        request = messages.CreateRunRequest(task=make_spec("env.root"), inputs=document())
        request.run.project, request.run.domain, request.run.name = "default", "development", "bench"
        started = time.perf_counter()
        await stub.CreateRun(request)
        async with asyncio.timeout(300):
            while len(executor.acknowledged) < count + 1:
                await executor.next_frame.wait()
        done.put(time.perf_counter() - started)
        await executor.disconnect()
        await channel.close()

    asyncio.run(go())


async def serve(count: int, profile: bool, database: str) -> None:
    """Serves until the run has ended, and prints what it took."""
    with tempfile.TemporaryDirectory() as directory:
        app = SchedulerApp(Settings.load(data_dir=Path(directory), database=database))
        server = build_server(app.registrations)
        port = server.bind("127.0.0.1", 0)
        await app.start()
        await server.start()
        context = multiprocessing.get_context("spawn")
        done: multiprocessing.Queue[float] = context.Queue()
        process = context.Process(target=drive, args=(port, count, done))
        process.start()
        profiler = cProfile.Profile()
        before = resource.getrusage(resource.RUSAGE_SELF)
        main_before, shell = time.thread_time(), app.running.shell
        if profile:
            profiler.enable()
        seconds = await asyncio.to_thread(done.get, True, 300)
        if profile:
            profiler.disable()
        main = time.thread_time() - main_before
        after = resource.getrusage(resource.RUSAGE_SELF)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{count} actions in {seconds:.2f} s: {count / seconds:.0f} durable actions/s")
        print(f"CPU {used:.2f} s ({count / used:.0f} actions per CPU second), loop {main:.2f} s")
        print(f"commits {shell.commits}, actions per commit {count / max(shell.commits, 1):.0f}")
        print(f"resident {after.ru_maxrss / 1024:.0f} MiB, threads {threading.active_count()}")
        await asyncio.to_thread(process.join)
        await server.stop(0)
        await app.stop()
        if profile:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=10_000)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--database", default="", help="URL of an empty database; default: a new SQLite file")
    given = parser.parse_args()
    asyncio.run(serve(given.count, given.profile, given.database))

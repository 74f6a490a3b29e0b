"""Temporal: its dev server on an SQLite file, and two worker processes; calls are activities of one workflow.

A cold call is an activity that starts an interpreter for its no-op, as there is no process per activity.
"""

import asyncio
import contextlib
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.processes import (
    accepts,
    first_line,
    free_port,
    import_time,
    resident,
    running,
    until,
    workspace,
)
from benchmarks.protocol import Plan, answer, latencies

QUEUE = "benchmark"
LIMIT = timedelta(minutes=10)
PENDING = (
    500  # calls that wait at once: far above what runs at once, and it gets slower and then refuses beyond
)


@activity.defn
async def noop(value: int) -> int:
    """A warm call."""
    return value


@activity.defn
async def fresh(value: int) -> int:
    """A call that gets a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"print({value})", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return int(output)


ACTIVITIES = {"warm": noop, "cold": fresh}


def call(kind: str, value: int) -> Any:
    """Start an activity from inside a workflow."""
    return workflow.execute_activity(ACTIVITIES[kind], value, start_to_close_timeout=LIMIT)


@workflow.defn(sandboxed=False)
class Sequential:
    """One call after the other."""

    @workflow.run
    async def run(self, kind: str, calls: int) -> list[float]:
        """Return the seconds of each call."""
        seconds = []
        for number in range(calls):
            started = time.perf_counter()
            await call(kind, number)
            seconds.append(time.perf_counter() - started)
        return seconds


@workflow.defn(sandboxed=False)
class FanOut:
    """All calls at once."""

    @workflow.run
    async def run(self, kind: str, width: int) -> float:
        """Return the seconds until the last result."""
        places = asyncio.Semaphore(PENDING)

        async def one(number: int) -> int:
            async with places:
                return int(await call(kind, number))

        started = time.perf_counter()
        results = await asyncio.gather(*(one(number) for number in range(width)))
        elapsed = time.perf_counter() - started
        assert results == list(range(width))
        return elapsed


def worker(client: Client, concurrency: int, *, workflows: bool) -> Worker:
    """Return a worker of activities, and of workflows when asked for."""
    return Worker(
        client,
        task_queue=QUEUE,
        workflows=[Sequential, FanOut] if workflows else [],
        activities=[noop, fresh],
        activity_executor=ThreadPoolExecutor(concurrency),
        max_concurrent_activities=concurrency,
        workflow_runner=UnsandboxedWorkflowRunner(),
        debug_mode=True,  # no limit on how long a workflow may compute: 10,000 results arrive at once
    )


def server(port: int, folder: Path) -> list[str]:
    """Return the command of the dev server."""
    program = Path(sys.executable).with_name("temporal")
    if not program.exists():
        found = shutil.which("temporal")
        if found is None:
            raise SystemExit("the program `temporal` is missing in this environment")
        program = Path(found)
    return [
        str(program), "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port),
        "--http-port", str(free_port()), "--metrics-port", str(free_port()), "--log-level", "error",
        "--db-filename", f"{folder}/temporal.db",
    ]  # fmt: skip


async def connect(port: int) -> Client:
    """Return a client as soon as the server answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            client = await Client.connect(f"127.0.0.1:{port}")
            async for _ in client.list_workflows("", limit=1):
                break
        except (RuntimeError, RPCError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.01)
        else:
            return client


async def execute(client: Client, kind: Any, *arguments: Any) -> Any:
    """Run a workflow to its end."""
    name = f"{kind.__name__}-{time.time_ns()}"
    return await client.execute_workflow(kind.run, args=arguments, id=name, task_queue=QUEUE)


async def first(port: int) -> None:
    """Print a line as soon as the first result is there; port 0 starts a server."""
    with contextlib.ExitStack() as stack:
        if own := port == 0:
            port = free_port()
            folder, log = stack.enter_context(workspace("temporal"))
            stack.enter_context(running(server(port, folder), log))
            until(lambda: accepts(port), "Temporal's dev server")
        client = await connect(port)
        async with worker(client, 1, workflows=True) if own else contextlib.nullcontext():
            await execute(client, Sequential, "warm", 1)
            print("done", flush=True)


async def measure(plan: Plan) -> None:
    """One round."""
    this = [sys.executable, "-m", "benchmarks.systems.temporal"]
    with workspace("temporal") as (folder, log), contextlib.ExitStack() as stack:
        numbers = {"import": import_time("temporalio.client, temporalio.worker")}
        numbers["first"] = first_line([*this, "first", "0"], {}, log)
        port = free_port()
        began = time.perf_counter()
        pid = stack.enter_context(running(server(port, folder), log))
        until(lambda: accepts(port), "Temporal's dev server")
        client = await connect(port)
        numbers["ready"] = time.perf_counter() - began
        numbers["memory_idle"] = resident(pid)
        for index in range(plan.workers):
            role = "workflows" if index == 0 else "activities"
            stack.enter_context(running([*this, "worker", f"{port} {plan.concurrency} {role}"], log))
        await execute(client, FanOut, "warm", 50)
        numbers["first_up"] = first_line([*this, "first", str(port)], {}, log)
        numbers |= latencies("call", await execute(client, Sequential, "warm", plan.calls))
        for width in plan.widths:
            numbers[f"fan_out_{width}"] = width / await execute(client, FanOut, "warm", width)
        numbers |= latencies("cold", await execute(client, Sequential, "cold", plan.cold_calls))
        numbers["cold_fan_out"] = plan.cold_width / await execute(client, FanOut, "cold", plan.cold_width)
        numbers["memory_after"] = resident(pid)
    answer(numbers)


async def serve(port: int, concurrency: int, role: str) -> None:
    """Be one worker process until ended."""
    await worker(await connect(port), concurrency, workflows=role == "workflows").run()


if __name__ == "__main__":
    command, argument = sys.argv[1:]
    if command == "first":
        asyncio.run(first(int(argument)))
    elif command == "worker":
        port, concurrency, role = argument.split()
        asyncio.run(serve(int(port), int(concurrency), role))
    else:
        asyncio.run(measure(Plan.from_json(argument)))

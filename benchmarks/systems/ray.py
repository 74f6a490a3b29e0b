"""Ray: its head node on this machine.

Warm calls go to two asynchronous actors, cold ones to tasks with `max_calls=1`.
"""

import sys
import time
from typing import Any

import ray

from benchmarks.processes import first_line, free_port, import_time, resident, running, until, workspace
from benchmarks.protocol import Plan, answer, latencies

WORKERS = ("ray::", "default_worker.py", "ray::IDLE")


class Worker:
    """A warm worker."""

    async def noop(self, value: int) -> int:
        """Return the value."""
        return value


@ray.remote(num_cpus=0.5, max_calls=1)
def fresh(value: int) -> int:
    """A call that gets a process of its own."""
    return value


@ray.remote(num_cpus=0)
def sequential_warm(workers: list[Any], calls: int) -> list[float]:
    """One call after the other, from inside a task."""
    seconds = []
    for number in range(calls):
        started = time.perf_counter()
        ray.get(workers[number % len(workers)].noop.remote(number))
        seconds.append(time.perf_counter() - started)
    return seconds


@ray.remote(num_cpus=0)
def fan_out_warm(workers: list[Any], width: int) -> float:
    """All calls at once, from inside a task."""
    started = time.perf_counter()
    results = ray.get([workers[number % len(workers)].noop.remote(number) for number in range(width)])
    elapsed = time.perf_counter() - started
    assert results == list(range(width))
    return elapsed


@ray.remote(num_cpus=0)
def sequential_cold(calls: int) -> list[float]:
    """One call after the other, a process each."""
    seconds = []
    for number in range(calls):
        started = time.perf_counter()
        ray.get(fresh.remote(number))
        seconds.append(time.perf_counter() - started)
    return seconds


@ray.remote(num_cpus=0)
def fan_out_cold(width: int) -> float:
    """All calls at once, a process each."""
    started = time.perf_counter()
    results = ray.get([fresh.remote(number) for number in range(width)])
    elapsed = time.perf_counter() - started
    assert results == list(range(width))
    return elapsed


@ray.remote(num_cpus=0)
def noop(value: int) -> int:
    """Return the value."""
    return value


def connect(address: str) -> None:
    """Join a cluster, or start one on this machine with the address `local`."""
    own = (
        {"num_cpus": 2, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        if address == "local"
        else {}
    )
    ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)


def first(address: str) -> None:
    """Print a line as soon as the first result is there."""
    connect(address)
    print(ray.get(noop.remote(1)), flush=True)
    ray.shutdown()


def measure(plan: Plan) -> None:
    """One round."""
    with workspace("ray") as (folder, log):
        this = [sys.executable, "-m", "benchmarks.systems.ray"]
        numbers = {
            "import": import_time("ray"),
            "first": first_line([*this, "first", "local"], {"RAY_TMPDIR": str(folder)}, log),
        }
        port = free_port()
        head = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"]
        head += [
            "--include-dashboard=false",
            "--node-ip-address=127.0.0.1",
            f"--port={port}",
            f"--temp-dir={folder}/ray",
        ]
        began = time.perf_counter()
        with running(head, log) as pid:
            until(lambda: connected(f"127.0.0.1:{port}"), "Ray's head node")
            numbers["ready"] = time.perf_counter() - began
            numbers["memory_idle"] = resident(pid, without=WORKERS)
            numbers["first_up"] = first_line([*this, "first", f"127.0.0.1:{port}"], {}, log)
            actor = ray.remote(num_cpus=0.5, max_concurrency=plan.concurrency)(Worker)
            workers = [actor.remote() for _ in range(plan.workers)]
            ray.get(fan_out_warm.remote(workers, 50))
            numbers |= latencies("call", ray.get(sequential_warm.remote(workers, plan.calls)))
            for width in plan.widths:
                numbers[f"fan_out_{width}"] = width / ray.get(fan_out_warm.remote(workers, width))
            ray.get(sequential_cold.remote(2))
            numbers |= latencies("cold", ray.get(sequential_cold.remote(plan.cold_calls)))
            numbers["cold_fan_out"] = plan.cold_width / ray.get(fan_out_cold.remote(plan.cold_width))
            numbers["memory_after"] = resident(pid, without=WORKERS)
            ray.shutdown()
    answer(numbers)


def connected(address: str) -> bool | None:
    """Return True once this process could join the cluster, None before."""
    try:
        connect(address)
    except (ConnectionError, RuntimeError, ValueError):
        return None
    return True


if __name__ == "__main__":
    command, argument = sys.argv[1:]
    if command == "first":
        first(argument)
    else:
        measure(Plan.from_json(argument))

"""Hangar: `hangar up` with SQLite (full sync) and the process engine, in an empty data directory."""

import json
import sys
import tempfile
import time
from pathlib import Path

import flyte
from benchmarks import tasks
from benchmarks.processes import first_line, import_time, resident, running, until
from benchmarks.protocol import Plan, answer, latencies

ROOT = Path(__file__).resolve().parents[2]
WORKERS = ("flyte._runtime",)


def backend_program(name: str) -> str:
    """Return the path of a command beside this interpreter."""
    return str(Path(sys.executable).with_name(name))


def address(data: Path) -> str | None:
    """Return where the backend in a data directory listens, None while it does not say."""
    try:
        return str(json.loads((data / "backend.json").read_text())["grpc"])
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def connect(endpoint: str) -> None:
    """Use a backend."""
    flyte.init(endpoint=endpoint, insecure=True, root_dir=ROOT)


def first(endpoint: str) -> None:
    """Print a line as soon as the first result is there."""
    connect(endpoint)
    print(flyte.run(tasks.noop, 1).result(), flush=True)


def measure(plan: Plan) -> None:
    """One round."""
    with tempfile.TemporaryDirectory(prefix="hangar") as folder:
        data, log = Path(folder, "data"), Path(folder, "log")
        environment = {"HANGAR_DATA_DIR": str(data)}
        this = [sys.executable, "-m", "benchmarks.systems.hangar"]
        numbers = {"import": import_time("flyte")}
        began = time.perf_counter()
        with running([backend_program("hangar"), "up"], log, environment) as pid:
            endpoint = until(lambda: address(data), f"hangar up (see {log})")
            numbers["ready"] = time.perf_counter() - began
            numbers["memory_idle"] = resident(pid, without=WORKERS)
            connect(endpoint)
            flyte.run(tasks.fan_out, "warm", 50).result()
            numbers["first_up"] = first_line([*this, "first", endpoint], environment, log)
            numbers |= latencies("call", flyte.run(tasks.sequential, "warm", plan.calls).result())
            for width in plan.widths:
                numbers[f"fan_out_{width}"] = width / flyte.run(tasks.fan_out, "warm", width).result()
            flyte.run(tasks.sequential, "cold", 2).result()
            numbers |= latencies("cold", flyte.run(tasks.sequential, "cold", plan.cold_calls).result())
            numbers["cold_fan_out"] = (
                plan.cold_width / flyte.run(tasks.fan_out, "cold", plan.cold_width).result()
            )
            numbers["memory_after"] = resident(pid, without=WORKERS)
    answer(numbers)


if __name__ == "__main__":
    command, argument = sys.argv[1:]
    if command == "first":
        first(argument)
    else:
        measure(Plan.from_json(argument))

"""Hangar: `hangar up` with SQLite (full sync) and the process engine, in an empty data directory."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import flyte
from benchmarks import tasks
from benchmarks.processes import first_line, import_time, resident, running, until, workspace
from benchmarks.protocol import Plan, answer, latencies

ROOT = Path(__file__).resolve().parents[2]
WORKERS = ("flyte._runtime",)
THIS = [sys.executable, "-m", "benchmarks.systems.hangar"]


def program(name: str) -> str:
    """Return the path of a command beside this interpreter."""
    return str(Path(sys.executable).with_name(name))


def first() -> None:
    """Print a line as soon as the first result is there; starts the backend when it does not run."""
    flyte.init(root_dir=ROOT)
    print(flyte.run(tasks.noop, 1).result(), flush=True)


def from_nothing(folder: Path, log: Path) -> float:
    """Return the seconds from starting a program until its first result, with no backend running before."""
    environment = {"HANGAR_DATA_DIR": str(folder / "first")}
    try:
        return first_line([*THIS, "first", ""], environment, log)
    finally:
        with log.open("ab") as output:
            stop = [program("flyte"), "stop"]
            # When nothing was started there is nothing to stop; the reason is in the log.
            subprocess.run(stop, env={**os.environ, **environment}, stdout=output, stderr=output, check=False)


def numbers_of(plan: Plan, clean: Callable[[Path], None] | None = None) -> dict[str, float]:
    """Return what one round measures, on the engine and the database that the environment names.

    Args:
        plan: How much is measured.
        clean: Removes what an engine still holds for a data directory whose backend has ended.
    """
    with workspace("hangar") as (folder, log), contextlib.ExitStack() as cleaning:
        if clean is not None:
            cleaning.callback(clean, folder / "first")
            cleaning.callback(clean, folder / "data")
        folder.chmod(0o755)  # workers in containers are nobody in particular
        numbers = {"import": import_time("flyte"), "first": from_nothing(folder, log)}
        data = folder / "data"
        os.environ["HANGAR_DATA_DIR"] = str(data)
        began = time.perf_counter()
        with running([program("hangar"), "up"], log) as pid:
            until(lambda: (data / "backend.json").exists() or None, "hangar up")
            numbers["ready"] = time.perf_counter() - began
            numbers["memory_idle"] = resident(pid, without=WORKERS)
            flyte.init(root_dir=ROOT)
            flyte.run(tasks.fan_out, "warm", 50).result()
            numbers["first_up"] = first_line([*THIS, "first", ""], {}, log)
            numbers |= latencies("call", flyte.run(tasks.sequential, "warm", plan.calls).result())
            flyte.run(tasks.sequential, "cached", plan.calls).result()
            hits = flyte.run(tasks.sequential, "cached", plan.calls).result()
            numbers["hit_p50"] = latencies("hit", hits)["hit_p50"]
            numbers["hit_to_call"] = numbers["hit_p50"] / numbers["call_p50"]
            for width in plan.widths:
                numbers[f"fan_out_{width}"] = width / flyte.run(tasks.fan_out, "warm", width).result()
            flyte.run(tasks.sequential, "cold", 2).result()
            numbers |= latencies("cold", flyte.run(tasks.sequential, "cold", plan.cold_calls).result())
            numbers["cold_fan_out"] = (
                plan.cold_width / flyte.run(tasks.fan_out, "cold", plan.cold_width).result()
            )
            numbers["memory_after"] = resident(pid, without=WORKERS)
    return numbers


def main(measure: Callable[[Plan], dict[str, float]]) -> None:
    """Do what the command line of a system's module asks for."""
    command, argument = sys.argv[1:]
    if command == "first":
        first()
    else:
        answer(measure(Plan.from_json(argument)))


if __name__ == "__main__":
    main(numbers_of)

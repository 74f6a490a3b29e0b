"""Hangar with the Docker engine, and next to it a bare `docker run` of the same image and the same code."""

import json
import os
import subprocess
import time
from pathlib import Path

import flyte
from benchmarks import tasks
from benchmarks.processes import running, until, workspace
from benchmarks.protocol import Plan, latencies
from benchmarks.systems.hangar import ROOT, main, numbers_of, program

CALL = "import asyncio, benchmarks.tasks; print(asyncio.run(benchmarks.tasks.fresh(1)))"
"""What an action of its own does, without a platform: starts Python, imports the task and calls it."""


def docker(*arguments: str) -> str:
    """Run a `docker` command and return what it printed."""
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


def worker_image(data: Path) -> tuple[str, str]:
    """Return image and network of a container of this backend that runs."""
    identity = (data / "executor" / "identity").read_text().strip()

    def look() -> str | None:
        found = docker("ps", "--quiet", "--filter", f"label=hangar.executor={identity}").split()
        return found[0] if found else None

    container = until(look, "a container of a reusable environment")
    description = json.loads(docker("inspect", container))[0]
    return str(description["Config"]["Image"]), str(description["HostConfig"]["NetworkMode"])


def prepare() -> tuple[str, str]:
    """Build the default image when the engine does not have it, before anything is timed. Returns image and network."""
    with workspace("hangar-image") as (folder, log):
        folder.chmod(0o755)  # workers in containers are nobody in particular
        data = folder / "data"
        try:
            with running([program("hangar"), "up"], log, {"HANGAR_DATA_DIR": str(data)}):
                file = data / "backend.json"
                until(lambda: file.exists() or None, "hangar up")
                flyte.init(endpoint=json.loads(file.read_text())["grpc"], insecure=True, root_dir=ROOT)
                flyte.run(tasks.fan_out, "warm", 1).result()
                return worker_image(data)
        finally:
            remove_containers(data)


def remove_containers(data: Path) -> None:
    """Remove the workers of a backend that has ended: they outlive it by design."""
    identity = (data / "executor" / "identity").read_text().strip()
    found = docker("ps", "--all", "--quiet", "--filter", f"label=hangar.executor={identity}").split()
    if found:
        docker("rm", "--force", "--volumes", *found)


def bare(image: str, network: str, calls: int) -> list[float]:
    """Return the seconds of each `docker run --rm` of the same image, with the same code, limits and network."""
    command = ["docker", "run", "--rm", "--network", network, "--cpus", "1", "--memory", "128m"]
    command += ["--volume", f"{ROOT}:/code:ro", "--workdir", "/code", image, "python3", "-c", CALL]
    seconds = []
    for _ in range(calls + 1):
        started = time.perf_counter()
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds.append(time.perf_counter() - started)
        if printed.strip() != "1":
            raise AssertionError(f"docker run printed {printed!r}")
    return seconds[1:]  # the first one reads files that the others find in memory


def measure(plan: Plan) -> dict[str, float]:
    """One round."""
    os.environ["HANGAR_EXECUTOR_ENGINE"] = "docker"
    image, network = prepare()
    before = latencies("bare", bare(image, network, plan.cold_calls))
    numbers = numbers_of(plan, remove_containers)
    after = latencies("bare", bare(image, network, plan.cold_calls))
    numbers |= {key: (before[key] + after[key]) / 2 for key in before}
    numbers["cold_to_bare"] = numbers["cold_p50"] / numbers["bare_p50"]
    return numbers


if __name__ == "__main__":
    main(measure)

"""Bulk data between two tasks on `hangar up`, next to the same work by plain obstore and pyarrow."""

import os
import statistics

import flyte
from benchmarks import data_tasks
from benchmarks.processes import running, until, workspace
from benchmarks.protocol import Plan
from benchmarks.systems.hangar import ROOT, main, program

_GIB = 1 << 30


def measure(plan: Plan) -> dict[str, float]:
    """One round: seconds for a GiB, and how many times as long as bare, each pair measured one after the other."""
    with workspace("data") as (folder, log):
        data = folder / "data"
        os.environ["HANGAR_DATA_DIR"] = str(data)
        with running([program("hangar"), "up"], log):
            until(lambda: (data / "backend.json").exists() or None, "hangar up")
            flyte.init(root_dir=ROOT)
            found = flyte.run(data_tasks.passing, plan.data_bytes, plan.data_rounds).result()
    numbers: dict[str, float] = {}
    for index, name in enumerate(("file", "frame")):
        passed = [each[2 * index] for each in found]
        bare = [each[2 * index + 1] for each in found]
        numbers[f"{name}_pass"] = statistics.median(passed) * _GIB / plan.data_bytes
        numbers[f"{name}_bare"] = statistics.median(bare) * _GIB / plan.data_bytes
        numbers[f"{name}_to_bare"] = statistics.median(
            ours / theirs for ours, theirs in zip(passed, bare, strict=True)
        )
    return numbers


if __name__ == "__main__":
    main(measure)

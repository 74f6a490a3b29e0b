"""What is measured, the same for every system. Standard library only: peers import it too."""

import json
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Plan:
    """How much is measured in one round.

    Warm calls go to `workers` processes that serve `concurrency` calls each at a time; a cold call gets a
    process of its own.
    """

    calls: int = 300
    widths: tuple[int, ...] = (1_000, 10_000)
    cold_calls: int = 30
    cold_width: int = 100
    concurrency: int = 8
    workers: int = 2
    data_bytes: int = 1 << 30
    data_rounds: int = 3
    image_rounds: int = 2

    def to_json(self) -> str:
        """Return the plan as an argument of a command."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "widths": tuple(values["widths"])})


QUICK = Plan(
    calls=50,
    widths=(200, 1_000),
    cold_calls=5,
    cold_width=20,
    data_bytes=1 << 27,
    data_rounds=1,
    image_rounds=1,
)


@dataclass(frozen=True)
class Measure:
    """One row of the table."""

    key: str
    title: str
    unit: str
    more_is_better: bool = False


IMAGES = {
    "anew": "everything anew",
    "cold": "all of the author's layers",
    "last": "last layer changed",
    "same": "nothing changed",
    "base_cold": "all layers on a base of his",
    "base_last": "last layer changed, on it",
}


def measures(plan: Plan) -> list[Measure]:
    """Return the rows of the table, in order."""
    return [
        Measure("import", "import of the client library", "ms"),
        Measure("ready", "backend started and ready", "s"),
        Measure("first", "process start to first result, nothing running", "s"),
        Measure("first_up", "process start to first result, backend running", "s"),
        Measure("call_p50", "sequential child call, warm, p50", "ms"),
        Measure("call_p99", "sequential child call, warm, p99", "ms"),
        Measure("hit_p50", "sequential child call, found in the cache, p50", "ms"),
        Measure("hit_to_call", "a cache hit, against a warm call", "times as long"),
        *(
            Measure(f"fan_out_{width}", f"fan-out of {width:,} no-ops, warm", "calls/s", more_is_better=True)
            for width in plan.widths
        ),
        Measure("cold_p50", "sequential child call, a process each, p50", "ms"),
        Measure("cold_p99", "sequential child call, a process each, p99", "ms"),
        Measure(
            "cold_fan_out",
            f"fan-out of {plan.cold_width:,} no-ops, a process each",
            "calls/s",
            more_is_better=True,
        ),
        Measure("bare_p50", "`docker run --rm` of the same image and code, p50", "ms"),
        Measure("cold_to_bare", "a container each, against that `docker run`", "times as long"),
        Measure("file_pass", "a file of 1 GiB from task to task", "s"),
        Measure("file_bare", "the same bytes by obstore: written, read", "s"),
        Measure("file_to_bare", "file, against that", "times as long"),
        Measure("frame_pass", "a data frame of 1 GiB from task to task", "s"),
        Measure("frame_bare", "the same frame by pyarrow: written, read", "s"),
        Measure("frame_to_bare", "data frame, against that", "times as long"),
        *(
            measure
            for key, title in IMAGES.items()
            for measure in (
                Measure(f"image_{key}", f"image, {title}", "s"),
                Measure(f"image_{key}_bare", "the same by `docker build`", "s"),
                Measure(f"image_{key}_to_bare", "image, against that", "times as long"),
            )
        ),
        Measure("environment", "Python environment of 20 packages, warm cache", "s"),
        Measure("memory_idle", "resident memory of the backend, idle", "MiB"),
        Measure("memory_after", "resident memory of the backend, after all calls", "MiB"),
    ]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def latencies(prefix: str, seconds: Sequence[float]) -> dict[str, float]:
    """Return p50 and p99 in milliseconds."""
    return {
        f"{prefix}_p50": statistics.median(seconds) * 1000,
        f"{prefix}_p99": percentile(seconds, 99) * 1000,
    }


def answer(numbers: dict[str, float]) -> None:
    """Print the numbers of one round as the last line."""
    print(json.dumps(numbers))
    sys.stdout.flush()

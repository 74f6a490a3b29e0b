"""The table and the JSON file of a benchmark run."""

import json
import os
import platform
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.peers import SYSTEMS
from benchmarks.protocol import Measure, Plan

Rounds = dict[str, list[dict[str, float]]]
"""By system: the numbers of each round."""


def medians(rounds: Rounds) -> dict[str, dict[str, float]]:
    """Return the median of each number over the rounds, by system."""
    return {
        system: {key: statistics.median(numbers[key] for numbers in each) for key in each[0]}
        for system, each in rounds.items()
        if each
    }


def ratio(measure: Measure, ours: float | None, theirs: float | None) -> float | None:
    """Return how many times better Hangar is: above 1 is better, whatever the unit."""
    if not ours or not theirs:
        return None
    return ours / theirs if measure.more_is_better else theirs / ours


def table(measures: list[Measure], middle: dict[str, dict[str, float]], titles: dict[str, str]) -> str:
    """Return a Markdown table: one row per measure, one column per system, then Hangar against each peer."""
    peers = [system for system in middle if system != "hangar"] if "hangar" in middle else []
    header = [
        "",
        *(titles[system] for system in middle),
        *(f"vs {titles[peer].split()[0]}" for peer in peers),
    ]
    rows = [header]
    for measure in measures:
        values = {system: numbers.get(measure.key) for system, numbers in middle.items()}
        rows.append(
            [
                f"{measure.title} ({measure.unit})",
                *(number(value) for value in values.values()),
                *(times(ratio(measure, values["hangar"], values[peer])) for peer in peers),
            ]
        )
    return markdown(rows)


def markdown(rows: list[list[str]]) -> str:
    """Return a Markdown table of a header and rows: first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(cells: list[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(line(row) for row in (rows[0], rule, *rows[1:]))


def number(value: float | None) -> str:
    """Return a value with three significant digits."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(value: float | None) -> str:
    """Return a ratio."""
    return "–" if value is None else f"{number(value)}×"


def save(
    folder: Path, plan: Plan, rounds: Rounds, middle: dict[str, dict[str, float]], failures: dict[str, str]
) -> Path:
    """Write everything that was measured, and on what, to a JSON file named after the time."""
    now = datetime.now(UTC)
    document: dict[str, Any] = {
        "at": now.isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "load": os.getloadavg()[0],
        },
        "systems": {name: SYSTEMS[name].packages or ("this tree",) for name in rounds},
        "plan": json.loads(plan.to_json()),
        "medians": middle,
        "rounds": rounds,
        "failures": failures,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path

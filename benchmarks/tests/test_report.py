"""The figures that a benchmark run shows."""

from benchmarks.protocol import Measure, Plan, percentile
from benchmarks.report import medians, ratio, table

LATENCY = Measure("call", "call", "ms")
RATE = Measure("rate", "rate", "calls/s", more_is_better=True)


def test_percentile_is_a_value_that_was_measured() -> None:
    """A percentile is the smallest measured value that so many percent do not exceed."""
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 99) == 99
    assert percentile([7.0], 99) == 7
    assert percentile(values, 0) == 1


def test_ratio_above_one_means_hangar_is_better_whatever_the_unit() -> None:
    """Half the latency and twice the rate are both twice as good."""
    assert ratio(LATENCY, 5, 10) == 2
    assert ratio(RATE, 10, 5) == 2


def test_a_ratio_needs_both_values() -> None:
    """A system that was not measured gives no ratio."""
    assert ratio(RATE, None, 5) is None
    assert ratio(RATE, 5, None) is None


def test_medians_are_taken_over_rounds() -> None:
    """One slow round does not change what is shown, and a system without a round is left out."""
    rounds = {"hangar": [{"call": 1.0}, {"call": 100.0}, {"call": 2.0}], "ray": []}
    assert medians(rounds) == {"hangar": {"call": 2.0}}


def test_table_is_markdown_with_a_column_against_each_peer() -> None:
    """Every row has the systems' values and how many times better Hangar is than each peer."""
    middle = {"hangar": {"call": 5.0, "rate": 1500.0}, "ray": {"call": 10.0}}
    text = table([LATENCY, RATE], middle, {"hangar": "Hangar", "ray": "Ray 2"})
    assert text.splitlines() == [
        "|                | Hangar | Ray 2 | vs Ray |",
        "| -------------- | -----: | ----: | -----: |",
        "| call (ms)      |      5 |    10 |     2× |",
        "| rate (calls/s) |  1,500 |     – |      – |",
    ]


def test_plan_survives_the_command_line() -> None:
    """What a system's process is asked to measure is what was planned."""
    plan = Plan(calls=3, widths=(4, 5))
    assert Plan.from_json(plan.to_json()) == plan

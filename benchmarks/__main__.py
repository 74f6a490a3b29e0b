"""Measures Hangar next to Ray and Temporal on this machine, in rounds that take turns.

    python -m benchmarks                      # all, three rounds
    python -m benchmarks --only hangar        # one system; may be repeated
    python -m benchmarks --quick              # one small round, to see that it works

Every round starts each system from nothing in an empty folder. The table shows medians over the rounds; a
column "vs" says how many times better Hangar is. All numbers are in a file in `benchmarks/results`.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.peers import ROOT, SYSTEMS, System
from benchmarks.protocol import QUICK, Plan, measures
from benchmarks.report import Rounds, medians, save, table


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure Hangar next to its peers."
    )
    parser.add_argument("--only", action="append", choices=sorted(SYSTEMS), help="measure this system only")
    parser.add_argument("--quick", action="store_true", help="one small round")
    parser.add_argument("--rounds", type=int, help="how often (default: 3; 1 with --quick)")
    parser.add_argument("--limit", type=int, default=1200, help="seconds for one round of one system")
    return parser.parse_args()


def measure(system: System, plan: Plan, seconds: int) -> dict[str, float]:
    """Run one round of one system in its environment.

    Raises:
        RuntimeError: the round failed; the message is the end of what it printed.
    """
    command = [system.python(), "-m", f"benchmarks.systems.{system.name}", "measure", plan.to_json()]
    environment = {**os.environ, **system.environment, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"no result within {seconds} s") from error
    if done.returncode:
        raise RuntimeError(
            "\n".join(done.stderr.strip().splitlines()[-40:]) or f"exit code {done.returncode}"
        )
    numbers: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return numbers


def chosen(names: list[str] | None) -> list[System]:
    """Return the systems of these names, or all."""
    return [SYSTEMS[name] for name in SYSTEMS if not names or name in names]


def is_possible(system: System) -> bool:
    """Return whether this machine has what a system needs; says what it lacks."""
    reason = system.lacks()
    if reason:
        print(f"{system.title} is left out: {reason}", file=sys.stderr, flush=True)
    return not reason


def main() -> int:
    """Measure, print, save. Returns 1 when a system could not be measured."""
    options = arguments()
    plan = QUICK if options.quick else Plan()
    systems = [system for system in chosen(options.only) if is_possible(system)]
    rounds: Rounds = {system.name: [] for system in systems}
    failures: dict[str, str] = {}
    for index in range(options.rounds or (1 if options.quick else 3)):
        for system in systems:
            if system.name in failures:
                continue
            print(f"round {index + 1}: {system.title}", file=sys.stderr, flush=True)
            try:
                rounds[system.name].append(measure(system, plan, options.limit))
            except (RuntimeError, subprocess.CalledProcessError) as error:
                failures[system.name] = str(error)
                print(f"{system.title} could not be measured:\n{error}", file=sys.stderr, flush=True)
    middle = medians(rounds)
    if not middle:
        return 1
    print(table(measures(plan), middle, {system.name: system.title for system in systems}))
    path = save(Path(__file__).parent / "results", plan, rounds, middle, failures)
    print(f"\nwritten to {path.relative_to(ROOT)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

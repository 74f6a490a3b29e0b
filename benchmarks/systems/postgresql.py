"""Hangar with its ledger and admin's tables in PostgreSQL 15 or newer, started for the round, with fsync on."""

import os

from benchmarks.protocol import Plan
from benchmarks.systems.hangar import main, numbers_of
from integration_tests.components.postgres import Postgres, find_binaries


def measure(plan: Plan) -> dict[str, float]:
    """One round."""
    server = Postgres(find_binaries())
    try:
        os.environ["HANGAR_SCHEDULER_DATABASE"] = server.url("ledger")
        os.environ["HANGAR_ADMIN_DATABASE"] = server.url("admin")
        return numbers_of(plan)
    finally:
        server.close()


if __name__ == "__main__":
    main(measure)

"""Whether a ledger is in order: what `hangar doctor` finds, without a process for each look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from services.embedded.upkeep import examine_ledger


def check_ledger(environ: Mapping[str, str]) -> None:
    """Looks at a ledger that may be in use.

    Args:
        environ: Environment of the scheduler: it names the data directory, or the database.

    Raises:
        AssertionError: Something is not in order; each claim that does not hold is named.
    """
    findings = examine_ledger(Path(environ["HANGAR_DATA_DIR"]), environ.get("HANGAR_SCHEDULER_DATABASE"))
    assert findings
    assert [finding for finding in findings if finding.count] == []

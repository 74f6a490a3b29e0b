"""What a run that recovers an earlier one takes over."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, select

from hangar.core.v1.phase_pb2 import Phase
from services.ledger.tables import ACTION, RUN

_PAGE = 1000
_LONGEST_CHAIN = 100
_MOST_INCARNATIONS = 101
"""One more than a task has retries: as often may a parent ask for a child anew."""


def recovered_runs(connection: Connection, run_id: int | None) -> tuple[int, ...]:
    """Return the runs that can be taken over from.

    Args:
        connection: Where to read.
        run_id: The run that is recovered, None for none.

    Returns:
        That run, the one that it recovered, and so on.
    """
    chain: list[int] = []
    while run_id is not None and len(chain) < _LONGEST_CHAIN:
        chain.append(run_id)
        run_id = connection.execute(select(RUN.c.recovers).where(RUN.c.id == run_id)).scalar_one_or_none()
    return tuple(chain)


def succeeded_actions(connection: Connection, runs: Sequence[int], keys: Iterable[str]) -> dict[str, int]:
    """Return the actions that succeeded under some keys, for those keys that there are any of.

    Args:
        connection: Where to read.
        runs: Where to look, the first that has one wins.
        keys: The keys.
    """
    found: dict[str, int] = {}
    for run_id in runs:
        missing = sorted(set(keys) - found.keys())
        if not missing:
            break
        first = _named(connection, run_id, missing)
        found.update((key, number) for key, (number, phase) in first.items() if phase == _SUCCEEDED)
        for key in first.keys() - found.keys():
            again = [f"{key}-{number}" for number in range(2, _MOST_INCARNATIONS + 1)]
            later = _named(connection, run_id, again).values()
            found.update((key, number) for number, phase in later if phase == _SUCCEEDED)
    return found


_SUCCEEDED = Phase.PHASE_SUCCEEDED


def _named(connection: Connection, run_id: int, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The id and the phase of a run's actions by their names."""
    c = ACTION.c
    found: dict[str, tuple[int, int]] = {}
    for start in range(0, len(names), _PAGE):
        page = c.name.in_(names[start : start + _PAGE])
        query = select(c.name, c.id, c.phase).where(c.run_id == run_id, page)
        found.update((name, (number, phase)) for name, number, phase in connection.execute(query))
    return found

"""Looks whether the ledger of a live installation is in order. Reads only, and one snapshot."""

# ruff: noqa: S608  # what is put into the queries are numbers of the protos

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from hangar.core.v1.phase_pb2 import Phase

_SHOWN = 20
_TERMINAL = f"({Phase.PHASE_SUCCEEDED}, {Phase.PHASE_FAILED}, {Phase.PHASE_ABORTED}, {Phase.PHASE_TIMED_OUT})"
_DEAD = f"({Phase.PHASE_FAILED}, {Phase.PHASE_ABORTED}, {Phase.PHASE_TIMED_OUT})"


@dataclass(frozen=True)
class Invariant:
    """Something that always holds."""

    claim: str
    """What holds, in words."""
    violations: str
    """A query that returns one row of text per violation."""


@dataclass(frozen=True)
class Finding:
    """What became of an invariant."""

    claim: str
    violations: list[str] = field(default_factory=list)
    """Where it does not hold: the first of them."""
    count: int = 0
    """In how many places it does not hold."""


INVARIANTS: Sequence[Invariant] = (
    Invariant(
        "the phase, start and end of a run are those of its root action",
        "SELECT 'run ' || r.name || ': phase ' || r.phase || ', its root action: ' || coalesce(a.phase, -1) "
        "FROM run r LEFT JOIN action a ON a.id = r.root_id AND a.run_id = r.id "
        "WHERE a.id IS NULL OR a.phase <> r.phase OR coalesce(a.ended_at, 0) <> coalesce(r.ended_at, 0) "
        "OR coalesce(a.started_at, 0) <> coalesce(r.started_at, 0)",
    ),
    Invariant(
        "a run counts its actions",
        "SELECT 'run ' || r.name || ': says ' || r.action_count || ', has ' || count(a.id) "
        "FROM run r LEFT JOIN action a ON a.run_id = r.id GROUP BY r.id, r.name, r.action_count "
        "HAVING count(a.id) <> r.action_count",
    ),
    Invariant(
        "actions of a run are numbered in order without gaps",
        "SELECT 'run ' || r.name || ': ' || count(*) || ' actions up to number ' || max(a.sequence) "
        "FROM run r JOIN action a ON a.run_id = r.id GROUP BY r.id, r.name "
        "HAVING max(a.sequence) <> count(*) - 1",
    ),
    Invariant(
        "an action has ended exactly when its phase is final",
        "SELECT 'action ' || r.name || '/' || a.name || ': phase ' || a.phase || ', ended at ' "
        "|| coalesce(a.ended_at, 0) FROM action a JOIN run r ON r.id = a.run_id "
        f"WHERE (a.phase IN {_TERMINAL}) <> (a.ended_at IS NOT NULL)",
    ),
    Invariant(
        "nothing but what is being stopped lives below an action that failed, timed out or was aborted",
        "SELECT 'action ' || r.name || '/' || c.name || ' (' || c.state || ') below ' || p.name "
        "FROM action c JOIN action p ON p.id = c.parent_id JOIN run r ON r.id = c.run_id "
        f"WHERE p.phase IN {_DEAD} AND c.phase NOT IN {_TERMINAL} AND c.state <> 'aborting'",
    ),
    Invariant(
        "every action but the root has its parent in the same run",
        "SELECT 'action ' || a.id || ' (' || a.name || ')' FROM action a JOIN run r ON r.id = a.run_id "
        "LEFT JOIN action p ON p.id = a.parent_id AND p.run_id = a.run_id "
        "WHERE (a.id <> r.root_id AND p.id IS NULL) OR (a.id = r.root_id AND a.parent_id IS NOT NULL)",
    ),
    Invariant(
        "an action has one live attempt at most",
        "SELECT 'action ' || action_id || ': ' || count(*) || ' live attempts' FROM attempt "
        "WHERE ended_at IS NULL GROUP BY action_id HAVING count(*) > 1",
    ),
    Invariant(
        "an action that has ended has no live attempt",
        "SELECT 'lease ' || t.id || ' of action ' || a.name "
        "FROM attempt t JOIN action a ON a.id = t.action_id "
        f"WHERE t.ended_at IS NULL AND a.phase IN {_TERMINAL}",
    ),
    Invariant(
        "attempts of an action are numbered from 0 without gaps, and counted",
        "SELECT 'action ' || a.id || ': ' || count(t.id) || ' attempts, says ' || a.attempts "
        "FROM action a LEFT JOIN attempt t ON t.action_id = a.id GROUP BY a.id, a.attempts "
        "HAVING count(t.id) <> a.attempts OR count(DISTINCT t.number) <> count(t.id) "
        "OR coalesce(max(t.number), -1) <> count(t.id) - 1",
    ),
    Invariant(
        "no lease, worker or cursor is one that the writer has still to give out",
        "SELECT 'lease ' || t.id FROM attempt t, generation g WHERE t.id >= g.next_lease_id "
        "UNION ALL SELECT 'worker ' || w.id FROM worker w, generation g WHERE w.id >= g.next_worker_id "
        "UNION ALL SELECT 'action ' || a.id FROM action a, generation g WHERE a.id >= g.next_action_id "
        "UNION ALL SELECT 'run ' || r.id FROM run r, generation g WHERE r.id >= g.next_run_id "
        "UNION ALL SELECT 'event ' || e.cursor FROM event e, generation g WHERE e.cursor >= g.next_cursor",
    ),
    Invariant(
        "the newest event of an action has its phase",
        "SELECT 'action ' || a.id || ': phase ' || a.phase || ', event ' || e.cursor || ': ' || e.phase "
        "FROM action a JOIN event e "
        "ON e.cursor = (SELECT max(x.cursor) FROM event x WHERE x.action_id = a.id) "
        "WHERE e.phase <> a.phase",
    ),
    Invariant(
        "a run knows the cursor of its newest event",
        "SELECT 'run ' || r.name || ': ' || r.cursor || ', newest event ' || max(e.cursor) "
        "FROM run r JOIN event e ON e.run_id = r.id GROUP BY r.id, r.name, r.cursor "
        "HAVING max(e.cursor) <> r.cursor",
    ),
    Invariant(
        "every action has inputs, and outputs exactly when it succeeded",
        "SELECT 'action ' || a.id || ' (' || a.name || ')' FROM action a "
        "LEFT JOIN action_input i ON i.action_id = a.id LEFT JOIN action_output o ON o.action_id = a.id "
        f"WHERE i.action_id IS NULL OR (a.phase = {Phase.PHASE_SUCCEEDED}) <> (o.action_id IS NOT NULL)",
    ),
    Invariant(
        "an action that failed says why",
        "SELECT 'action ' || a.id || ' (' || a.name || ')' FROM action a "
        f"WHERE a.phase IN ({Phase.PHASE_FAILED}, {Phase.PHASE_TIMED_OUT}) AND a.failure_kind = 0",
    ),
    Invariant(
        "the ledger has one writer, and its number is that of the commits",
        "SELECT 'writer ' || w.generation || ', commits of ' || g.number FROM writer w, generation g "
        "WHERE w.generation <> g.number",
    ),
    Invariant(
        "every task that is named is stored",
        "SELECT 'action ' || a.id || ': ' || a.spec_digest FROM action a "
        "LEFT JOIN task_spec s ON s.digest = a.spec_digest WHERE s.digest IS NULL",
    ),
)
"""What `hangar doctor` looks at."""


def examine(ledger: Connection, invariants: Sequence[Invariant] = INVARIANTS) -> list[Finding]:
    """Looks at all invariants in one snapshot.

    Args:
        ledger: A connection that cannot write.
        invariants: What to look at.
    """
    return [_examine(ledger, each) for each in invariants]


def _examine(ledger: Connection, invariant: Invariant) -> Finding:
    rows = [str(row[0]) for row in ledger.execute(text(invariant.violations))]
    return Finding(invariant.claim, rows[:_SHOWN], len(rows))
